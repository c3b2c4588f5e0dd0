/**
 * The app of the benchmarks `submit`, `handoff` and `failover`: tenants `bench-*` from one template, loaded by the nodes
 * with `--app`.
 *
 * | type | does |
 * |---|---|
 * | `bump` | raises the counter `n` in `ctx.state` |
 * | `mark` | says when it ran, for the marks file of its process (`bench/marks.ts`) |
 */

import { openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { type App, defineApp, type TaskHandler, task } from "../services/app.ts";

const bump: TaskHandler = (_task, { state }) => {
  state.put("n", (state.get<number>("n") ?? 0) + 1);
};

/** The payload is `phase submitted-at …`; the rest is padding. */
const mark: TaskHandler = ({ app, key, payload }) => {
  const startedAt = process.hrtime.bigint();
  const [phase, submittedAt] = Buffer.from(payload.buffer, payload.byteOffset, payload.length)
    .toString("latin1")
    .split(" ", 2);
  return say(`${phase} ${app}/${key} ${submittedAt} ${startedAt} ${process.hrtime.bigint()}\n`);
};

const directory = process.env.TASKRING_APP_BENCH_DIR;
const file =
  directory === undefined
    ? undefined
    : openSync(join(directory, `${process.env.TASKRING_NODE ?? "node"}-${process.pid}.marks`), "a");
let lines = "";
let written: Promise<void> = Promise.resolve();

/** Lines of one turn are written together. Resolves when this one is: no task has ended whose mark a kill could lose. */
function say(line: string): Promise<void> {
  if (file === undefined) return written;
  if (lines === "") {
    written = new Promise((resolve) => {
      setImmediate(() => {
        const whole = lines;
        lines = "";
        writeSync(file, whole);
        resolve();
      });
    });
  }
  lines += line;
  return written;
}

export const apps: readonly App[] = [
  defineApp(
    { match: "bench-*" },
    {
      tasks: {
        bump: task(bump, { concurrency: 1_000 }),
        mark: task(mark, { concurrency: 1_000, state: "none" }),
      },
      limits: { running: 1_000, queued: 1_000_000 },
    },
  ),
];
