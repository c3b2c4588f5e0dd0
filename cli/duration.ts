/** Durations as people write them and read them: `500ms`, `5s`, `2m`, `1h`, `1d`. */

import { usage } from "./exit-codes.ts";

/** Milliseconds, no more than a timer takes unless told. Throws a usage error that names the flag. */
export function parseDuration(text: string, flag: string, mostMs: number = TIMER_MS): number {
  const match = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)$/.exec(text.trim());
  const unit = UNITS_MS.get(match?.[2] ?? "");
  if (unit === undefined) throw usage(`${flag} ${text}: expected a duration with its unit, such as 500ms, 5s or 2m`);
  const ms = Math.round(Number(match?.[1]) * unit);
  if (ms > mostMs) throw usage(`${flag} ${text}: expected at most ${showDuration(mostMs)}`);
  return ms;
}

/** Two figures at most: `12 ms`, `3.4 s`, `2 min 5 s`, `3 h 10 min`, `2 d 4 h`. */
export function showDuration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 3_600) return pair(Math.floor(seconds / 60), "min", seconds % 60, "s");
  const minutes = Math.round(seconds / 60);
  if (minutes < 1_440) return pair(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(minutes / 60);
  return pair(Math.floor(hours / 24), "d", hours % 24, "h");
}

function pair(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/** Node takes a longer one for no time at all. */
const TIMER_MS = 24 * 86_400_000;
const UNITS_MS: ReadonlyMap<string, number> = new Map([
  ["ms", 1],
  ["s", 1_000],
  ["m", 60_000],
  ["h", 3_600_000],
  ["d", 86_400_000],
]);
