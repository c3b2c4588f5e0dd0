/**
 * `google.rpc.Status` with ErrorInfo and RetryInfo, as they travel in `grpc-status-details-bin`.
 *
 * Source: google/rpc/status.proto, error_details.proto, google/protobuf/any.proto, duration.proto.
 */

import { WireReader, WireWriter } from "./wire.ts";

export interface ErrorDetails {
  /** gRPC status number. */
  readonly status: number;
  readonly message: string;
  /** One of our codes. */
  readonly reason: string;
  readonly domain: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly retryAfterMs?: number;
}

export function encodeErrorDetails(details: ErrorDetails): Buffer {
  const info = new WireWriter();
  info.string(1, details.reason);
  info.string(2, details.domain);
  for (const [key, value] of Object.entries(details.metadata)) {
    info.message(3, (entry) => {
      entry.string(1, key);
      entry.string(2, value);
    });
  }
  const writer = new WireWriter();
  writer.numberUnlessZero(1, details.status);
  writer.string(2, details.message);
  writeAny(writer, ERROR_INFO, info.finish());
  const { retryAfterMs } = details;
  if (retryAfterMs !== undefined) {
    const retry = new WireWriter();
    retry.message(1, (duration) => {
      duration.numberUnlessZero(1, Math.floor(retryAfterMs / 1000));
      duration.numberUnlessZero(2, (Math.round(retryAfterMs) % 1000) * 1_000_000);
    });
    writeAny(writer, RETRY_INFO, retry.finish());
  }
  return writer.finish();
}

/** Throws `WireError` on garbage. Details of other types are passed over. */
export function parseErrorDetails(bytes: Uint8Array): ErrorDetails {
  let status = 0;
  let message = "";
  let reason = "";
  let domain = "";
  let retryAfterMs: number | undefined;
  const metadata: Record<string, string> = {};
  const reader = new WireReader(bytes);
  while (reader.next()) {
    if (reader.field === 1) status = reader.number();
    else if (reader.field === 2) message = reader.string();
    else if (reader.field === 3) {
      const any = parseAny(reader.message());
      if (any.type === ERROR_INFO) {
        const info = new WireReader(any.value);
        while (info.next()) {
          if (info.field === 1) reason = info.string();
          else if (info.field === 2) domain = info.string();
          else if (info.field === 3) {
            const [key, value] = parsePair(info.message());
            metadata[key] = value;
          } else info.skip();
        }
      } else if (any.type === RETRY_INFO) retryAfterMs = parseRetryInfo(any.value);
    } else reader.skip();
  }
  return { status, message, reason, domain, metadata, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
}

function writeAny(writer: WireWriter, type: string, value: Uint8Array): void {
  writer.message(3, (any) => {
    any.string(1, type);
    any.slice(2, value);
  });
}

function parseAny(reader: WireReader): { readonly type: string; readonly value: Uint8Array } {
  let type = "";
  let value: Uint8Array = new Uint8Array();
  while (reader.next()) {
    if (reader.field === 1) type = reader.string();
    else if (reader.field === 2) value = reader.slice();
    else reader.skip();
  }
  return { type, value };
}

function parsePair(reader: WireReader): readonly [string, string] {
  let key = "";
  let value = "";
  while (reader.next()) {
    if (reader.field === 1) key = reader.string();
    else if (reader.field === 2) value = reader.string();
    else reader.skip();
  }
  return [key, value];
}

function parseRetryInfo(bytes: Uint8Array): number {
  let ms = 0;
  const reader = new WireReader(bytes);
  while (reader.next()) {
    if (reader.field !== 1) {
      reader.skip();
      continue;
    }
    const duration = reader.message();
    while (duration.next()) {
      if (duration.field === 1) ms += duration.number() * 1000;
      else if (duration.field === 2) ms += duration.number() / 1_000_000;
      else duration.skip();
    }
  }
  return ms;
}

/** Name of the trailer. */
export const DETAILS_KEY = "grpc-status-details-bin";
export const DOMAIN = "taskring";
const ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo";
const RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo";
