/** The process's log: pino, one JSON object a line, on stderr or to whoever shows it. */

import { type DestinationStream, type Logger, pino } from "pino";

export type HostLog = Logger;

export function openLog(options: {
  readonly level: string;
  readonly node: string;
  readonly write?: (line: string) => void;
}): HostLog {
  const { level, node, write } = options;
  return pino({ level, base: { node } }, write === undefined ? standardError() : { write });
}

/** A disk that has no room for the log, or a reader that is away, costs lines and not the node. */
function standardError(): DestinationStream {
  const stream = pino.destination({ dest: 2, sync: false, minLength: 0, maxLength: WAITING_BYTES });
  stream.on("error", () => {
    stream.flushSync = () => undefined; // nor keeps it from ending: what waits has nowhere to go
    stream.end = () => undefined;
  });
  return stream;
}

/** What waits for a slow reader; more is dropped. */
const WAITING_BYTES: number = 16 * 1024 * 1024;
