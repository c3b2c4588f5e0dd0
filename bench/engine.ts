/**
 * The task engine alone, without I/O: submit → durable → start → ended → durable, 256 tasks a step, 10,000 keys of 3 apps, a
 * handler that bumps a counter in `ctx.state`. Prints tasks a second of one core: parse, and parse with engine.
 *
 * Run after a build: node dist/bench/engine.js [--tasks 2000000] [--runs 5]
 */

import type { AppName, Partition } from "../ring/ids.ts";
import type { AppCatalogue, AppDefinition } from "../ring/tasks/definition.ts";
import { TaskEngine } from "../ring/tasks/engine.ts";
import { isRefused, parseRecord } from "../ring/tasks/record.ts";
import { encodeRecord } from "../ring/tasks/record-encode.ts";
import type { AttemptEnd, TaskRecord } from "../ring/tasks/task.ts";
import { mintId } from "../ring/tasks/task-id.ts";

const BATCH = 256;
const KEYS = 10_000;
const RING_BITS = 6;

function main(): void {
  const tasks = Number(argument("--tasks") ?? 1_500_000);
  const runs = Number(argument("--runs") ?? 3);
  const load = new Load();
  for (let run = 0; run < runs; run++) {
    const parseMs = timed(() => {
      for (let done = 0; done < tasks; done += BATCH) load.records();
    });
    const { engine, wholeMs } = runEngine(load, tasks);
    const engineMs = wholeMs - parseMs;
    const counted = engine.appViews(3).length;
    console.log(
      `parse ${rate(tasks, parseMs)}  parse+engine ${rate(tasks, wholeMs)}  engine ${rate(tasks, engineMs)}  (${((engineMs / tasks) * 1000).toFixed(2)} µs a task, left ${counted}, rss ${Math.round(process.memoryUsage().rss / 2 ** 20)} MB)`,
    );
  }
}

function runEngine(load: Load, tasks: number): { readonly engine: TaskEngine; readonly wholeMs: number } {
  const engine = new TaskEngine({
    apps: catalogue(["auth", "feeds", "push"]),
    random: Math.random,
    wallOffsetMs: 1.7e12,
  });
  engine.allowStarts(0, true);
  engine.setShare(64, 64);
  for (let partition = 0; partition < 64; partition++) {
    engine.open(0, partition as Partition, { history: 1, generation: 1, opens: 1 }, "none");
    engine.loaded(0, partition as Partition);
  }
  const { output } = engine;
  let now = 1;
  let group = 0;
  let accepted = 0;
  let ended = 0;
  let token = 0;
  const ends: AttemptEnd[] = [];
  const value = new Uint8Array(8);
  const begin = process.cpuUsage();
  while (ended < tasks) {
    engine.group = ++group;
    now += 0.4;
    if (accepted < tasks)
      for (const record of load.records())
        engine.submit(now, (record.hash >>> (32 - RING_BITS)) as Partition, record, token++, "client");
    if (ends.length > 0) engine.ended(now, ends);
    ends.length = 0;
    engine.durable(now, group);
    accepted += output.outcomes.length;
    for (const event of output.events) if (event.type === "ended") ended++;
    for (const attempt of output.starts) {
      const before = attempt.state.get("count");
      const count = before === undefined ? 1 : (before[0] as number) + 1;
      const next = value.slice();
      next[0] = count;
      ends.push({
        attemptId: attempt.attemptId,
        outcome: { type: "done", result: undefined },
        stateChanges: [{ name: "count", value: next }],
        children: [],
      });
    }
    output.starts.length = 0;
    output.outcomes.length = 0;
    output.events.length = 0;
    output.stateReads.length = 0;
    for (const written of output.changes.splice(0)) written.take();
  }
  const { user, system } = process.cpuUsage(begin);
  return { engine, wholeMs: (user + system) / 1_000 };
}

/** Frames of 256 tasks with fresh ids over the same keys. */
class Load {
  readonly #wires: Uint8Array[] = [];
  readonly #idAt: number[] = [];
  #next = 0;
  #serial = 0;

  constructor() {
    for (let key = 0; key < KEYS; key++) {
      const app = ["auth", "feeds", "push"][key % 3] as string;
      const id = mintId({ wallMs: 1.7e12, random: Math.random, app, key: `user-${key}` });
      const wire = encodeRecord({ app, type: "bump", key: `user-${key}`, payload: new Uint8Array(180), id });
      this.#wires.push(wire);
      this.#idAt.push(wire.length - 32);
    }
  }

  records(): TaskRecord[] {
    let bytes = 0;
    for (let index = 0; index < BATCH; index++)
      bytes += (this.#wires[(this.#next + index) % KEYS] as Uint8Array).length;
    const frame = new Uint8Array(bytes);
    const records: TaskRecord[] = [];
    let at = 0;
    for (let index = 0; index < BATCH; index++) {
      const which = this.#next++ % KEYS;
      const wire = this.#wires[which] as Uint8Array;
      frame.set(wire, at);
      let serial = this.#serial++;
      for (let digit = (this.#idAt[which] as number) + 27; serial > 0; digit--) {
        frame[at + digit] = HEX.charCodeAt(serial & 15);
        serial >>>= 4;
      }
      const record = parseRecord(frame, at, at + wire.length);
      if (isRefused(record)) throw new Error(record.detail);
      records.push(record);
      at += wire.length;
    }
    return records;
  }
}

function catalogue(names: readonly string[]): AppCatalogue {
  const definition: AppDefinition = {
    match: "*",
    version: "1",
    types: new Map([
      [
        "bump",
        {
          name: "bump",
          concurrency: 1_000,
          attempts: 5,
          backoff: { baseMs: 100, maxMs: 1_000 },
          timeoutMs: 30_000,
          order: "strict",
          state: "detect",
          onAway: "wait",
        },
      ],
    ]),
    residents: new Map(),
    schedules: new Map(),
    limits: { queued: 1_000_000, running: 1_000, perSecond: 0, weight: 1 },
  };
  return {
    find: (app: AppName) => (names.includes(app) ? { definition, override: undefined } : undefined),
    active: () => [],
  };
}

/** Processor time, garbage collection included: on a shared machine the clock on the wall measures the neighbours. */
function timed(work: () => void): number {
  const begin = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(begin);
  return (user + system) / 1_000;
}

function rate(count: number, ms: number): string {
  return `${Math.round((count / ms) * 1000).toLocaleString("en")}/s`;
}

function argument(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}

const HEX = "0123456789abcdef";

main();
