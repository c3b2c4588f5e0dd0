/**
 * The frame around each call: who asks, decoding, deadlines, errors. Handlers are plain functions behind it.
 *
 * C1  Bytes are decoded here and not by grpc-js, which answers malformed protobuf with INTERNAL; here it is
 *     INVALID_ARGUMENT, and the connection goes on.
 * C2  A handler never sees a call object: it gets a request and a `CallContext`, and returns or throws.
 * C3  Streams are pulled: the next item is asked for when the one before was taken by the transport.
 */

import type {
  handleServerStreamingCall,
  handleUnaryCall,
  Metadata,
  ServiceDefinition,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { serviceDefinition } from "../../proto/load.ts";
import { RingError } from "../../ring/errors.ts";
import { statusOf } from "./status.ts";

/** Who calls. Until tokens come, everybody on loopback is `local` and may do everything. */
export interface Identity {
  readonly name: string;
}

export interface CallContext {
  readonly identity: Identity;
  /** What is left of the caller's deadline, at most the limit for such calls. */
  readonly deadlineMs: number;
  /** Calls `tell` when the caller has gone or its deadline is over; after the answer as well. */
  readonly onGone: (tell: () => void) => void;
}

/** As `onGone`, for what waits in loops. A unary call has none: making and aborting a signal cost as much as its answer. */
export interface StreamContext extends CallContext {
  readonly signal: AbortSignal;
}

export type Identify = (metadata: Metadata) => Identity;
export type Unary = (request: never, context: CallContext) => Promise<object>;
type BytesUnary = (request: Buffer, context: CallContext) => Promise<object>;
type Streaming = (request: never, context: StreamContext) => AsyncIterable<object>;

export interface CallOptions {
  readonly identify: Identify;
  readonly askMs: number;
  /** Unexpected errors: bugs, for the log. */
  readonly onBug: (path: string, error: unknown) => void;
}

export interface Handlers {
  readonly unary: Readonly<Record<string, Unary>>;
  /** Unary methods that take the request's bytes as they came. */
  readonly bytes?: Readonly<Record<string, BytesUnary>>;
  readonly streaming?: Readonly<Record<string, Streaming>>;
  /** Methods that handle raw bytes and the call themselves. */
  readonly raw?: UntypedServiceImplementation;
}

/** A service of the `.proto` files with its handlers, ready for `Server.addService`. Every method must have one. */
export function bindService(
  fullName: string,
  handlers: Handlers,
  options: CallOptions,
): { readonly definition: ServiceDefinition; readonly implementation: UntypedServiceImplementation } {
  const loaded = serviceDefinition(fullName);
  const definition: Record<string, ServiceDefinition[string]> = {};
  const implementation: UntypedServiceImplementation = {};
  for (const [name, method] of Object.entries(loaded)) {
    const unary = handlers.unary[name];
    const streaming = handlers.streaming?.[name];
    const raw = handlers.raw?.[name];
    const bytes = handlers.bytes?.[name];
    if (unary !== undefined) {
      implementation[name] = bindUnary(method, (request, context) => unary(decode(method, request), context), options);
    } else if (bytes !== undefined) implementation[name] = bindUnary(method, bytes, options);
    else if (streaming !== undefined) implementation[name] = bindStreaming(method, streaming, options);
    else if (raw !== undefined) implementation[name] = raw;
    else throw new Error(`${fullName}.${name} has no handler`);
    definition[name] = {
      ...method,
      requestDeserialize: identity, // C1
      ...(raw === undefined ? {} : { responseSerialize: identity }),
    };
  }
  return { definition, implementation };
}

type Method = ServiceDefinition[string];

function bindUnary(method: Method, handler: BytesUnary, options: CallOptions): handleUnaryCall<Buffer, object> {
  return (call, callback) => {
    const run = async (): Promise<object> => handler(call.request, contextOf(call, options));
    run().then(
      (reply) => callback(null, reply),
      (error: unknown) => {
        if (!(error instanceof RingError)) options.onBug(method.path, error);
        callback(statusOf(error));
      },
    );
  };
}

function bindStreaming(
  method: Method,
  handler: Streaming,
  options: CallOptions,
): handleServerStreamingCall<Buffer, object> {
  return (call) => {
    const gone = new AbortController();
    call.on("cancelled", () => gone.abort());
    call.on("close", () => gone.abort());
    call.on("error", () => gone.abort());
    const run = async (): Promise<void> => {
      const request = decode(method, call.request);
      for await (const item of handler(request, { ...contextOf(call, options), signal: gone.signal })) {
        if (gone.signal.aborted) return;
        if (!call.write(item)) await drained(call, gone.signal); // C3
      }
      call.end();
    };
    run().catch((error: unknown) => {
      if (gone.signal.aborted) return;
      if (!(error instanceof RingError)) options.onBug(method.path, error);
      call.emit("error", statusOf(error));
    });
  };
}

function decode(method: Method, bytes: Buffer): never {
  try {
    return method.requestDeserialize(bytes) as never;
  } catch (error) {
    throw new RingError(
      "INVALID_ARGUMENT",
      `malformed ${method.path} request: ${error instanceof Error ? error.message : "?"}`,
      {
        cause: error,
      },
    );
  }
}

interface AnyCall extends NodeJS.EventEmitter {
  readonly metadata: Metadata;
  getDeadline(): Date | number;
}

function contextOf(call: AnyCall, options: CallOptions): CallContext {
  const deadline = Number(call.getDeadline());
  const left = Number.isFinite(deadline) ? deadline - Date.now() : options.askMs;
  return {
    identity: options.identify(call.metadata),
    // The node's reason has to be there before the caller gives up: else all it learns is that time has passed.
    deadlineMs: Math.max(1, Math.min(left - Math.min(ANSWER_MS, left / 10), options.askMs)),
    onGone: (tell) => void call.once("cancelled", tell),
  };
}

function drained(stream: NodeJS.EventEmitter, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off("drain", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    stream.on("drain", done);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}

function identity(bytes: Buffer): Buffer {
  return bytes;
}

/** What an answer may need to its caller, and the node to notice that time is up: it looks every half a second. */
const ANSWER_MS = 1_000;
