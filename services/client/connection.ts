/** What every call of a client shares: credentials, metadata, and errors as `RingError`. */

import { type ChannelCredentials, Client, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { DETAILS_KEY, parseErrorDetails } from "../../proto/error-details.ts";
import { isErrorCode, RingError } from "../../ring/errors.ts";

export interface ClientTls {
  /** PEM; default: the system's roots. */
  readonly rootCertificates?: Uint8Array;
  /** For mutual TLS. */
  readonly privateKey?: Uint8Array;
  readonly certificateChain?: Uint8Array;
}

export function credentialsOf(tls: ClientTls | undefined): ChannelCredentials {
  if (tls === undefined) return credentials.createInsecure();
  const buffer = (bytes: Uint8Array | undefined): Buffer | null => (bytes === undefined ? null : Buffer.from(bytes));
  return credentials.createSsl(buffer(tls.rootCertificates), buffer(tls.privateKey), buffer(tls.certificateChain));
}

/** Where the nodes are, as the caller says. Throws `INVALID_ARGUMENT` for what names no node. */
export function checkedAddresses(addresses: unknown): readonly string[] {
  if (!Array.isArray(addresses) || addresses.length === 0)
    throw new RingError("INVALID_ARGUMENT", "addresses must be a list of one or more nodes, each as host:port");
  for (const address of addresses as readonly unknown[]) {
    if (typeof address === "string" && address !== "" && !/^https?:/.test(address)) continue;
    throw new RingError("INVALID_ARGUMENT", `an address is host:port of a node's gRPC, not ${JSON.stringify(address)}`);
  }
  return addresses as readonly string[];
}

/** Throws `INVALID_ARGUMENT`, which does not show the token. */
export function metadataOf(token: string | undefined): Metadata {
  if (token !== undefined && !/^[ -~]*$/.test(token))
    throw new RingError("INVALID_ARGUMENT", "token has characters that no header can carry, such as the end of a line");
  const metadata = new Metadata();
  if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
  return metadata;
}

export function openChannel(address: string, channelCredentials: ChannelCredentials): Client {
  return new Client(address, channelCredentials, {
    "grpc.keepalive_time_ms": 2_000,
    "grpc.keepalive_timeout_ms": 1_000,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_retries": 0,
    "grpc.max_receive_message_length": 64 * 1024 * 1024,
    "grpc.enable_channelz": 0,
  });
}

/** The error of a call: our code if the node named one, else by the gRPC status. */
export function ringErrorOf(error: ServiceError): RingError {
  const [details] = error.metadata?.get(DETAILS_KEY) ?? [];
  if (details instanceof Uint8Array) {
    try {
      const { reason, message, retryAfterMs } = parseErrorDetails(details);
      if (isErrorCode(reason)) {
        const text = message.startsWith(`${reason}: `) ? message.slice(reason.length + 2) : message;
        return new RingError(reason, text, { cause: error, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) });
      }
    } catch {
      // Unreadable details: the status has to do.
    }
  }
  // The transport's own words tell of its filters and picks.
  const text = error.code === status.DEADLINE_EXCEEDED ? "no answer in time" : error.details || error.message;
  return new RingError(isUnreached(error) ? "NO_OWNER" : codeOf(error.code), text, { cause: error });
}

/** The node was not reached, or went away: nothing is known of what it did. */
export function isUnreached(error: ServiceError): boolean {
  if ((error.metadata?.get(DETAILS_KEY) ?? []).length > 0) return false;
  // Every call gets a status of its node: one that ended without was cut off.
  const isCut = error.code === status.INTERNAL && error.details.endsWith("(Call ended without gRPC status)");
  return isCut || error.code === status.UNAVAILABLE;
}

function codeOf(code: status): ConstructorParameters<typeof RingError>[0] {
  switch (code) {
    case status.CANCELLED:
      return "CANCELLED";
    case status.INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case status.DEADLINE_EXCEEDED:
      return "DEADLINE";
    case status.NOT_FOUND:
      return "NOT_FOUND";
    case status.PERMISSION_DENIED:
      return "FORBIDDEN";
    case status.UNAUTHENTICATED:
      return "UNAUTHENTICATED";
    case status.RESOURCE_EXHAUSTED:
      return "QUEUE_FULL";
    case status.UNIMPLEMENTED:
      return "UNIMPLEMENTED";
    case status.UNAVAILABLE:
      return "NO_OWNER";
    default:
      return "INTERNAL";
  }
}
