/**
 * The task `feeds.read`: one read of one feed.
 *
 * fetch (conditional) → hash the body → parse → compare with the entries seen → one `entry` task for each new or edited
 * one. What it remembers and the entries it submits are stored together with its acknowledgement, or not at all: a read
 * that is interrupted anywhere is simply done again.
 *
 * R1  An entry is handed on when it is new and at each edit, oldest first. Its task's idempotency key is made from feed, id
 *     and content, so that a second run of the same attempt names the same child; that of an edit from the read's id too,
 *     or one that takes an earlier edit back would be taken for a duplicate of it.
 * R2  Trouble of the moment fails the attempt, and the engine tries again. Trouble that lasts (the last attempt too, a
 *     refused address, not a feed) is recorded on the feed and returned as `failed`: it must not pile up dead letters,
 *     one for each poll. The feed is then asked less and less, and in the end paused with the reason.
 * R3  A feed that ended (410) or was paused is not asked again until a read with `force`.
 */

import { createHash } from "node:crypto";
import { PermanentError, type SubmitOptions, type TaskContext, type TaskView } from "../app.ts";
import { type FeedEntry, hashText } from "./entry.ts";
import { FeedError, type FeedErrorCode } from "./errors.ts";
import type { FeedFetcher, FetchResult } from "./fetch.ts";
import { ENTRY_LIMIT, type FeedFormat, type ParsedFeed, parseFeed } from "./parse.ts";
import { addressOf, type FeedRecord, failed, followed, recovered } from "./record.ts";
import { SeenEntries } from "./seen.ts";

/** Payload of `feeds.read`, as JSON. */
export interface ReadRequest {
  readonly url: string;
  /** Names the feed to the apps; also the key of its `entry` tasks. Default: a hash of the URL. */
  readonly id?: string;
  /** Asks although the feed has ended, is paused or asked to be left alone. */
  readonly force?: boolean;
}

/** Payload of `entry`, as JSON. */
export interface EntryTask {
  readonly feedId: string;
  readonly feedUrl: string;
  readonly change: "new" | "edited";
  readonly entry: FeedEntry;
}

/** Result of `feeds.read`. */
export type ReadOutcome =
  | {
      readonly type: "read";
      readonly format: FeedFormat;
      readonly parser: ParsedFeed["parser"];
      readonly title: string;
      /** Entries in the document, and how many of them were handed on. */
      readonly entries: number;
      readonly new: number;
      readonly edited: number;
      /** Left out: more than `entryLimit`. */
      readonly cut: number;
    }
  /** 304. */
  | { readonly type: "not-modified" }
  /** 200 with the same bytes as before. */
  | { readonly type: "unchanged" }
  /** 410: will not be asked again. */
  | { readonly type: "gone" }
  /** The server asked to be left alone until then. */
  | { readonly type: "deferred"; readonly status: number; readonly until: number }
  /** Not asked: see `record.ts`. */
  | { readonly type: "waiting"; readonly until: number }
  | { readonly type: "paused"; readonly code: FeedErrorCode | undefined; readonly detail: string }
  | { readonly type: "failed"; readonly code: FeedErrorCode; readonly detail: string; readonly failures: number };

export interface ReadSettings {
  readonly fetcher: Pick<FeedFetcher, "fetch">;
  /** After this many a failing read is recorded. Must equal the task's `attempts`. */
  readonly attempts: number;
  readonly entryType?: string;
  /** Entries taken from one document. Default 1,000, at most 10,000. */
  readonly entryLimit?: number;
  /** Entries remembered. Default 2,000, at least twice `entryLimit`, at most 60,000. */
  readonly seenLimit?: number;
  readonly wallNow?: () => number;
}

export type ReadContext = Pick<TaskContext, "attempt" | "signal" | "submit" | "log"> & {
  readonly state: Pick<TaskContext["state"], "get" | "put" | "delete">;
};

