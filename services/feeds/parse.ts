/**
 * A feed document to entries: RSS, RDF, Atom and JSON Feed, well-formed or not.
 *
 * feedsmith reads first: it is fast and knows every format. Documents that it refuses, or in which it finds nothing, go
 * to feedparser, which reads almost anything that looks like XML, as slowly as the document asks; so it runs in small
 * steps under a time limit and leaves the event loop to others in between.
 *
 * D1  A channel that a parser recognised and that has no entries is a feed: an empty one.
 * D2  A document that is broken before its first entry is not a feed (it is not taken for an empty one).
 * D3  The number of entries, of attributes and of words in tags is limited before anything is parsed: feedsmith cannot be interrupted.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import FeedParser from "feedparser";
import { parseFeed as parseWithFeedsmith } from "feedsmith";
import { decodeDocument } from "./charset.ts";
import { type FeedEntry, normaliseEntry, oldestFirst, type RawEntry, uniqueEntries } from "./entry.ts";
import { FeedError } from "./errors.ts";
import { hasMoreMarkup } from "./markup.ts";

export type FeedFormat = "rss" | "rdf" | "atom" | "json";

export interface ParsedFeed {
  readonly format: FeedFormat;
  readonly parser: "feedsmith" | "feedparser";
  readonly title: string;
  /** Oldest first, each id once. */
  readonly entries: readonly FeedEntry[];
  /** Older entries beyond `entryLimit`, which were left out. */
  readonly cut: number;
}

export interface ParseRequest {
  readonly body: Uint8Array;
  readonly contentType?: string;
  /** Where relative links start. */
  readonly url: string;
  /** Default 1,000. The newest are kept. */
  readonly entryLimit?: number;
}

/** Throws `FeedError` NOT_A_FEED or TOO_LARGE. */
export async function parseFeed(request: ParseRequest): Promise<ParsedFeed> {
  const text = decodeDocument(request.body, request.contentType);
  if (hasMore(text, ENTRY_OPENING, DOCUMENT_ENTRY_LIMIT) || hasMore(text, OBJECT_OPENING, DOCUMENT_OBJECT_LIMIT)) {
    throw new FeedError("TOO_LARGE", `${request.url}: more than ${DOCUMENT_ENTRY_LIMIT} entries`); // D3
  }
  if (hasMore(text, ATTRIBUTE, DOCUMENT_ATTRIBUTE_LIMIT))
    throw new FeedError("TOO_LARGE", `${request.url}: more than ${DOCUMENT_ATTRIBUTE_LIMIT} attributes`); // D3
  if (hasMoreMarkup(text, DOCUMENT_MARKUP_LIMIT))
    throw new FeedError("TOO_LARGE", `${request.url}: more than ${DOCUMENT_MARKUP_LIMIT} tags and words in them`); // D3
  const first = tryFeedsmith(text);
  if (first.type === "found" && (first.found.entries.length > 0 || first.found.format === "json")) {
    return finish(first.found, "feedsmith", request);
  }
  const second = await tryFeedparser(text);
  if (second !== undefined && second.entries.length > 0) return finish(second, "feedparser", request);
  if (first.type === "found") return finish(first.found, "feedsmith", request); // D1
  throw new FeedError("NOT_A_FEED", `${request.url}: ${first.reason}`); // D2
}

interface Found {
  readonly format: FeedFormat;
  readonly title: string;
  readonly entries: readonly RawEntry[];
}

function tryFeedsmith(
  text: string,
): { readonly type: "found"; readonly found: Found } | { readonly type: "refused"; readonly reason: string } {
  try {
    return { type: "found", found: fromFeedsmith(parseText(text)) };
  } catch (error) {
    return { type: "refused", reason: error instanceof Error ? error.message : String(error) };
  }
}

/** Dates stay text here: feeds write them in more ways than one parser knows. */
const parseText = (text: string) => parseWithFeedsmith<string>(text);

