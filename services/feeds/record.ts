/**
 * What is remembered about a feed between reads, besides its entries: validators, where it has moved, its failures and
 * whether it is read at all. Kept in `ctx.state` under the feed's key, so it moves with the partition.
 */

import type { FeedErrorCode } from "./errors.ts";

export interface FeedRecord {
  readonly etag?: string;
  readonly lastModified?: string;
  /** Where the validators came from. */
  readonly validatedUrl?: string;
  /** SHA-256 of the last body that was parsed: an equal one is not parsed again. */
  readonly bodyHash?: string;
  /** Where permanent redirects led to, and how often in a row. */
  readonly moved?: { readonly url: string; readonly times: number };
  /** Failures in a row. */
  readonly failures?: { readonly count: number; readonly code: FeedErrorCode; readonly detail: string };
  /** Wall ms before which no request is made. */
  readonly notBefore?: number;
  readonly ended?: { readonly reason: "gone" | "paused" };
}

/** After a read that the server answered well: failures, waits and ends are forgotten. */
export function recovered(record: FeedRecord): FeedRecord {
  const { failures: _failures, notBefore: _notBefore, ended: _ended, ...rest } = record;
  return rest;
}

/** After a read that failed: a growing pause before the next, and in the end no next one. */
export function failed(
  record: FeedRecord,
  failure: { readonly code: FeedErrorCode; readonly detail: string },
  nowMs: number,
): FeedRecord {
  const count = (record.failures?.count ?? 0) + 1;
  const { notBefore: _notBefore, moved: _moved, ...rest } = record;
  const pauseMs = count === 1 ? 0 : Math.min(FIRST_PAUSE_MS * 2 ** Math.min(count - 2, 20), LONGEST_PAUSE_MS);
  return {
    ...rest,
    failures: { count, code: failure.code, detail: failure.detail.slice(0, DETAIL_LIMIT) },
    ...(pauseMs === 0 ? {} : { notBefore: nowMs + pauseMs }),
    ...(count >= FAILURE_LIMIT ? { ended: { reason: "paused" as const } } : {}),
  };
}

/** The address to ask: the new one once a permanent redirect has held for some reads. */
export function addressOf(record: FeedRecord, url: string): string {
  return record.moved !== undefined && record.moved.times >= STABLE_REDIRECTS ? record.moved.url : url;
}

/** Counts a permanent redirect; any other answer from the original address ends the count. */
export function followed(
  record: FeedRecord,
  asked: { readonly original: boolean },
  movedTo: string | undefined,
): FeedRecord {
  if (!asked.original && movedTo === undefined) return record;
  const { moved, ...rest } = record;
  if (movedTo === undefined) return rest;
  return {
    ...rest,
    moved: { url: movedTo, times: moved?.url === movedTo || !asked.original ? (moved?.times ?? 0) + 1 : 1 },
  };
}

const STABLE_REDIRECTS = 3;
/** The first failure may be a hiccup: the next poll tries at once. The second waits a minute, then it doubles. */
const FIRST_PAUSE_MS = 60_000;
const LONGEST_PAUSE_MS = 86_400_000;
/** About ten days of doubling pauses. */
const FAILURE_LIMIT = 20;
const DETAIL_LIMIT = 500;
