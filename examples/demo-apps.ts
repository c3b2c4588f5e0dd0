/**
 * The three apps of `ringctl demo`: session counters, feed readers and a notifier. Small, and all of what they do passes
 * through what the ring promises: state per key, order per key, children once each.
 *
 * | env | meaning |
 * |---|---|
 * | `TASKRING_HISTORY_DIR` | each attempt is written to a history in this directory (see services/history) |
 * | `TASKRING_DEMO_FEEDS` | feeds to poll, separated by white space; none: feeds are read when a task asks for it |
 * | `TASKRING_DEMO_POLL_MS` | how often; default 5,000 |
 */

import { setTimeout as delay } from "node:timers/promises";
import { type App, defineApp, type TaskHandler, type TaskView, task } from "../services/app.ts";
import { feedsApp } from "../services/feeds/app.ts";
import type { EntryTask } from "../services/feeds/read.ts";
import { recorded, type TaskPlace } from "../services/history/recorded.ts";

/** Payload of `session.touch` and `notify`: place among the submits of the same key, from 0. */
export interface Numbered {
  readonly seq?: number;
  /** How long the push takes. Default: 0 to 5 ms. */
  readonly tookMs?: number;
}

/** Bumps the counter of a profile's session; the key is the profile. Result: the counter. */
const touch: TaskHandler = (_task, context) => {
  const count = (context.state.get<number>("touches") ?? 0) + 1;
  context.state.put("touches", count);
  return { touches: count };
};

/** Stands for a push to a device, which takes a moment; the key is the device. */
const notify: TaskHandler = async (view) => {
  const tookMs = view.json<Numbered>().tookMs ?? Math.random() * NOTIFY_MS;
  if (tookMs >= 1) await delay(tookMs);
};

export const auth: App = defineApp("auth", {
  tasks: { "session.touch": task(recorded(touch, { place: numberedPlace }), { concurrency: 256 }) },
  limits: { running: 256 },
});

export const notifier: App = defineApp("notifier", {
  tasks: { notify: task(recorded(notify, { place: numberedPlace }), { concurrency: 256, state: "none" }) },
  limits: { running: 256 },
});

export const feeds: App = feedsApp("feeds", {
  feeds: (process.env.TASKRING_DEMO_FEEDS ?? "")
    .split(/\s+/)
    .filter((url) => url !== "")
    .map((url) => ({ url })),
  everyMs: Number(process.env.TASKRING_DEMO_POLL_MS ?? "5000"),
  // The demo's feeds are served on this machine; without this line they would be refused.
  fetch: { allowAddresses: ["127.0.0.1"] },
  onEntry: ({ feedId }, _task, context) => {
    context.state.put("entries", (context.state.get<number>("entries") ?? 0) + 1);
    context.submit("notify", { app: "notifier", key: `readers-of-${feedId}`, payload: {} });
  },
  wrap: (handler, type) => recorded(handler, type === "entry" ? { place: entryPlace } : {}),
});

export const apps: readonly App[] = [auth, feeds, notifier];

function numberedPlace(view: TaskView): TaskPlace {
  const { seq } = view.json<Numbered>();
  return seq === undefined ? {} : { seq };
}

/** Each entry, in each of its contents, is handed on once, whichever read found it. */
function entryPlace(view: TaskView): TaskPlace {
  const { feedUrl, entry } = view.json<EntryTask>();
  return { child: `${feedUrl} ${entry.id} ${entry.contentHash}` };
}

const NOTIFY_MS = 5;