function fromFeedsmith(parsed: ReturnType<typeof parseText>): Found {
  switch (parsed.format) {
    case "rss": {
      const entries = (parsed.feed.items ?? []).map((item): RawEntry => {
        const guid = item.guid?.value;
        // A guid stands in for a missing link unless the feed says that it is no address.
        const url = item.link ?? (item.guid?.isPermaLink === false ? undefined : guid);
        return {
          id: guid,
          title: item.title,
          url,
          publishedAt: item.pubDate ?? item.dc?.dates?.[0],
          content: item.content?.encoded ?? item.description,
        };
      });
      return { format: "rss", title: parsed.feed.title ?? "", entries };
    }
    case "rdf": {
      const entries = (parsed.feed.items ?? []).map((item): RawEntry => {
        return {
          id: item.rdf?.about,
          title: item.title,
          url: item.link,
          publishedAt: item.dc?.dates?.[0],
          content: item.content?.encoded ?? item.description,
        };
      });
      return { format: "rdf", title: parsed.feed.title ?? "", entries };
    }
    case "atom": {
      const entries = (parsed.feed.entries ?? []).map((entry): RawEntry => {
        const link =
          entry.links?.find((each) => each.rel === undefined || each.rel === "alternate") ?? entry.links?.[0];
        const content = entry.content?.value ?? entry.summary?.value;
        return {
          id: entry.id,
          title: entry.title?.value,
          url: link?.href,
          publishedAt: entry.published ?? entry.updated,
          content,
        };
      });
      return { format: "atom", title: parsed.feed.title?.value ?? "", entries };
    }
    case "json": {
      const entries = (parsed.feed.items ?? []).map((item): RawEntry => {
        const content = item.content_html ?? item.content_text ?? item.summary;
        return {
          id: item.id,
          title: item.title,
          url: item.url ?? item.external_url,
          publishedAt: item.date_published,
          content,
        };
      });
      return { format: "json", title: parsed.feed.title ?? "", entries };
    }
  }
}

/** Undefined when it finds no feed, or gives up on one that takes too long. */
async function tryFeedparser(text: string): Promise<Found | undefined> {
  const parser = new FeedParser({ normalize: true, addmeta: false, resume_saxerror: true });
  const entries: RawEntry[] = [];
  let failed = false;
  let type: string | undefined;
  let title = "";
  parser.on("meta", (meta) => {
    type = meta["#type"];
    title = meta.title ?? "";
  });
  parser.on("data", (item: FeedParser.Item) => entries.push(fromFeedparser(item)));
  parser.on("error", () => {
    failed = true;
  });
  const ended = new Promise<void>((resolve) =>
    parser
      .once("end", resolve)
      .once("error", () => resolve())
      .once("close", resolve),
  );
  const started = performance.now();
  for (let from = 0; from < text.length && !failed; from += STEP_CHARACTERS) {
    parser.write(text.slice(from, from + STEP_CHARACTERS));
    await nextTurn();
    if (performance.now() - started > PARSE_LIMIT_MS) failed = true;
  }
  if (failed) parser.destroy();
  else parser.end();
  await ended;
  // What was found before the trouble is kept: the entries of a document cut off in the middle are as good as any.
  return type === "rss" || type === "atom" || type === "rdf" ? { format: type, title, entries } : undefined;
}

function fromFeedparser(item: FeedParser.Item): RawEntry {
  return {
    id: item.guid ?? undefined,
    title: item.title ?? undefined,
    url: item.link ?? item.origlink ?? undefined,
    publishedAt: item.pubdate ?? item.date ?? undefined,
    content: item.description ?? item.summary ?? undefined,
  };
}

function finish(found: Found, parser: ParsedFeed["parser"], request: ParseRequest): ParsedFeed {
  const entryLimit = request.entryLimit ?? ENTRY_LIMIT;
  const entries: FeedEntry[] = [];
  for (const raw of found.entries) {
    const entry = normaliseEntry(raw, request.url);
    if (entry !== undefined) entries.push(entry);
  }
  const unique = oldestFirst(uniqueEntries(entries));
  return {
    format: found.format,
    parser,
    title: found.title.replace(/\s+/g, " ").trim().slice(0, TITLE_LIMIT),
    entries: unique.slice(-entryLimit),
    cut: Math.max(unique.length - entryLimit, 0),
  };
}

function hasMore(text: string, pattern: RegExp, limit: number): boolean {
  let found = 0;
  for (const _each of text.matchAll(pattern)) {
    found += 1;
    if (found > limit) return true;
  }
  return false;
}

export const ENTRY_LIMIT = 1_000;
const TITLE_LIMIT = 1_024;
/** 20,000 entries of 15 MB take feedsmith 0.3 s; half a million empty ones took 2.2 s and half a gigabyte. */
const DOCUMENT_ENTRY_LIMIT = 20_000;
/** Each takes feedsmith up to 13 us; a feed of 1,000 entries with pages of HTML has 50,000. */
const DOCUMENT_ATTRIBUTE_LIMIT = 150_000;
const ATTRIBUTE = /=\s*["']/g;
/** Up to 1.6 us each. */
const DOCUMENT_MARKUP_LIMIT = 500_000;
const ENTRY_OPENING = /<(?:[^\s<>/:]{1,100}:)?(?:item|entry)[\s/>]/gi;
/** JSON has no cheap sign of an entry; the entries of real feeds have up to ten objects each, and no arrays in arrays. */
const OBJECT_OPENING = /\{\s*["}]|\[\s*[[\]]/g;
const DOCUMENT_OBJECT_LIMIT = 200_000;
const STEP_CHARACTERS = 16_384;
const PARSE_LIMIT_MS = 2_000;
