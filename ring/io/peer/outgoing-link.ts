/**
 * The stream this node dialled to one peer: everything it says to that peer goes through here.
 *
 * L1  Messages leave in the order of `send`, but by rank (`send-queue.ts`); each turn's messages are one frame or more.
 * L2  Little is handed to the transport ahead of what the peer reads, for what is handed over has its place: the rest waits in
 *     the queue, and `send` says false when that is full.
 * L3  When the link breaks, what was queued or under way is lost, and `onDown` says so at once; the node's machines repeat
 *     what matters.
 */

import { Client, type ClientDuplexStream, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { LINK_PATH } from "../../../proto/load.ts";
import { PEER_WINDOW_BYTES } from "../../../proto/window.ts";
import type { NodeName } from "../../ids.ts";
import type { Hello, NodeMessage } from "../../node/messages.ts";
import { decodeFrame, encodeMessage, joinFrame } from "./frame.ts";
import { objectionTo } from "./greeting.ts";
import type { PeerLimits } from "./limits.ts";
import { SendQueue } from "./send-queue.ts";

export interface OutgoingOptions {
  readonly name: NodeName;
  readonly self: () => Hello;
  readonly address: () => string | undefined;
  readonly limits: PeerLimits;
  readonly onUp: (hello: Hello) => void;
  readonly onDown: (reason: string, loud: boolean) => void;
}

type State =
  | { readonly type: "idle" }
  | { readonly type: "dialling"; readonly dial: Dial }
  | { readonly type: "up"; readonly dial: Dial }
  /** Waits for the next dial. */
  | { readonly type: "waiting"; readonly timer: NodeJS.Timeout }
  | { readonly type: "closed" };

interface Dial {
  readonly client: Client;
  readonly stream: ClientDuplexStream<Buffer, Buffer>;
  readonly helloTimer: NodeJS.Timeout;
  /** Handed to the transport and not sent yet (L2). */
  readonly ahead: { frames: number; bytes: number };
}

export class OutgoingLink {
  readonly #options: OutgoingOptions;
  readonly #queue: SendQueue;
  #state: State = { type: "idle" };
  #failures = 0;
  #flushing = false;

  constructor(options: OutgoingOptions) {
    this.#options = options;
    this.#queue = new SendQueue(options.limits.queueBytes);
  }

  get up(): boolean {
    return this.#state.type === "up";
  }

  get queueBytes(): number {
    return this.#queue.bytes;
  }

  /** False: it will not arrive. A first message dials, and waits for the link. */
  send(message: NodeMessage): boolean {
    if (this.#state.type === "waiting" || this.#state.type === "closed") return false;
    const bytes = encodeMessage(message);
    if (bytes.length > this.#options.limits.messageBytes) return false;
    const bulk = message.type === "transfer-chunk" ? message.transfer.partition : undefined;
    if (!this.#queue.push({ bytes, urgent: message.type === "register", bulk })) return false;
    if (this.#state.type === "idle") this.connect();
    else this.#schedule();
    return this.#state.type === "dialling" || this.#state.type === "up";
  }

  /** The peer has just been heard of: do not wait for the back-off. */
  hurry(): void {
    if (this.#state.type !== "waiting") return;
    clearTimeout(this.#state.timer);
    this.#state = { type: "idle" };
    this.connect();
  }

  /** Dials, unless there is a link, a dial or a back-off under way. */
  connect(): void {
    if (this.#state.type !== "idle") return;
    const address = this.#options.address();
    if (address === undefined) {
      this.#rest("its address is not known");
      return;
    }
    try {
      this.#dial(address);
    } catch (error) {
      // The address is the peer's own word.
      this.#rest(
        `its address ${address} cannot be dialled: ${error instanceof Error ? error.message : "unknown error"}`,
      );
    }
  }

  close(): void {
    const state = this.#state;
    this.#state = { type: "closed" };
    this.#queue.clear();
    if (state.type === "waiting") clearTimeout(state.timer);
    else if (state.type === "dialling" || state.type === "up") hangUp(state.dial);
  }

  #dial(address: string): void {
    const { limits, self } = this.#options;
    const client = new Client(address, credentials.createInsecure(), {
      "grpc.keepalive_time_ms": limits.keepaliveMs,
      "grpc.keepalive_timeout_ms": limits.keepaliveTimeoutMs,
      "grpc.keepalive_permit_without_calls": 1,
      // Each dial has its own connection, so that back-off is ours alone.
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_retries": 0,
      "grpc.max_receive_message_length": limits.messageBytes * 2,
      "grpc.max_send_message_length": -1,
      "grpc.enable_channelz": 0,
      "grpc-node.flow_control_window": PEER_WINDOW_BYTES,
    });
    const stream = client.makeBidiStreamRequest(LINK_PATH, pass, pass, new Metadata());
    const helloTimer = setTimeout(() => this.#down(dial, "no hello in time"), limits.helloMs);
    const dial: Dial = { client, stream, helloTimer, ahead: { frames: 0, bytes: 0 } };
    this.#state = { type: "dialling", dial };
    stream.on("data", (bytes: Buffer) => this.#receive(dial, bytes));
    stream.on("error", (error: ServiceError) => this.#down(dial, error.details || error.message));
    stream.on("end", () => this.#down(dial, "the peer ended the stream"));
    stream.write(joinFrame([encodeMessage(self())]));
  }

  #receive(dial: Dial, bytes: Buffer): void {
    for (const message of decodeFrame(bytes).messages) {
      if (message.type === "refused")
        this.#down(dial, `${message.code}: ${message.detail}`, message.code === "WRONG_RING");
      else if (message.type === "hello") this.#greeted(dial, message);
    }
  }

  #greeted(dial: Dial, hello: Hello): void {
    if (this.#state.type !== "dialling" || this.#state.dial !== dial) return;
    if (hello.name !== this.#options.name) {
      this.#down(dial, `${hello.name} answers at the address of ${this.#options.name}`);
      return;
    }
    const objection = objectionTo(hello, this.#options.self());
    if (objection !== undefined) {
      this.#down(dial, `${objection.code}: ${objection.detail}`, objection.code === "WRONG_RING");
      return;
    }
    clearTimeout(dial.helloTimer);
    this.#failures = 0;
    this.#state = { type: "up", dial };
    this.#options.onUp(hello);
    this.#schedule();
  }

  #down(dial: Dial, reason: string, loud = false): void {
    const state = this.#state;
    if ((state.type !== "dialling" && state.type !== "up") || state.dial !== dial) return;
    hangUp(dial);
    this.#rest(reason, loud);
  }

  /** Waits before the next dial (L3). */
  #rest(reason: string, loud = false): void {
    this.#queue.clear();
    const { first, most } = this.#options.limits.backoffMs;
    const longest = Math.min(most, first * 2 ** Math.min(this.#failures, 16));
    this.#failures += 1;
    const timer = setTimeout(
      () => {
        this.#state = { type: "idle" };
        this.connect();
      },
      longest * (0.5 + Math.random() / 2),
    );
    timer.unref();
    this.#state = { type: "waiting", timer };
    this.#options.onDown(reason, loud);
  }

  #schedule(): void {
    if (this.#flushing || this.#state.type !== "up" || this.#queue.empty) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    const { frameBytes, aheadBytes, messageBytes } = this.#options.limits;
    while (this.#state.type === "up" && !this.#queue.empty) {
      const { stream, ahead } = this.#state.dial;
      if (ahead.bytes >= aheadBytes || ahead.frames >= FRAMES_AHEAD) return; // L2
      const frame = joinFrame(this.#queue.take({ byteTarget: frameBytes, byteMost: messageBytes }));
      ahead.frames += 1;
      ahead.bytes += frame.length;
      stream.write(frame, () => {
        ahead.frames -= 1;
        ahead.bytes -= frame.length;
        this.#schedule();
      });
    }
  }
}

function hangUp(dial: Dial): void {
  clearTimeout(dial.helloTimer);
  dial.stream.on("error", () => undefined);
  dial.stream.cancel();
  dial.client.close();
}

function pass(bytes: Buffer): Buffer {
  return bytes;
}

/** More at once would be many small frames: they do better to wait for one another. */
const FRAMES_AHEAD = 8;
