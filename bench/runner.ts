/**
 * Micro-benchmark of the attempt runner: trivial attempts a second with a `ctx.state` counter bump, in batches of 256.
 *
 * Prints each case as min / median / max of several runs. Not part of `npm run bench`: it guides work on the hot path.
 */

import type { Partition } from "../ring/ids.ts";
import { completeRecord, isRefused } from "../ring/tasks/record.ts";
import { encodeRecord } from "../ring/tasks/record-encode.ts";
import type { Attempt, AttemptEnd, TaskRecord } from "../ring/tasks/task.ts";
import { defineApp, task } from "../services/app.ts";
import { Catalogue } from "../services/apps/catalogue.ts";
import type { TaskHandler } from "../services/apps/shapes.ts";
import { createRunner } from "../services/runner/runner.ts";
import { decodeValue } from "../services/runner/value.ts";

async function main(): Promise<void> {
  for (const [name, handler] of CASES) {
    const rates: number[] = [];
    for (let run = 0; run < RUNS; run++) rates.push(await measure(handler));
    rates.sort((a, b) => a - b);
    const shown = [rates[0], rates[RUNS >> 1], rates[RUNS - 1]].map((rate) =>
      Math.round(rate ?? 0).toLocaleString("en"),
    );
    console.log(`${name.padEnd(24)} ${shown.join(" / ")} attempts/s`);
  }
}

async function measure(handler: TaskHandler): Promise<number> {
  const apps = new Catalogue([defineApp("bench", { tasks: { bump: task(handler) } })]);
  const records = makeRecords();
  const states = records.map(() => new Map<string, Uint8Array>());
  let started = 0;
  let ended = 0;
  let finish: () => void = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const runner = createRunner({ apps, onEnds });

  function onEnds(ends: AttemptEnd[]): void {
    for (const end of ends) {
      const state = states[end.attemptId % KEYS] as Map<string, Uint8Array>;
      for (const { name, value } of end.stateChanges) if (value !== undefined) state.set(name, value);
    }
    ended += ends.length;
    if (ended === ATTEMPTS) finish();
    else if (started < ATTEMPTS) runner.start(nextBatch());
  }

  function nextBatch(): Attempt[] {
    const batch: Attempt[] = [];
    for (let at = 0; at < BATCH; at++, started++) {
      const key = started % KEYS;
      batch.push({
        attemptId: started,
        partition: 0 as Partition,
        record: records[key] as TaskRecord,
        attempt: 1,
        fence: 1n,
        state: states[key] as Map<string, Uint8Array>,
        timeoutMs: 30_000,
        deadline: undefined,
        stateAway: false,
      });
    }
    return batch;
  }

  const beginMs = performance.now();
  runner.start(nextBatch());
  await finished;
  const seconds = (performance.now() - beginMs) / 1_000;
  runner[Symbol.dispose]();
  const total = states.reduce((sum, state) => sum + countOf(state), 0);
  if (total !== 0 && total !== ATTEMPTS) throw new Error(`counters say ${total}, not ${ATTEMPTS}`);
  return ATTEMPTS / seconds;
}

function countOf(state: ReadonlyMap<string, Uint8Array>): number {
  const bytes = state.get("n");
  return bytes === undefined ? 0 : Number(decodeValue(bytes));
}

function makeRecords(): TaskRecord[] {
  const payload = new Uint8Array(200);
  return Array.from({ length: KEYS }, (_, at) => {
    const wire = encodeRecord({ app: "bench", type: "bump", key: `key-${at}`, payload });
    const record = completeRecord(wire, { wallMs: at, random: () => at / KEYS });
    if (isRefused(record)) throw new Error(record.detail);
    return record;
  });
}

const KEYS = 10_000;
const BATCH = 256;
const ATTEMPTS = BATCH * 4_000;
const RUNS = 5;
const CASES: readonly (readonly [string, TaskHandler])[] = [
  ["sync, nothing", () => {}],
  ["sync, state bump", (_task, { state }) => state.put("n", (state.get<number>("n") ?? 0) + 1)],
  ["async, state bump", async (_task, { state }) => state.put("n", (state.get<number>("n") ?? 0) + 1)],
  [
    "async, one await, bump",
    async (_task, { state }) => {
      await undefined;
      state.put("n", (state.get<number>("n") ?? 0) + 1);
    },
  ],
  [
    "sync, submit a child",
    (_task, context) => {
      context.submit("bump", { key: "other", payload: { hello: "world" } });
    },
  ],
];

await main();
