/**
 * Attempts as an engine would make them, and a runner whose ends can be waited for.
 */

import type { Partition } from "../../ring/ids.ts";
import { completeRecord, isRefused } from "../../ring/tasks/record.ts";
import { encodeRecord, type RecordFields } from "../../ring/tasks/record-encode.ts";
import type { Attempt, AttemptEnd } from "../../ring/tasks/task.ts";
import type { App } from "../../services/app.ts";
import { Catalogue } from "../../services/apps/catalogue.ts";
import { createRunner, type Runner, type RunnerOptions } from "../../services/runner/runner.ts";
import { encodeValue } from "../../services/runner/value.ts";

export interface LogLine {
  readonly level: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

export interface Harness extends Disposable {
  readonly runner: Runner;
  readonly ends: AttemptEnd[];
  readonly batches: number[];
  readonly lines: LogLine[];
  /** The end of an attempt, once it is there; fails after two seconds. */
  endOf(attemptId: number): Promise<AttemptEnd>;
  until(condition: () => boolean, what: string): Promise<void>;
}

export function harness(apps: readonly App[], options: Partial<RunnerOptions> = {}): Harness {
  const ends: AttemptEnd[] = [];
  const batches: number[] = [];
  const lines: LogLine[] = [];
  const write = (level: string) => (fields: object, message: string) => {
    lines.push({ level, fields: { ...fields }, message });
  };
  const runner = createRunner({
    apps: new Catalogue(apps),
    onEnds: (batch) => {
      batches.push(batch.length);
      ends.push(...batch);
    },
    log: { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") },
    ...options,
  });
  const until = async (condition: () => boolean, what: string): Promise<void> => {
    const deadline = performance.now() + 2_000;
    while (!condition()) {
      if (performance.now() > deadline) throw new Error(`waited two seconds for ${what}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return {
    runner,
    ends,
    batches,
    lines,
    until,
    async endOf(attemptId) {
      await until(() => ends.some((end) => end.attemptId === attemptId), `the end of attempt ${attemptId}`);
      return ends.find((end) => end.attemptId === attemptId) as AttemptEnd;
    },
    [Symbol.dispose]: () => runner[Symbol.dispose](),
  };
}

export interface AttemptFields extends Partial<Omit<Attempt, "record" | "state">> {
  readonly record?: Partial<RecordFields>;
  readonly state?: Readonly<Record<string, unknown>>;
}

export function attemptOf(fields: AttemptFields = {}): Attempt {
  const { record, state, ...rest } = fields;
  const wire = encodeRecord({ app: "acme", type: "work", key: "k", ...record });
  const parsed = completeRecord(wire, { wallMs: 1_700_000_000_000, random: () => 0.25 });
  if (isRefused(parsed)) throw new Error(parsed.detail);
  return {
    attemptId: 1,
    partition: 0 as Partition,
    record: parsed,
    attempt: 1,
    fence: 7n,
    state: new Map(Object.entries(state ?? {}).map(([name, value]) => [name, encodeValue(value) as Uint8Array])),
    timeoutMs: 30_000,
    deadline: undefined,
    stateAway: false,
    ...rest,
  };
}
