/**
 * Fetches one feed document: conditional, bounded in time and size, and only from addresses that the guard lets through.
 *
 * F1  One deadline covers everything: names, connections, redirects, headers and the whole body.
 * F2  Size is counted on the wire and again after each decompression, while it streams: a bomb stops at the limit.
 * F3  Redirects are followed here, one by one; every hop passes the URL rules and the guard.
 * F4  Validators (ETag, Last-Modified) are sent back as received and only to the URL they came from.
 */

import { Readable, type Transform } from "node:stream";
import { createBrotliDecompress, createGunzip, createInflate, createInflateRaw } from "node:zlib";
import { Agent, type Dispatcher } from "undici";
import { FeedError } from "./errors.ts";
import { AddressGuard, type GuardSettings, parseFeedUrl } from "./guard.ts";

export interface FetchSettings extends GuardSettings {
  /** After decompression. Default 15 MB, at least 1 KB. */
  readonly bodyLimitBytes?: number;
  /** Whole read. Default 20 s. */
  readonly totalTimeoutMs?: number;
  /** Default 5. */
  readonly redirectLimit?: number;
  /** Sent as `User-Agent`. */
  readonly userAgent?: string;
}

export interface FetchRequest {
  readonly url: string;
  readonly etag?: string;
  readonly lastModified?: string;
  /** The `url` of the result that the validators came with; they are sent to no other. Default: `url`. */
  readonly validatedUrl?: string;
  readonly signal?: AbortSignal;
}

export type FetchResult =
  | {
      readonly type: "body";
      /** Where the document was at last; relative links in it start from here. */
      readonly url: string;
      /** Present when every redirect on the way was permanent (301, 308). */
      readonly movedTo?: string;
      readonly body: Uint8Array;
      readonly contentType?: string;
      readonly etag?: string;
      readonly lastModified?: string;
    }
  | { readonly type: "not-modified" }
  /** 410: the publisher says that there will be no more. */
  | { readonly type: "gone" }
  /** The server named a time before which it wants no request (Retry-After). */
  | { readonly type: "deferred"; readonly status: number; readonly retryAfterMs: number };

/** Holds the connections of one process. Connections are not kept between reads: a poll a minute gains nothing by it. */
export class FeedFetcher implements AsyncDisposable {
  readonly #agent: Agent;
  readonly #bodyLimitBytes: number;
  readonly #totalTimeoutMs: number;
  readonly #redirectLimit: number;
  readonly #userAgent: string;

  constructor(settings: FetchSettings = {}) {
    this.#bodyLimitBytes = Math.max(settings.bodyLimitBytes ?? BODY_LIMIT_BYTES, 1_024);
    this.#totalTimeoutMs = settings.totalTimeoutMs ?? TOTAL_TIMEOUT_MS;
    this.#redirectLimit = settings.redirectLimit ?? REDIRECT_LIMIT;
    this.#userAgent = settings.userAgent ?? USER_AGENT;
    this.#agent = new Agent({
      connect: new AddressGuard(settings).connector({ connectTimeoutMs: this.#totalTimeoutMs }),
      pipelining: 0,
      maxHeaderSize: HEADER_LIMIT_BYTES,
      headersTimeout: this.#totalTimeoutMs,
      bodyTimeout: this.#totalTimeoutMs,
    });
  }

