/**
 * An app that reads feeds: a schedule for each feed, the task `feeds.read`, and the task `entry`, whose handler is yours.
 */

import {
  type App,
  defineApp,
  type TaskContext,
  type TaskHandler,
  type TaskOptions,
  type TaskView,
  task,
} from "../app.ts";
import { FeedFetcher, type FetchSettings, TOTAL_TIMEOUT_MS } from "./fetch.ts";
import { parseFeedUrl } from "./guard.ts";
import { type EntryTask, FEED_ID, feedIdOf, feedReader, type ReadRequest } from "./read.ts";

interface FeedSource {
  readonly url: string;
  /** Default: a hash of the URL. */
  readonly id?: string;
  /** Default: the app's `everyMs`. */
  readonly everyMs?: number;
}

export interface FeedsAppOptions {
  /** Polled by the ring. Other feeds can be read by submitting `feeds.read` with `{ url }`. */
  readonly feeds?: readonly FeedSource[];
  /** Default 15 minutes. */
  readonly everyMs?: number;
  /** Called for each new or edited entry; entries of one feed come one at a time, oldest first. */
  readonly onEntry: (entry: EntryTask, task: TaskView, context: TaskContext) => unknown;
  readonly fetch?: FetchSettings;
  readonly entryLimit?: number;
  readonly seenLimit?: number;
  /** Reads at once on one node. Default 8. */
  readonly concurrency?: number;
  readonly entry?: TaskOptions;
  readonly limits?: NonNullable<Parameters<typeof defineApp>[1]["limits"]>;
  readonly version?: string;
  /** Put around both handlers, for those who watch them. */
  readonly wrap?: (handler: TaskHandler, type: "feeds.read" | "entry") => TaskHandler;
}

/** Throws `FeedError` URL_INVALID, `TypeError` or `RingError` INVALID_ARGUMENT for a definition that could not work. */
export function feedsApp(name: string | { readonly match: string }, options: FeedsAppOptions): App {
  const fetcher = new FeedFetcher(options.fetch);
  const read = feedReader({
    fetcher,
    attempts: READ_ATTEMPTS,
    ...(options.entryLimit === undefined ? {} : { entryLimit: options.entryLimit }),
    ...(options.seenLimit === undefined ? {} : { seenLimit: options.seenLimit }),
  });
  const onEntry: TaskHandler = (view, context) => options.onEntry(view.json<EntryTask>(), view, context);
  const wrap = options.wrap ?? ((handler) => handler);
  return defineApp(name, {
    ...(options.version === undefined ? {} : { version: options.version }),
    ...(options.limits === undefined ? {} : { limits: options.limits }),
    tasks: {
      "feeds.read": task(wrap(read, "feeds.read"), {
        attempts: READ_ATTEMPTS,
        backoff: { baseMs: 500, maxMs: 60_000 },
        timeoutMs: (options.fetch?.totalTimeoutMs ?? TOTAL_TIMEOUT_MS) + PARSE_GRACE_MS,
        concurrency: options.concurrency ?? 8,
      }),
      entry: task(wrap(onEntry, "entry"), options.entry ?? {}),
    },
    schedules: schedulesOf(options.feeds ?? [], options.everyMs ?? POLL_EVERY_MS),
  });
}

/** The lane key of a feed's reads: its URL, or its id when that is longer than a key may be. */
export function readKeyOf(url: string): string {
  return Buffer.byteLength(url) <= KEY_LIMIT_BYTES ? url : feedIdOf(url);
}

/** Two feeds of one id would be one schedule, and two of one URL share what is remembered of its entries. */
function schedulesOf(feeds: readonly FeedSource[], everyMs: number): Readonly<Record<string, Poll>> {
  const schedules: Record<string, Poll> = {};
  const keys = new Set<string>();
  for (const feed of feeds) {
    const [name, poll] = scheduleOf(feed, everyMs);
    if (name in schedules || keys.has(poll.key))
      throw new TypeError(`two feeds have the id ${poll.payload.id} or the URL ${feed.url.slice(0, 120)}`);
    schedules[name] = poll;
    keys.add(poll.key);
  }
  return schedules;
}

interface Poll {
  readonly everyMs: number;
  readonly task: string;
  readonly key: string;
  readonly payload: ReadRequest;
}

function scheduleOf(feed: FeedSource, everyMs: number): readonly [string, Poll] {
  parseFeedUrl(feed.url);
  const id = feed.id ?? feedIdOf(feed.url);
  if (!FEED_ID.test(id))
    throw new TypeError(`feed id ${JSON.stringify(id.slice(0, 120))} does not match ${FEED_ID.source}`);
  return [
    `poll-${id}`,
    { everyMs: feed.everyMs ?? everyMs, task: "feeds.read", key: readKeyOf(feed.url), payload: { url: feed.url, id } },
  ];
}

const READ_ATTEMPTS = 5;
/** On top of the fetch's own limit and more than the parser's, so that those say what went wrong. */
const PARSE_GRACE_MS = 10_000;
const POLL_EVERY_MS = 900_000;
const KEY_LIMIT_BYTES = 512;
