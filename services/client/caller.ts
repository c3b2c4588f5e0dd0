/**
 * Unary calls and server streams to whichever node answers; one that cannot be reached costs a try at the next.
 *
 * A node that is frozen or behind a black hole still gets its connections accepted by the kernel, and grpc-js waits 20 s
 * for what never comes. So a connection that is not ready after `CONNECT_MS` counts as not reached. (One that was ready
 * is given up by its keepalive.)
 *
 * `close` ends what is open at once, as CANCELLED: a channel that is closed lets its calls go on.
 */

import { type Client, connectivityState, type Metadata, type ServiceError } from "@grpc/grpc-js";
import { serviceDefinition } from "../../proto/load.ts";
import { RingError } from "../../ring/errors.ts";
import { isUnreached, ringErrorOf } from "./connection.ts";
import { deadlineIn } from "./deadline.ts";
import type { Lasting } from "./links.ts";

export interface CallerOptions {
  /** In order of preference. */
  readonly addresses: () => readonly string[];
  readonly channel: (address: string) => Client;
  /** For streams. */
  readonly lasting: (address: string) => Lasting;
  readonly metadata: () => Metadata;
  /** One of `addresses` could not be reached. */
  readonly missed: () => void;
}

export interface CallOptions {
  /** Default 30,000. */
  readonly deadlineMs?: number;
  /** Ask this node only. */
  readonly address?: string;
  readonly signal?: AbortSignal;
}

interface Reached {
  readonly address: string;
  readonly leftMs: number;
  readonly failed: (error: RingError) => void;
}

export class Caller {
  readonly #options: CallerOptions;
  /** Addresses that did not answer when they were last tried. */
  readonly #silent = new Set<string>();
  /** Of what is open: how to end it. */
  readonly #stops = new Set<() => void>();
  readonly #lasting = (address: string): Client => this.#options.lasting(address).client;
  #closed = false;

  constructor(options: CallerOptions) {
    this.#options = options;
  }

