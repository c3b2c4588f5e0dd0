/**
 * One entry of a feed, the same whatever format it came in, and how entries are told apart.
 *
 * N1  Identity is the publisher's id (guid, atom:id, rdf:about, JSON id), else the URL, else a hash of title and content.
 * N2  The content hash covers what a reader sees (title, URL, content, white space folded) and no dates: many feeds
 *     rewrite those without an edit.
 */

import { createHash } from "node:crypto";

export interface FeedEntry {
  /** N1; at most 1,024 characters (a longer id is replaced by its hash). */
  readonly id: string;
  /** May be empty: RSS allows entries without. At most 1,024 characters. */
  readonly title: string;
  /** Absolute, http or https; at most 2,048 characters. */
  readonly url?: string;
  /** ISO 8601, UTC. */
  readonly publishedAt?: string;
  /** N2; 32 hex digits. */
  readonly contentHash: string;
}

/** What a parser found, before it is judged. */
export interface RawEntry {
  readonly id?: string | undefined;
  readonly title?: string | undefined;
  readonly url?: string | undefined;
  readonly publishedAt?: string | Date | undefined;
  readonly content?: string | undefined;
}

/** Undefined for an entry that says nothing: no id, no URL, no title and no content. */
export function normaliseEntry(raw: RawEntry, baseUrl: string): FeedEntry | undefined {
  const title = fold(raw.title ?? "");
  const content = fold(raw.content ?? "");
  const url = absoluteUrl(raw.url, baseUrl);
  const publisherId = (raw.id ?? "").trim();
  if (publisherId === "" && url === undefined && title === "" && content === "") return undefined;
  const id = publisherId !== "" ? publisherId : (url ?? hashText(title, content)); // N1
  const publishedAt = isoDate(raw.publishedAt);
  return {
    id: id.length <= TEXT_LIMIT ? id : hashText(id),
    title: title.slice(0, TEXT_LIMIT),
    ...(url === undefined ? {} : { url }),
    ...(publishedAt === undefined ? {} : { publishedAt }),
    contentHash: hashText(title, url ?? "", content), // N2
  };
}

/** The first of each id, in document order. */
export function uniqueEntries(entries: readonly FeedEntry[]): readonly FeedEntry[] {
  const byId = new Map<string, FeedEntry>();
  for (const entry of entries) if (!byId.has(entry.id)) byId.set(entry.id, entry);
  return [...byId.values()];
}

/** Oldest first: by date when every entry has one, else the reverse of the document, which is newest first by custom. */
export function oldestFirst(entries: readonly FeedEntry[]): readonly FeedEntry[] {
  const reversed = [...entries].reverse();
  if (!reversed.every((entry) => entry.publishedAt !== undefined)) return reversed;
  return reversed.sort((a, b) => compareText(a.publishedAt ?? "", b.publishedAt ?? "")); // stable
}

/** 32 hex digits; parts are kept apart, so ("ab", "c") differs from ("a", "bc"). */
export function hashText(...parts: readonly string[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part).update("\0");
  return hash.digest("hex").slice(0, 32);
}

function fold(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

function absoluteUrl(text: string | undefined, baseUrl: string): string | undefined {
  const trimmed = (text ?? "").trim();
  if (trimmed === "" || trimmed.length > URL_LIMIT) return undefined;
  try {
    const url = new URL(trimmed, baseUrl);
    const isWeb = url.protocol === "http:" || url.protocol === "https:";
    return isWeb && url.href.length <= URL_LIMIT ? url.href : undefined; // a character may have become nine
  } catch {
    return undefined;
  }
}

function isoDate(date: string | Date | undefined): string | undefined {
  if (date === undefined || date === "") return undefined;
  const parsed = new Date(typeof date === "string" ? withZone(date.trim()) : date);
  const year = parsed.getUTCFullYear();
  // Outside four digits ISO strings no longer sort as text; no feed means such a year.
  return Number.isNaN(parsed.getTime()) || year < 1_000 || year > 9_999 ? undefined : parsed.toISOString();
}

/** A date without a zone is UTC; the language takes it for local time, which differs between nodes. */
function withZone(text: string): string {
  if (!ZONELESS.test(text)) return text;
  return /\dT\d/.test(text) ? `${text}Z` : `${text} UTC`;
}

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** Ends in a time that is not an offset, or in the year of a day. */
const ZONELESS = /(?<![+\-\d])\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:\s?[ap]m)?$|^[^:]*\s\d{4}$/i;
const TEXT_LIMIT = 1_024;
const URL_LIMIT = 2_048;