  /** Throws `FeedError`, nothing else. */
  async fetch(request: FetchRequest): Promise<FetchResult> {
    const deadline = AbortSignal.timeout(this.#totalTimeoutMs); // F1
    const signal = request.signal === undefined ? deadline : AbortSignal.any([deadline, request.signal]);
    try {
      return await this.#follow(request, signal);
    } catch (cause) {
      throw this.#typed(cause, { deadline, outer: request.signal, url: request.url });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
  }

  async #follow(request: FetchRequest, signal: AbortSignal): Promise<FetchResult> {
    let url = parseFeedUrl(request.url);
    let permanent = true;
    for (let hop = 0; hop <= this.#redirectLimit; hop += 1) {
      const response = await this.#get(url, request, signal);
      const { statusCode: status } = response;
      const location = header(response, "location");
      if (REDIRECTS.has(status) && location !== undefined) {
        discard(response);
        permanent &&= status === 301 || status === 308;
        url = parseFeedUrl(location, url.href); // F3
        continue;
      }
      if (status === 200) return await this.#read(response, { url: url.href, moved: hop > 0 && permanent });
      discard(response);
      return unread(response, url);
    }
    throw new FeedError("TOO_MANY_REDIRECTS", `more than ${this.#redirectLimit} from ${request.url}`);
  }

  #get(url: URL, request: FetchRequest, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    const headers: Record<string, string> = {
      accept: ACCEPT,
      "accept-encoding": "gzip, deflate, br",
      "user-agent": this.#userAgent,
    };
    if (url.href === parseFeedUrl(request.validatedUrl ?? request.url).href) {
      if (request.etag !== undefined) headers["if-none-match"] = request.etag; // F4
      if (request.lastModified !== undefined) headers["if-modified-since"] = request.lastModified;
    }
    return this.#agent.request({
      origin: url.origin,
      path: `${url.pathname}${url.search}`,
      method: "GET",
      headers,
      signal,
    });
  }

  async #read(
    response: Dispatcher.ResponseData,
    from: { readonly url: string; readonly moved: boolean },
  ): Promise<FetchResult> {
    const encodings = [response.headers["content-encoding"] ?? []].flat().join();
    const body = await this.#collect(response, encodings).catch((error: unknown) => {
      discard(response);
      throw error;
    });
    const contentType = header(response, "content-type");
    const etag = validator(response, "etag");
    const lastModified = validator(response, "last-modified");
    return {
      type: "body",
      url: from.url,
      body,
      ...(from.moved ? { movedTo: from.url } : {}),
      ...(contentType === undefined ? {} : { contentType }),
      ...(etag === undefined ? {} : { etag }),
      ...(lastModified === undefined ? {} : { lastModified }),
    };
  }

  /** Streams the body through its decoders; each stage is counted, so neither input nor any output outgrows the limit. */
  async #collect(response: Dispatcher.ResponseData, encodings: string): Promise<Uint8Array> {
    const announcedBytes = Number(header(response, "content-length") ?? 0);
    if (announcedBytes > this.#bodyLimitBytes) {
      throw new FeedError("TOO_LARGE", `${announcedBytes} bytes announced, ${this.#bodyLimitBytes} allowed`);
    }
    let stream: AsyncIterable<Uint8Array> = this.#counted(response.body);
    for (const decoder of decodersFor(encodings)) stream = this.#counted(decoded(stream, decoder));
    const chunks: Uint8Array[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  async *#counted(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let bytes = 0;
    for await (const chunk of stream) {
      bytes += chunk.byteLength;
      if (bytes > this.#bodyLimitBytes) throw new FeedError("TOO_LARGE", `more than ${this.#bodyLimitBytes} bytes`); // F2
      yield chunk;
    }
  }

  #typed(
    cause: unknown,
    context: { readonly deadline: AbortSignal; readonly outer: AbortSignal | undefined; readonly url: string },
  ): FeedError {
    if (context.outer?.aborted === true) return new FeedError("CANCELLED", context.url, { cause });
    if (cause instanceof FeedError) return cause;
    const code = errorCode(cause);
    if (context.deadline.aborted || TIMEOUTS.has(code)) {
      return new FeedError("TIMEOUT", `${context.url} took longer than ${this.#totalTimeoutMs} ms`, { cause });
    }
    const detail = `${context.url}: ${cause instanceof Error ? cause.message : String(cause)}`;
    return new FeedError(BROKEN_BODIES.test(code) ? "BODY_BROKEN" : "UNREACHABLE", detail, { cause });
  }
}

/** Retry-After in ms from now: seconds or an HTTP date. Undefined when absent or unreadable. */
export function parseRetryAfter(text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined) return undefined;
  const trimmed = text.trim();
  if (/^\d{1,10}$/.test(trimmed)) return Math.min(Number(trimmed) * 1_000, RETRY_AFTER_LIMIT_MS);
  const at = Date.parse(trimmed);
  if (!/[A-Za-z]{3}/.test(trimmed) || Number.isNaN(at)) return undefined;
  return Math.min(Math.max(at - nowMs, 0), RETRY_AFTER_LIMIT_MS);
}