  close(): void {
    this.#closed = true;
    for (const stop of this.#stops) stop();
  }

  /** Over sooner when the caller gives up or this is closed. */
  pause(pauseMs: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.#closed || signal?.aborted) return Promise.resolve(); // nobody would end it
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        goesOn();
        resolve();
      };
      const timer = setTimeout(end, pauseMs);
      const goesOn = this.#whenOver(signal, end);
    });
  }

  /**
   * Every call may be repeated safely: the nodes' requests are idempotent. A request that says how long the node may take is
   * given as a function, and made anew for each try. Throws `RingError`.
   */
  async unary<Reply>(
    service: string,
    method: string,
    request: object | (() => object),
    options: CallOptions = {},
  ): Promise<Reply> {
    for await (const { address, leftMs, failed } of this.#reached(options, this.#options.channel)) {
      try {
        const { signal } = options;
        const asked: object = typeof request === "function" ? request() : request;
        return await this.#once<Reply>(address, { service, method, request: asked, deadlineMs: leftMs, signal });
      } catch (error) {
        if (error instanceof RingError) throw error;
        this.#throwIfOver(options.signal);
        if (!isUnreached(error as ServiceError)) throw ringErrorOf(error as ServiceError);
        failed(ringErrorOf(error as ServiceError));
      }
    }
    throw new RingError("INTERNAL", "no address was tried");
  }

  /** The first node that can be reached, for a stream. Throws `NO_OWNER`, `DEADLINE` or `CANCELLED`. */
  async reach(options: CallOptions = {}): Promise<string> {
    this.#throwIfOver(options.signal);
    for await (const { address } of this.#reached(options, this.#lasting)) return address;
    throw new RingError("INTERNAL", "no address was tried");
  }

  /**
   * Ends when the signal aborts. The deadline is for reaching a node; as streams only read, another one is asked where the first
   * goes before it has said anything, or with `options.address` the same again. Throws `RingError`.
   */
  async *stream<Item>(
    service: string,
    method: string,
    request: object,
    options: CallOptions = {},
  ): AsyncIterable<Item> {
    const { signal } = options;
    if (signal?.aborted) return;
    const call = { service, method, request, signal };
    try {
      for await (const { address, failed } of this.#reached(options, this.#lasting)) {
        let begun = false;
        try {
          for await (const item of this.#items<Item>(address, call)) {
            begun = true;
            yield item;
          }
          return;
        } catch (error) {
          if (begun || this.#closed || !isUnreached(error as ServiceError)) throw error;
          failed(ringErrorOf(error as ServiceError));
        }
      }
    } catch (error) {
      if (signal?.aborted) return;
      this.#throwIfOver(undefined);
      throw error instanceof RingError ? error : ringErrorOf(error as ServiceError);
    }
  }

  async *#items<Item>(
    address: string,
    call: {
      readonly service: string;
      readonly method: string;
      readonly request: object;
      readonly signal: AbortSignal | undefined;
    },
  ): AsyncIterable<Item> {
    const definition = methodOf(call.service, call.method);
    const lasting = this.#options.lasting(address);
    const giveBack = lasting.take();
    const under = lasting.client.makeServerStreamRequest(
      definition.path,
      definition.requestSerialize as (value: object) => Buffer,
      definition.responseDeserialize as (bytes: Buffer) => Item,
      call.request,
      this.#options.metadata(),
    );
    const goesOn = this.#whenOver(call.signal, () => under.cancel());
    try {
      for await (const item of under) yield item as Item;
    } finally {
      goesOn();
      giveBack();
      under.on("error", () => undefined);
      under.cancel();
    }
  }

  /**
   * Addresses that can be reached, round after round with pauses, until the deadline or the signal, which throw. `failed` says
   * that one could not be reached after all.
   */
  async *#reached(options: CallOptions, channel: (address: string) => Client): AsyncGenerator<Reached, never> {
    const { signal } = options;
    const end = deadlineIn(options.deadlineMs, DEADLINE_MS);
    let last: RingError | undefined;
    for (let round = 0; ; round++) {
      const addresses = options.address === undefined ? this.#inOrder() : [options.address];
      for (const address of addresses) {
        this.#throwIfOver(signal);
        const left = end - performance.now();
        if (left <= 0) break;
        const ready = await isReady(channel(address), left);
        this.#throwIfOver(signal);
        const failed = (error: RingError): void => {
          last = error;
          if (options.address !== undefined) return;
          this.#silent.add(address);
          this.#options.missed();
        };
        if (!ready) failed(new RingError("NO_OWNER", `${address} does not answer`));
        else {
          this.#silent.delete(address);
          yield { address, leftMs: Math.max(1, end - performance.now()), failed };
        }
      }
      const pause = Math.min(1_000, 50 * 2 ** Math.min(round, 5));
      if (performance.now() + pause >= end) throw last ?? new RingError("DEADLINE", "no node answered in time");
      await this.pause(pause, signal);
      this.#throwIfOver(signal);
    }
  }

  /** Each silent one costs every call its time, so they come last. */
  #inOrder(): readonly string[] {
    const addresses = this.#options.addresses();
    for (const address of this.#silent) if (!addresses.includes(address)) this.#silent.delete(address);
    if (this.#silent.size === 0) return addresses;
    const isSilent = (address: string): boolean => this.#silent.has(address);
    return [...addresses.filter((address) => !isSilent(address)), ...addresses.filter(isSilent)];
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
            goesOn();
            if (error !== null) reject(error);
            else resolve(reply as Reply);
          },
        );
      const goesOn = this.#whenOver(call.signal, () => under.cancel());
    });
  }

  /** Calls `stop` when the caller gives up or this is closed; what it returns takes that back. */
  #whenOver(signal: AbortSignal | undefined, stop: () => void): () => void {
    this.#stops.add(stop);
    signal?.addEventListener("abort", stop);
    return () => {
      this.#stops.delete(stop);
      signal?.removeEventListener("abort", stop);
    };
  }

  #throwIfOver(signal: AbortSignal | undefined): void {
    if (this.#closed) throw new RingError("CANCELLED", "the client is closed");
    if (signal?.aborted) throw new RingError("CANCELLED", "cancelled by the caller");
  }
}

/** Connected, or so within `CONNECT_MS`; false at once where the connection was refused. */
async function isReady(client: Client, leftMs: number): Promise<boolean> {
  const channel = client.getChannel();
  const deadline = Date.now() + Math.min(CONNECT_MS, leftMs);
  for (;;) {
    // Asked to connect, one that was closed would open again.
    if (channel.getConnectivityState(false) === connectivityState.SHUTDOWN) return false;
    const state = channel.getConnectivityState(true);
    if (state === connectivityState.READY) return true;
    if (state === connectivityState.TRANSIENT_FAILURE) return false;
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
