/** The apps of `bench tenants`: thousands of tenants from two templates; latencies go to a file of this process. */

import { openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { type App, defineApp, resident, task } from "../services/app.ts";

const folder = process.env.TASKRING_APP_TENANTS_DIR;
const file = folder === undefined ? undefined : openSync(join(folder, `${process.pid}.txt`), "a");
let lines = "";
let writing = false;

function say(line: string): void {
  lines += `${line}\n`;
  if (writing) return;
  writing = true;
  setImmediate(() => {
    writing = false;
    if (file !== undefined) writeSync(file, lines);
    lines = "";
  });
}

const ping = task((view, ctx) => {
  const { phase, at } = view.json<{ phase: string; at: number }>();
  ctx.state.put("count", (ctx.state.get<number>("count") ?? 0) + 1);
  say(`${phase} ${Date.now() - at}`);
});

const worker = resident(async (ctx) => {
  say("resident 0");
  await new Promise<void>((resolve) => ctx.signal.addEventListener("abort", () => resolve(), { once: true }));
});

export const apps: readonly App[] = [
  defineApp({ match: "event-*" }, { tasks: { ping } }),
  defineApp({ match: "live-*" }, { tasks: { ping }, residents: { worker } }),
  defineApp("flood", {
    tasks: {
      ping: task(
        async (view) =>
          void (await new Promise((resolve) => setTimeout(resolve, view.json<{ workMs: number }>().workMs))),
      ),
    },
    limits: { queued: 200_000 },
  }),
];