function unread(response: Dispatcher.ResponseData, url: URL): FetchResult {
  const { statusCode: status } = response;
  if (status === 304) return { type: "not-modified" };
  if (status === 410) return { type: "gone" };
  const retryAfterMs =
    status === 429 || status >= 500 ? parseRetryAfter(header(response, "retry-after"), Date.now()) : undefined;
  if (retryAfterMs !== undefined) return { type: "deferred", status, retryAfterMs };
  const transient = status >= 500 || TRANSIENT_STATUSES.has(status);
  throw new FeedError(transient ? "STATUS_FAILED" : "STATUS_REFUSED", `${url.href} answered ${status}`);
}

/** Makes the stream that undoes one encoding, given the first bytes. */
type Decoder = (first: Uint8Array) => Transform;

/** In the order in which they are undone: the last one applied comes first. */
function decodersFor(encodings: string): readonly Decoder[] {
  const names = encodings
    .toLowerCase()
    .split(",")
    .map((name) => name.trim());
  const applied = names.filter((name) => name !== "" && name !== "identity");
  if (applied.length > ENCODING_LIMIT)
    throw new FeedError("ENCODING_UNKNOWN", `${applied.length} on top of each other`);
  return applied.reverse().map((name) => {
    const decoder = DECODERS.get(name);
    if (decoder === undefined) throw new FeedError("ENCODING_UNKNOWN", JSON.stringify(name.slice(0, 40)));
    return decoder;
  });
}

/** `source` through the decoder. An error or an early stop on either side closes the other. */
async function* decoded(source: AsyncIterable<Uint8Array>, decoder: Decoder): AsyncGenerator<Uint8Array> {
  const input = source[Symbol.asyncIterator]();
  const first = await input.next();
  if (first.done === true) return; // an empty body is legal under any encoding
  const through = decoder(first.value);
  const readable = Readable.from(withFirst(first.value, { [Symbol.asyncIterator]: () => input }), {
    objectMode: false,
  });
  readable.once("error", (error) => through.destroy(error));
  readable.pipe(through);
  try {
    for await (const chunk of through) yield chunk as Uint8Array;
  } finally {
    readable.destroy();
    through.destroy();
  }
}

async function* withFirst(first: Uint8Array, rest: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield first;
  yield* rest;
}

function header(response: Dispatcher.ResponseData, name: string): string | undefined {
  const value = response.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** A validator that is too long or could break a header line is as good as none. */
function validator(response: Dispatcher.ResponseData, name: string): string | undefined {
  const value = header(response, name);
  return value !== undefined && value.length <= VALIDATOR_LENGTH_LIMIT && /^[\x20-\x7e]+$/.test(value)
    ? value
    : undefined;
}

function discard(response: Dispatcher.ResponseData): void {
  response.body.on("error", () => {});
  response.body.destroy();
}

function errorCode(error: unknown): string {
  if (typeof error !== "object" || error === null || !("code" in error)) return "";
  return String(error.code);
}

const DECODERS: ReadonlyMap<string, Decoder> = new Map<string, Decoder>([
  ["gzip", () => createGunzip()],
  ["x-gzip", () => createGunzip()],
  ["br", () => createBrotliDecompress()],
  // Servers disagree on "deflate": with the zlib header, whose low nibble is 8, or without.
  ["deflate", (first) => (((first[0] ?? 8) & 0x0f) === 8 ? createInflate() : createInflateRaw())],
]);
const BODY_LIMIT_BYTES = 15_000_000;
export const TOTAL_TIMEOUT_MS = 20_000;
const REDIRECT_LIMIT = 5;
const HEADER_LIMIT_BYTES = 16_384;
const ENCODING_LIMIT = 2;
const VALIDATOR_LENGTH_LIMIT = 512;
/** A day: nobody is kept waiting for ever by one header. */
const RETRY_AFTER_LIMIT_MS = 86_400_000;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const TRANSIENT_STATUSES: ReadonlySet<number> = new Set([408, 421, 425, 429]);
const TIMEOUTS: ReadonlySet<string> = new Set([
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
  "UND_ERR_CONNECT_TIMEOUT",
  "ETIMEDOUT",
]);
const BROKEN_BODIES = /^(Z_|ERR_BROTLI|ERR__ERROR_|ERR_PADDING|UND_ERR_RES_|ERR_STREAM_PREMATURE_CLOSE)/;
const ACCEPT =
  "application/feed+json, application/atom+xml, application/rss+xml, application/xml;q=0.9, text/xml;q=0.8, */*;q=0.1";
const USER_AGENT = "taskring-feeds/0.1";
