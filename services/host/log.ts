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
  const { flushSync, end } = stream;
  const nothing = (): undefined => undefined;
  stream.on("error", () => {
    if (stream.end === nothing) return;
    // Nor may it keep the process from ending: what waits has nowhere to go until a line is taken again.
    Object.assign(stream, { flushSync: nothing, end: nothing });
    stream.once("write", () => Object.assign(stream, { flushSync, end }));
  });
  return stream;
}

/** What waits for a slow reader; more is dropped. */
const WAITING_BYTES: number = 16 * 1024 * 1024;
