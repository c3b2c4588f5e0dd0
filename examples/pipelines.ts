/**
 * Two pipelines over a made-up social service: removal of all content of a profile, and one event to every subscriber. Both
 * read their source page by page with checkpoints, so that after a crash they go on where they were.
 *
 * The content and the subscribers are computed, not stored: page n of a profile is the same wherever it is read.
 */

import {
  batch,
  byKey,
  defineApp,
  fitting,
  type Pipeline,
  pass,
  pipeline,
  type Report,
  reduceByKey,
  task,
} from "../services/index.ts";

export interface Ban {
  readonly profileId: string;
  /** How many items the profile has. Default 10,000. */
  readonly items?: number;
}

export interface Post {
  readonly profileId: string;
  readonly id: string;
}

export const banProfile: Pipeline<Ban, string> = pipeline("ban-profile", [
  fitting<Ban, Post>({
    name: "pages",
    partition: byKey((ban: Ban) => ban.profileId),
    onCrash: { retry: 5 },
    async *process(ban, context) {
      const pages = Math.ceil((ban.items ?? 10_000) / PAGE);
      for (let page = Number(context.cursor ?? 0); page < pages; page++) {
        const count = Math.min(PAGE, (ban.items ?? 10_000) - page * PAGE);
        yield batch(
          Array.from({ length: count }, (_, at) => ({
            profileId: ban.profileId,
            id: `${ban.profileId}-${page * PAGE + at}`,
          })),
        );
        await context.checkpoint(page + 1);
      }
    },
  }),
  fitting<Post, string>({
    name: "remove",
    partition: byKey((post: Post) => post.id),
    concurrency: 8,
    onCrash: { retry: 5 },
    process: async (post) => post.id,
  }),
]);

export interface TimelineEvent {
  readonly event: string;
  /** Default 100,000. */
  readonly subscribers?: number;
}

export interface Push {
  readonly event: string;
  readonly subscriber: number;
}

export const fanOut: Pipeline<TimelineEvent, number> = pipeline("fan-out", [
  fitting<TimelineEvent, Push>({
    name: "subscribers",
    partition: byKey(({ event }: TimelineEvent) => event),
    onCrash: { retry: 5 },
    async *process({ event, subscribers = 100_000 }, context) {
      for (let first = Number(context.cursor ?? 0); first < subscribers; first += PAGE) {
        const count = Math.min(PAGE, subscribers - first);
        yield batch(Array.from({ length: count }, (_, at) => ({ event, subscriber: first + at })));
        await context.checkpoint(first + count);
      }
    },
  }),
  fitting<Push, number>({
    name: "push",
    partition: byKey((push: Push) => push.subscriber),
    process: (push) => push.subscriber,
  }),
]);

/** For trying things out: three fittings that pass what they get, each on another partition. */
export const passThree: Pipeline<number, number> = pipeline("pass-three", [
  pass<number>({ name: "one", partition: byKey((n: number) => n) }),
  pass<number>({ name: "two", partition: byKey((n: number) => n + 1) }),
  pass<number>({ name: "three", partition: byKey((n: number) => n + 2) }),
]);

/** Its counts survive the loss of a node: they are stored at the run's coordinator again and again. */
export const countWords: Pipeline<string, readonly [string | number, number]> = pipeline("count-words", [
  reduceByKey<string, number>({
    name: "count",
    key: (word) => word,
    checkpointEvery: 1_000,
    initial: () => 0,
    add: (count) => count + 1,
    merge: (a, b) => a + b,
  }),
]);

export const apps: readonly ReturnType<typeof defineApp>[] = [
  defineApp("pipelines", {
    pipelines: [banProfile, fanOut, passThree, countWords],
    tasks: {
      // Stands for what is done for each output of a run whose sink makes tasks.
      push: task(() => undefined, { state: "none" }),
      // Durable: the task is done when the whole tree of its run is.
      ban: task(async (one, context) => summaryOf(await context.run(banProfile, { input: one.json<Ban>() })), {
        timeoutMs: 3_600_000,
      }),
      "timeline.changed": task(
        async (one, context) => summaryOf(await context.run(fanOut, { input: one.json<TimelineEvent>() })),
        { timeoutMs: 3_600_000 },
      ),
    },
  }),
];

function summaryOf({ outputs, failed, resent }: Report): Pick<Report, "outputs" | "failed" | "resent"> {
  return { outputs, failed, resent };
}

const PAGE = 500;
