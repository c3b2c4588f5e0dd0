/**
 * What can go wrong while a feed is read: one catalogue, so that the task handler, the operator and the tests speak of
 * the same cases. `retryable` decides between another attempt of the same task (the trouble is likely to pass) and a
 * recorded failure of the feed (the same read would fail again).
 */

export type FeedErrorCode =
  | "URL_INVALID"
  | "ADDRESS_REFUSED"
  | "TOO_MANY_REDIRECTS"
  | "TOO_LARGE"
  | "ENCODING_UNKNOWN"
  | "BODY_BROKEN"
  | "TIMEOUT"
  | "UNREACHABLE"
  | "STATUS_REFUSED"
  | "STATUS_FAILED"
  | "NOT_A_FEED"
  | "CANCELLED";

const FEED_ERRORS: Readonly<Record<FeedErrorCode, { readonly retryable: boolean; readonly means: string }>> = {
  URL_INVALID: { retryable: false, means: "not an absolute http or https URL, or it carries credentials" },
  ADDRESS_REFUSED: { retryable: false, means: "the host has no public address (see allowAddresses)" },
  TOO_MANY_REDIRECTS: { retryable: false, means: "more redirects than the limit, or a loop" },
  TOO_LARGE: {
    retryable: false,
    means: "the document is over the size limit, compressed or not, or has too many entries",
  },
  ENCODING_UNKNOWN: { retryable: false, means: "a content encoding other than gzip, deflate or br" },
  BODY_BROKEN: { retryable: true, means: "the body ended early or did not decompress" },
  TIMEOUT: { retryable: true, means: "the whole read took longer than its limit" },
  UNREACHABLE: { retryable: true, means: "no connection: name not found, refused, reset or TLS failed" },
  STATUS_REFUSED: { retryable: false, means: "a status that the same request would get again" },
  STATUS_FAILED: { retryable: true, means: "a status of trouble at the server" },
  NOT_A_FEED: { retryable: false, means: "neither parser found RSS, RDF, Atom or JSON Feed" },
  CANCELLED: { retryable: true, means: "the attempt was cancelled" },
};

/** The one error class of the feeds service. */
export class FeedError extends Error {
  readonly code: FeedErrorCode;

  constructor(code: FeedErrorCode, detail: string, options: { readonly cause?: unknown } = {}) {
    super(`${code}: ${detail}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "FeedError";
    this.code = code;
  }

  get retryable(): boolean {
    return FEED_ERRORS[this.code].retryable;
  }
}
