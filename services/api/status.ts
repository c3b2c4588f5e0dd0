/** Our errors as gRPC statuses: the code of the catalogue gives the status, details carry ErrorInfo and RetryInfo. */

import { Metadata, type StatusObject, status } from "@grpc/grpc-js";
import { DETAILS_KEY, DOMAIN, encodeErrorDetails } from "../../proto/error-details.ts";
import { ERRORS, type ErrorCode, RingError } from "../../ring/errors.ts";

export interface RefusalFields {
  readonly code: ErrorCode;
  readonly message: string;
  /** Undefined: trying again does not help. */
  readonly retryAfterMs: number | undefined;
}

/** Anything that is no RingError becomes INTERNAL, without its text. */
export function refusalOf(error: unknown): RefusalFields {
  const ring =
    error instanceof RingError ? error : new RingError("INTERNAL", "an unexpected error; see the node's log");
  const { code, message } = ring;
  return { code, message, retryAfterMs: ring.retryAfterMs ?? (ERRORS[code].retryable ? DEFAULT_RETRY_MS : undefined) };
}

/** What grpc-js takes as the end of a call. */
export function statusOf(error: unknown): StatusObject & Error {
  const refusal = refusalOf(error);
  const { retryAfterMs } = refusal;
  const kind = ERRORS[refusal.code];
  const code = status[kind.status];
  const message = wellFormed(`${refusal.code}: ${refusal.message}`.slice(0, MESSAGE_CHARACTERS));
  const metadata = new Metadata();
  metadata.set(
    DETAILS_KEY,
    encodeErrorDetails({
      status: code,
      message,
      reason: refusal.code,
      domain: DOMAIN,
      metadata: { hint: kind.hint },
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    }),
  );
  return Object.assign(new Error(message), { code, details: message, metadata });
}

/** What a caller sent is quoted, and cut anywhere: grpc-js throws at half a character, where nobody catches it. */
function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, "\ufffd");
}

/** Told where the node named no delay of its own. */
const DEFAULT_RETRY_MS = 100;
/** Trailers have to fit into an HTTP/2 header block. */
const MESSAGE_CHARACTERS = 1_000;