/** A handler for `feeds.read`. Throws `TypeError` for limits that no attempt could keep to. */
export function feedReader(
  settings: ReadSettings,
): (task: Pick<TaskView, "id" | "json">, context: ReadContext) => Promise<ReadOutcome> {
  checkLimit("entryLimit", settings.entryLimit ?? ENTRY_LIMIT, MOST_ENTRIES);
  checkLimit("seenLimit", settings.seenLimit ?? SEEN_LIMIT, MOST_SEEN);
  return async (task, context) => {
    const request = parseRequest(task.json());
    const now = (settings.wallNow ?? Date.now)();
    const before = context.state.get<FeedRecord>(RECORD) ?? {};
    const held = request.force === true ? undefined : holdOff(before, now);
    if (held !== undefined) return held;
    try {
      const { outcome, after } = await readOnce({ request, taskId: task.id, before, now, settings, context });
      keep(context, before, after);
      return outcome;
    } catch (error) {
      if (!(error instanceof FeedError) || error.code === "CANCELLED") throw error;
      if (error.retryable && context.attempt < settings.attempts) throw error; // R2
      const after = failed(before, { code: error.code, detail: error.message }, now);
      keep(context, before, after);
      context.log.warn("feed failed", { url: request.url, code: error.code, failures: after.failures?.count });
      return { type: "failed", code: error.code, detail: error.message, failures: after.failures?.count ?? 1 };
    }
  };
}

/** The id of a feed that was given none. */
export function feedIdOf(url: string): string {
  return hashText(url).slice(0, 16);
}

interface Reading {
  readonly request: ReadRequest;
  readonly taskId: string;
  readonly before: FeedRecord;
  readonly now: number;
  readonly settings: ReadSettings;
  readonly context: ReadContext;
}

interface Read {
  readonly outcome: ReadOutcome;
  readonly after: FeedRecord;
}

async function readOnce(reading: Reading): Promise<Read> {
  const { before, request, now } = reading;
  const url = addressOf(before, request.url);
  const original = url === request.url;
  const { etag, lastModified, validatedUrl } = before;
  const result = await reading.settings.fetcher.fetch({
    url,
    signal: reading.context.signal,
    ...(etag === undefined ? {} : { etag }),
    ...(lastModified === undefined ? {} : { lastModified }),
    ...(validatedUrl === undefined ? {} : { validatedUrl }),
  });
  switch (result.type) {
    case "not-modified":
      if (before.bodyHash === undefined)
        throw new FeedError("STATUS_REFUSED", `${url} answered 304 to a first request`);
      return { outcome: result, after: recovered(before) };
    case "gone":
      return { outcome: result, after: { ...recovered(before), ended: { reason: "gone" } } };
    case "deferred": {
      const until = now + result.retryAfterMs;
      return { outcome: { type: "deferred", status: result.status, until }, after: { ...before, notBefore: until } };
    }
    case "body":
      return await readBody(reading, result, original);
  }
}

