/** The few colours of terminals, by what they mean here. */

export type Tint = "good" | "warn" | "bad" | "dim" | "strong" | "plain" | "accent";

/** Colours a text, or leaves it as it is. */
export type Paint = (text: string, tint: Tint) => string;

export function tinted(text: string, tint: Tint): string {
  const code = CODES[tint];
  return code === "" || text === "" ? text : `\x1b[${code}m${text}\x1b[0m`;
}

/** How a state is coloured, whatever it is a state of. */
export function tintOfState(state: string): Tint {
  if (GOOD.has(state)) return "good";
  if (BAD.has(state)) return "bad";
  return WARN.has(state) ? "warn" : "plain";
}

const CODES: Readonly<Record<Tint, string>> = {
  good: "32",
  warn: "33",
  bad: "31",
  dim: "2",
  strong: "1",
  accent: "36",
  plain: "",
};
const GOOD: ReadonlySet<string> = new Set(["valid", "alive", "serving", "done", "held", "ok"]);
const WARN: ReadonlySet<string> = new Set([
  "joining",
  "leaving",
  "exiting",
  "suspect",
  "starting",
  "waiting-to-join",
  "draining",
  "stopping",
  "retrying",
  "paused",
  "warning",
]);
const BAD: ReadonlySet<string> = new Set(["down", "dead", "broken", "unreachable", "none", "error", "deleted"]);
