/**
 * What a history is made of: one JSON object per line, written by clients, handler processes and the harness, each to a
 * file of its own. `t` is the machine's monotonic clock in ns (`process.hrtime`), which all processes of one machine
 * share; so lines of different files can be put in order, and no node is asked.
 */

export type AttemptOutcome = "ok" | "error" | "dead" | "aborted";

export type HistoryLine =
  /** First line of each file. */
  | { readonly type: "open"; readonly t: number; readonly node: string; readonly pid: number }
  /** Last line of a process that ended by itself. */
  | { readonly type: "closed"; readonly t: number }
  /**
   * The client got the acknowledgement. `submitted` is when it began to submit; `seq` counts the submits of one key, by one
   * client, in that order.
   */
  | {
      readonly type: "accepted";
      readonly t: number;
      readonly id: string;
      readonly app: string;
      readonly key: string;
      readonly submitted?: number;
      readonly seq?: number;
    }
  /** Before the handler's own code runs. */
  | ({ readonly type: "start"; readonly t: number } & AttemptStart)
  /** After it. `children` are the ids that it submitted, on outcome ok. */
  | {
      readonly type: "end";
      readonly t: number;
      readonly id: string;
      readonly fence: bigint;
      readonly outcome: AttemptOutcome;
      readonly children?: readonly string[];
    }
  /** A client learnt how a task ended without a handler (dead, cancelled). */
  | { readonly type: "settled"; readonly t: number; readonly id: string; readonly state: "dead" | "cancelled" }
  /** The harness killed a process (SIGKILL). Written when it has sent the signal. */
  | { readonly type: "killed"; readonly t: number; readonly process: string | number }
  /** The harness stopped a process (SIGSTOP) or cut it off from the others, until `until`. */
  | { readonly type: "paused"; readonly t: number; readonly until: number; readonly process: string | number };

export interface AttemptStart {
  readonly id: string;
  readonly app: string;
  readonly key: string;
  readonly fence: bigint;
  readonly attempt: number;
  readonly seq?: number;
  /** Fence of the attempt whose write to the key's state it found, in decimal; 0 for none. Absent: not traced. */
  readonly saw?: string;
  readonly parent?: string;
  /** The child's name, which says what it is for: two tasks of one parent with one name are one child run twice. */
  readonly child?: string;
}

/** Ends with a newline. */
export function formatLine(line: HistoryLine): string {
  return `${JSON.stringify("fence" in line ? { ...line, fence: line.fence.toString() } : line)}\n`;
}

/** Undefined for anything that is not such a line. */
export function parseLine(text: string): HistoryLine | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const fields = value as Readonly<Record<string, unknown>>;
  const required = typeof fields.type === "string" ? FIELDS.get(fields.type) : undefined;
  if (required === undefined || typeof fields.t !== "number") return undefined;
  if (!required.every(([name, types]) => types.includes(typeof fields[name]))) return undefined;
  const { fence } = fields;
  if (fence === undefined) return value as HistoryLine;
  if (typeof fence !== "string" || !/^\d{1,40}$/.test(fence)) return undefined;
  return { ...(value as object), fence: BigInt(fence) } as HistoryLine;
}

/** Ns. Exact for 104 days of uptime, then to 2 ns. */
export function monotonicNow(): number {
  return Number(process.hrtime.bigint());
}

type FieldRule = readonly [name: string, types: readonly string[]];

const TEXT = ["string"];
const NUMBER = ["number"];
const FIELDS: ReadonlyMap<string, readonly FieldRule[]> = new Map<string, readonly FieldRule[]>([
  [
    "open",
    [
      ["node", TEXT],
      ["pid", NUMBER],
    ],
  ],
  ["closed", []],
  [
    "accepted",
    [
      ["id", TEXT],
      ["app", TEXT],
      ["key", TEXT],
    ],
  ],
  [
    "start",
    [
      ["id", TEXT],
      ["app", TEXT],
      ["key", TEXT],
      ["fence", TEXT],
      ["attempt", NUMBER],
    ],
  ],
  [
    "end",
    [
      ["id", TEXT],
      ["fence", TEXT],
      ["outcome", TEXT],
    ],
  ],
  [
    "settled",
    [
      ["id", TEXT],
      ["state", TEXT],
    ],
  ],
  ["killed", [["process", ["string", "number"]]]],
  [
    "paused",
    [
      ["until", NUMBER],
      ["process", ["string", "number"]],
    ],
  ],
]);
