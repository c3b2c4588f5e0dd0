/**
 * Unary calls and server streams to whichever node answers; one that cannot be reached costs a try at the next.
 *
 * A node that is frozen or behind a black hole still gets its connections accepted by the kernel, and grpc-js waits 20 s
 * for what never comes. So a connection that is not ready after `CONNECT_MS` counts as not reached. (One that was ready
 * is given up by its keepalive.)
 */

import { type Client, connectivityState, type Metadata, type ServiceError } from "@grpc/grpc-js";
import { serviceDefinition } from "../../proto/load.ts";
import { RingError } from "../../ring/errors.ts";
import { isUnreached, ringErrorOf } from "./connection.ts";

export interface CallerOptions {
  /** In order of preference. */
  readonly addresses: () => readonly string[];
  readonly channel: (address: string) => Client;
  readonly metadata: () => Metadata;
}

export interface CallOptions {
  /** Default 30,000. */
  readonly deadlineMs?: number;
  /** Ask this node only. */
  readonly address?: string;
  readonly signal?: AbortSignal;
}

export class Caller {
  readonly #options: CallerOptions;

  constructor(options: CallerOptions) {
    this.#options = options;
  }

  /** Every call may be repeated safely: the nodes' requests are idempotent. Throws `RingError`. */
  async unary<Reply>(service: string, method: string, request: object, options: CallOptions = {}): Promise<Reply> {
    const end = performance.now() + (options.deadlineMs ?? DEADLINE_MS);
    let last: RingError | undefined;
    for (let round = 0; ; round++) {
      const addresses = options.address === undefined ? this.#options.addresses() : [options.address];
      for (const address of addresses) {
        const left = end - performance.now();
        if (left <= 0) break;
        if (!(await isReady(this.#options.channel(address), left))) {
          last = new RingError("NO_OWNER", `${address} does not answer`);
          continue;
        }
        try {
          return await this.#once<Reply>(address, {
            service,
            method,
            request,
            deadlineMs: Math.max(1, end - performance.now()),
            signal: options.signal,
          });
        } catch (error) {
          if (error instanceof RingError) throw error;
          if (!isUnreached(error as ServiceError)) throw ringErrorOf(error as ServiceError);
          last = ringErrorOf(error as ServiceError);
        }
      }
      const pause = Math.min(1_000, 50 * 2 ** Math.min(round, 5));
      if (performance.now() + pause >= end) throw last ?? new RingError("DEADLINE", "no node answered in time");
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (options.signal?.aborted) throw new RingError("CANCELLED", "cancelled by the caller");
    }
  }

  /** Ends when the signal aborts. Throws `RingError`. */
  async *stream<Item>(
    service: string,
    method: string,
    request: object,
    options: CallOptions = {},
  ): AsyncIterable<Item> {
    const definition = methodOf(service, method);
    const address = options.address ?? this.#options.addresses()[0];
    if (address === undefined) throw new RingError("NO_OWNER", "no node is known");
    const call = this.#options
      .channel(address)
      .makeServerStreamRequest(
        definition.path,
        definition.requestSerialize as (value: object) => Buffer,
        definition.responseDeserialize as (bytes: Buffer) => Item,
        request,
        this.#options.metadata(),
      );
    const stop = (): void => call.cancel();
    options.signal?.addEventListener("abort", stop);
    try {
      for await (const item of call) yield item as Item;
    } catch (error) {
      if (options.signal?.aborted) return;
      throw ringErrorOf(error as ServiceError);
    } finally {
      options.signal?.removeEventListener("abort", stop);
      call.on("error", () => undefined);
      call.cancel();
    }
  }

  #once<Reply>(
    address: string,
    call: {
      readonly service: string;
      readonly method: string;
      readonly request: object;
      readonly deadlineMs: number;
      readonly signal: AbortSignal | undefined;
    },
  ): Promise<Reply> {
    const definition = methodOf(call.service, call.method);
    return new Promise((resolve, reject) => {
      const onAbort = (): void => under.cancel();
      const under = this.#options
        .channel(address)
        .makeUnaryRequest(
          definition.path,
          definition.requestSerialize as (value: object) => Buffer,
          definition.responseDeserialize as (bytes: Buffer) => Reply,
          call.request,
          this.#options.metadata(),
          { deadline: Date.now() + call.deadlineMs },
          (error, reply) => {
            call.signal?.removeEventListener("abort", onAbort);
            if (error !== null) reject(error);
            else resolve(reply as Reply);
          },
        );
      call.signal?.addEventListener("abort", onAbort);
    });
  }
}

/** Connected, or so within `CONNECT_MS`; false at once where the connection was refused. */
async function isReady(client: Client, leftMs: number): Promise<boolean> {
  const channel = client.getChannel();
  const deadline = Date.now() + Math.min(CONNECT_MS, leftMs);
  for (;;) {
    const state = channel.getConnectivityState(true);
    if (state === connectivityState.READY) return true;
    if (state === connectivityState.TRANSIENT_FAILURE || state === connectivityState.SHUTDOWN) return false;
    const late = await new Promise<boolean>((resolve) => {
      channel.watchConnectivityState(state, deadline, (error) => resolve(error !== undefined));
    });
    if (late) return false;
  }
}

function methodOf(service: string, method: string) {
  const found = serviceDefinition(service)[method];
  if (found === undefined) throw new Error(`no method ${service}.${method}`);
  return found;
}

const DEADLINE_MS = 30_000;
const CONNECT_MS = 1_000;
