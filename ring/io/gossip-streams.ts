/**
 * The TCP half of gossip: one connection is one exchange, with a deadline, a limit on how many and a limit on the bytes
 * that unfinished ones may hold together.
 */

import { once } from "node:events";
import type { Server, Socket } from "node:net";
import { connect } from "node:net";
import type { Address } from "../membership/address.ts";
import { addressText, canonicalHost } from "../membership/address.ts";
import type { DecodeReason } from "../membership/decode-error.ts";
import { DecodeError } from "../membership/decode-error.ts";
import type { SwimEffect, SwimEvent } from "../membership/events.ts";
import type { StreamMessage, StreamRequest, StreamResponse } from "../membership/messages.ts";
import { encodeStream } from "../membership/stream.ts";
import type { GossipCounters } from "./gossip-counters.ts";
import { countDrops } from "./gossip-counters.ts";
import type { Envelope, StreamReader } from "./gossip-crypto.ts";

type ExchangeEffect = Extract<SwimEffect, { type: "exchange" }>;

export class GossipStreams {
  readonly #server: Server;
  readonly #counters: GossipCounters;
  readonly #envelope: Envelope;
  readonly #onEvent: (event: SwimEvent) => void;
  /** Requests read and not yet answered. */
  readonly #waiting = new Map<number, Socket>();
  readonly #sockets = new Set<Socket>();
  #heldBytes = 0;
  #asking = 0;
  #nextStream = 1;

  constructor(parts: {
    readonly server: Server;
    readonly counters: GossipCounters;
    readonly envelope: Envelope;
    readonly onEvent: (event: SwimEvent) => void;
  }) {
    this.#server = parts.server;
    this.#counters = parts.counters;
    this.#envelope = parts.envelope;
    this.#onEvent = parts.onEvent;
    this.#server.maxConnections = STREAM_LIMIT;
    this.#server.on("drop", () => this.#counters.streamsRefused++);
    this.#server.on("connection", (socket) => this.#serve(socket));
    // Accepting may fail for want of file descriptors; the next one may succeed.
    this.#server.on("error", () => this.#counters.streamsFailed++);
  }

  /** The outcome comes as an event, within `timeoutMs`. */
  exchange({ exchange, to, request, timeoutMs }: ExchangeEffect): void {
    if (this.#asking >= STREAM_LIMIT) {
      setImmediate(() => this.#failed(exchange, to, `${STREAM_LIMIT} exchanges are already under way`));
      return;
    }
    this.#asking++;
    this.#counters.streamsOut++;
    const socket = connect({ host: to.host, port: to.port, noDelay: true });
    let outcome: SwimEvent | undefined;
    let why = "it closed the connection without an answer";
    let refused = false;
    this.#own(socket, timeoutMs, () => {
      why = `no answer within ${timeoutMs} ms`;
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      why = error.message;
      refused = error.code === "ECONNREFUSED";
    });
    socket.on("close", () => {
      this.#asking--;
      if (outcome === undefined) this.#failed(exchange, to, why, refused);
      else this.#onEvent(outcome);
    });
    this.#read(socket, {
      message: (response) => {
        if (!isResponse(response)) why = `it answered with ${response.type}`;
        else outcome = { type: "exchange-replied", exchange, response };
        socket.destroy();
      },
      unreadable: (reason) => {
        why = `its answer could not be read (${reason})`;
        socket.destroy();
      },
    });
    socket.write(this.#sealed(request));
  }

  reply(stream: number, response: StreamResponse): void {
    const socket = this.#waiting.get(stream);
    this.#waiting.delete(stream);
    socket?.end(this.#sealed(response));
  }

  refuse(stream: number): void {
    this.#waiting.get(stream)?.destroy();
  }

  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #serve(socket: Socket): void {
    this.#counters.streamsIn++;
    const stream = this.#nextStream++;
    const host = socket.remoteAddress ?? "";
    const from: Address = { host: canonicalHost(host) ?? host, port: socket.remotePort ?? 0 };
    this.#own(socket, SERVE_TIMEOUT_MS, () => this.#counters.streamsFailed++);
    socket.on("error", () => this.#counters.streamsFailed++);
    socket.on("close", () => this.#waiting.delete(stream));
    this.#read(socket, {
      message: (request) => {
        if (!isRequest(request)) {
          socket.destroy();
          return;
        }
        this.#waiting.set(stream, socket);
        this.#onEvent({ type: "stream-request", stream, from, request });
      },
      unreadable: (reason) => {
        socket.end(this.#sealed({ type: "error", text: `cannot read the request: ${reason}` }));
      },
    });
  }

  /** Reads until one message is complete or cannot become one; calls back once, or never if the stream ends first. */
  #read(
    socket: Socket,
    on: { readonly message: (message: StreamMessage) => void; readonly unreadable: (reason: DecodeReason) => void },
  ): void {
    let decoder: StreamReader | undefined = this.#envelope.reader();
    let held = 0;
    const release = (): void => {
      decoder = undefined;
      this.#heldBytes -= held;
      held = 0;
    };
    socket.on("data", (chunk: Uint8Array) => {
      this.#counters.bytesIn += chunk.length;
      if (decoder === undefined) return; // one message per direction: the rest is noise
      try {
        const message = decoder.push(chunk);
        this.#heldBytes += decoder.byteLength - held;
        held = decoder.byteLength;
        if (this.#heldBytes > HELD_BYTE_LIMIT) throw new DecodeError("too-large", "unfinished streams hold too much");
        if (message === undefined) return;
        if (decoder.dropped > 0) countDrops(this.#counters, "out-of-range", decoder.dropped);
        release();
        on.message(message);
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error;
        release();
        countDrops(this.#counters, error.reason, 1);
        on.unreadable(error.reason);
      }
    });
    socket.on("end", () => {
      if (decoder !== undefined) socket.destroy();
    });
    socket.on("close", release);
  }

  #own(socket: Socket, timeoutMs: number, onTimeout: () => void): void {
    this.#sockets.add(socket);
    const timer = setTimeout(() => {
      onTimeout();
      socket.destroy();
    }, timeoutMs);
    socket.on("close", () => {
      clearTimeout(timer);
      this.#sockets.delete(socket);
    });
  }

  #failed(exchange: number, to: Address, why: string, refused = false): void {
    this.#counters.streamsFailed++;
    const reason = `${addressText(to)}: ${why}`;
    this.#onEvent({ type: "exchange-failed", exchange, reason, ...(refused && { refused }) });
  }

  #sealed(message: StreamMessage): Uint8Array {
    const bytes = this.#envelope.sealStream(encodeStream(message));
    this.#counters.bytesOut += bytes.length;
    this.#counters.streamBytesOut += bytes.length;
    return bytes;
  }
}

function isRequest(message: StreamMessage): message is StreamRequest {
  return message.type === "push-pull" || message.type === "ping" || message.type === "user";
}

function isResponse(message: StreamMessage): message is StreamResponse {
  return message.type === "push-pull" || message.type === "ack" || message.type === "error";
}

/** In each direction, as memberlist. */
const STREAM_LIMIT = 128;
/** From connection to answer, as memberlist. */
const SERVE_TIMEOUT_MS = 10_000;
/** What all unfinished streams may hold together: two of the largest user states. */
const HELD_BYTE_LIMIT = 64 * 1024 * 1024;