async function readBody(
  reading: Reading,
  result: Extract<FetchResult, { type: "body" }>,
  original: boolean,
): Promise<Read> {
  const { before, request, settings, context } = reading;
  const bodyHash = createHash("sha256").update(result.body).digest("base64url");
  const after = validated(followed(recovered(before), { original }, result.movedTo), result, bodyHash);
  if (bodyHash === before.bodyHash) return { outcome: { type: "unchanged" }, after };
  const entryLimit = settings.entryLimit ?? ENTRY_LIMIT;
  const parsed = await parseFeed({
    body: result.body,
    url: result.url,
    entryLimit,
    ...(result.contentType === undefined ? {} : { contentType: result.contentType }),
  });
  const seen = new SeenEntries(context.state, Math.max(settings.seenLimit ?? SEEN_LIMIT, 2 * entryLimit));
  const novelty = seen.judge(parsed.entries);
  const feedId = request.id ?? feedIdOf(request.url);
  const counts = { new: 0, edited: 0, known: 0 };
  const children: (SubmitOptions & { readonly payload: EntryTask })[] = [];
  for (const [index, entry] of parsed.entries.entries()) {
    const change = novelty[index] ?? "known";
    counts[change] += 1;
    if (change === "known") continue;
    const payload: EntryTask = { feedId, feedUrl: request.url, change, entry };
    const edit = change === "edited" ? [reading.taskId] : [];
    const idempotencyKey = hashText(request.url, entry.id, entry.contentHash, ...edit); // R1
    children.push({ key: feedId, payload, idempotencyKey });
  }
  const bytes = children.reduce(
    (sum, { payload }) => sum + ENVELOPE_BYTES + Buffer.byteLength(JSON.stringify(payload)),
    0,
  );
  if (bytes > HANDED_ON_BYTES) throw new FeedError("TOO_LARGE", `${result.url}: ${bytes} bytes of new entries`);
  for (const child of children) context.submit(settings.entryType ?? "entry", child);
  seen.store(context.state);
  const { format, parser, title, cut } = parsed;
  if (cut > 0) context.log.warn("feed has more entries than are read at once", { url: request.url, cut });
  const outcome: ReadOutcome = {
    type: "read",
    format,
    parser,
    title,
    entries: parsed.entries.length,
    new: counts.new,
    edited: counts.edited,
    cut,
  };
  return { outcome, after };
}

function validated(record: FeedRecord, result: Extract<FetchResult, { type: "body" }>, bodyHash: string): FeedRecord {
  const { etag: _etag, lastModified: _lastModified, validatedUrl: _validatedUrl, ...rest } = record;
  return {
    ...rest,
    bodyHash,
    validatedUrl: result.url,
    ...(result.etag === undefined ? {} : { etag: result.etag }),
    ...(result.lastModified === undefined ? {} : { lastModified: result.lastModified }),
  };
}

/** R3, and the pauses of `record.ts`. */
function holdOff(record: FeedRecord, now: number): ReadOutcome | undefined {
  if (record.ended?.reason === "gone") return { type: "gone" };
  if (record.ended?.reason === "paused") {
    return { type: "paused", code: record.failures?.code, detail: record.failures?.detail ?? "" };
  }
  if (record.notBefore !== undefined && record.notBefore > now) return { type: "waiting", until: record.notBefore };
  return undefined;
}

/** Writes only what changed: most reads of most feeds change nothing. */
function keep(context: ReadContext, before: FeedRecord, after: FeedRecord): void {
  if (JSON.stringify(before) !== JSON.stringify(after)) context.state.put(RECORD, after);
}

/** Throws a permanent error: a task without a URL cannot get better. */
function parseRequest(payload: unknown): ReadRequest {
  if (typeof payload !== "object" || payload === null)
    throw new PermanentError("feeds.read: the payload must be { url }");
  const { url, id, force } = payload as Record<string, unknown>;
  if (typeof url !== "string") throw new PermanentError("feeds.read: url must be a string");
  if (id !== undefined && (typeof id !== "string" || !FEED_ID.test(id))) {
    throw new PermanentError(`feeds.read: id must match ${FEED_ID.source}`);
  }
  return { url, ...(id === undefined ? {} : { id }), force: force === true };
}

function checkLimit(name: string, limit: number, most: number): void {
  if (Number.isInteger(limit) && limit >= 1 && limit <= most) return;
  throw new TypeError(`${name} must be a whole number from 1 to ${most}, not ${limit}`);
}

export const FEED_ID: RegExp = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;
const RECORD = "feed";
const SEEN_LIMIT = 2_000;
/** What the children of one attempt may have together. */
const HANDED_ON_BYTES = 16 * 1024 * 1024;
/** More than a child has beside its payload. */
const ENVELOPE_BYTES = 512;
/** As many children as an attempt may have. */
const MOST_ENTRIES = 10_000;
/** At 16 bytes each they leave room for the record in a key's 1 MiB of state. */
const MOST_SEEN = 60_000;
