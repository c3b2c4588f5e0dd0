/**
 * The apps of the chaos runs and of the tests on real processes: numbered work per key with a state counter, children, and first attempts that fail; every
 * attempt is written to the history.
 *
 * The counter is written with the acknowledgement, so at rest it equals the number of tasks of its key that ended, however
 * often their handlers ran.
 */

import { setTimeout as delay } from "node:timers/promises";
import { type App, defineApp, type TaskHandler, type TaskView, task } from "../../services/app.ts";
import { recorded, type TaskPlace } from "../../services/history/recorded.ts";

/** Payload of `work`. */
export interface Work {
  /** Place among the submits of the key, from 0. */
  readonly seq: number;
  readonly ms: number;
  /** Children to submit, each to a lane of its own or a shared one. */
  readonly children: number;
  /** The first attempt throws. */
  readonly fails: boolean;
}

interface Child {
  readonly parent: string;
  readonly child: string;
}

const work: TaskHandler = async (view, context) => {
  const { ms, children, fails } = view.json<Work>();
  if (ms >= 1) await delay(ms);
  if (fails && view.attempt === 1) throw new Error("the first attempt fails");
  context.state.put("count", (context.state.get<number>("count") ?? 0) + 1);
  for (let index = 0; index < children; index++) {
    const payload: Child = { parent: view.id, child: `${view.id} ${index}` };
    // Every other child goes to a lane that parents of many keys, so of many partitions, share.
    context.submit("child", index % 2 === 0 ? { payload } : { payload, key: `shared-${view.key.slice(-1)}` });
  }
};

const child: TaskHandler = async () => {
  await delay(1);
};

/** The counter of the key: its result. */
const read: TaskHandler = (_view, context) => ({ count: context.state.get<number>("count") ?? 0 });

const options = { concurrency: 10_000, backoff: { baseMs: 20, maxMs: 1_000 } };

const chaos: App = defineApp("chaos", {
  tasks: {
    work: task(recorded(work, { place: (view) => ({ seq: view.json<Work>().seq }), traced: true }), options),
    child: task(recorded(child, { place: childPlace }), options),
    read: task(read, options),
  },
  limits: { running: 2_048, queued: 1_000_000 },
});

/** Payload of `hold`. */
export interface Hold {
  readonly seq: number;
  readonly ms: number;
}

/** Takes its time whatever the signal says, as a careless handler would. */
const hold: TaskHandler = async (view) => {
  await delay(view.json<Hold>().ms);
};

const note: TaskHandler = () => undefined;

const slow: App = defineApp("slow", {
  tasks: {
    hold: task(recorded(hold, { place: (view) => ({ seq: view.json<Hold>().seq }) }), { ...options, state: "none" }),
    note: task(recorded(note), { ...options, state: "none" }),
  },
  limits: { running: 2_048 },
});

/** Its queue is soon full. */
const tiny: App = defineApp("tiny", {
  tasks: { hold: task(hold, { state: "none" }) },
  limits: { queued: 8, running: 1 },
});

export const apps: readonly App[] = [chaos, slow, tiny];

function childPlace(view: TaskView): TaskPlace {
  return view.json<Child>();
}
