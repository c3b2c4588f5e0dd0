/** The process's log: pino, one JSON object a line, on stderr or to whoever shows it. */

import { type Logger, pino } from "pino";
import { standardError } from "./standard-error.ts";

export type HostLog = Logger;

export function openLog(options: {
  readonly level: string;
  readonly node: string;
  readonly write?: (line: string) => void;
}): HostLog {
  const { level, node, write } = options;
  return pino({ level, base: { node } }, write === undefined ? standardError() : { write });
}
