/** The process's log: pino, one JSON object a line on stderr, or readable lines on a terminal. */

import { type Logger, pino } from "pino";

export type HostLog = Logger;

export function openLog(options: { readonly level: string; readonly node: string }): HostLog {
  return pino(
    { level: options.level, base: { node: options.node } },
    pino.destination({ dest: 2, sync: false, minLength: 0 }),
  );
}
