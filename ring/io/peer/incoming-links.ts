/**
 * The streams that peers dialled to this node: everything they say comes through here.
 *
 * I1  Nothing is passed on before a hello of the same ring; the sender's name is that of its hello.
 * I2  One stream for each peer: a newer one takes the place of an older one, which is closed. Of two nodes that use one name the
 *     member stays, else the one that was there first: were they to take turns, neither could talk.
 * I3  A stream without a hello is ended after `helloMs`: those of strangers hold no place of a peer.
 * I4  Where all places are taken, the oldest stream that is of no member of the ring gives way to a new one.
 */

import { type ServerDuplexStream, status } from "@grpc/grpc-js";
import type { MemberId, NodeName } from "../../ids.ts";
import type { Hello, NodeMessage } from "../../node/messages.ts";
import { decodeFrame, encodeMessage, joinFrame } from "./frame.ts";
import { type Objection, objectionTo } from "./greeting.ts";
import type { PeerLimits } from "./limits.ts";

export interface IncomingOptions {
  readonly self: () => Hello;
  readonly limits: PeerLimits;
  readonly onMessages: (from: NodeName, messages: readonly NodeMessage[]) => void;
  /** Another ring, another protocol, the same name. */
  readonly onObjection: (detail: string) => void;
  readonly onHello: (hello: Hello) => void;
  /** Of the ring's member with this name; undefined for strangers. */
  readonly memberId: (name: NodeName) => MemberId | undefined;
}

type Call = ServerDuplexStream<Buffer, Buffer>;

export class IncomingLinks {
  readonly #options: IncomingOptions;
  readonly #calls = new Map<NodeName, { readonly call: Call; readonly id: MemberId }>();
  /** By age: how to end each stream, and of whom it is once it has said hello. */
  readonly #open = new Map<Call, { readonly cut: () => void; name?: NodeName }>();
  /** Messages dropped since the start because they did not parse. */
  garbage = 0;

  constructor(options: IncomingOptions) {
    this.#options = options;
  }

  accept(call: Call): void {
    if (this.#open.size >= this.#options.limits.incoming && !this.#makeRoom()) {
      call.emit("error", { code: status.RESOURCE_EXHAUSTED, details: "too many peers are linked" });
      return;
    }
    let name: NodeName | undefined;
    let over = false;
    const end = (): void => {
      if (over) return;
      over = true;
      clearTimeout(helloTimer);
      this.#open.delete(call);
      if (name !== undefined && this.#calls.get(name)?.call === call) this.#calls.delete(name);
    };
    const helloTimer = setTimeout(() => {
      end();
      call.emit("error", { code: status.DEADLINE_EXCEEDED, details: "no hello in time" });
    }, this.#options.limits.helloMs); // I3
    helloTimer.unref();
    const place: { readonly cut: () => void; name?: NodeName } = {
      cut: () => {
        end();
        call.emit("error", { code: status.RESOURCE_EXHAUSTED, details: "too many peers are linked" });
      },
    };
    this.#open.set(call, place);
    call.on("data", (bytes: Buffer) => {
      if (over) return;
      const { messages, garbage } = decodeFrame(bytes);
      this.garbage += garbage;
      if (messages.length === 0) return;
      if (name === undefined) {
        name = this.#greet(call, messages[0] as NodeMessage);
        if (name === undefined) return end();
        place.name = name;
        clearTimeout(helloTimer);
      }
      const hello = messages.find((message) => message.type === "hello");
      if (hello !== undefined && !this.#agrees(call, hello)) return end();
      this.#options.onMessages(name, messages);
    });
    call.on("cancelled", end);
    call.on("error", end);
    call.on("close", end);
    call.on("end", () => {
      end();
      call.end();
    });
  }

  close(): void {
    for (const { call } of this.#calls.values())
      call.emit("error", { code: status.UNAVAILABLE, details: "the node is stopping" });
    this.#calls.clear();
  }

  /** I4. False: all are of members. */
  #makeRoom(): boolean {
    for (const { name, cut } of this.#open.values()) {
      if (name !== undefined && this.#options.memberId(name) !== undefined) continue;
      cut();
      return true;
    }
    return false;
  }

  /** The peer's name, or undefined if it was turned away (I1). */
  #greet(call: Call, first: NodeMessage): NodeName | undefined {
    if (first.type !== "hello") {
      call.emit("error", { code: status.INVALID_ARGUMENT, details: "the first message must be hello" });
      return undefined;
    }
    if (!this.#agrees(call, first)) return undefined;
    const older = this.#calls.get(first.name);
    if (older !== undefined && older.id !== first.memberId && this.#options.memberId(first.name) !== first.memberId) {
      this.#turnAway(call, {
        code: "INVALID_ARGUMENT",
        detail: `another node called ${first.name} is linked; see --name`,
      });
      return undefined; // I2
    }
    this.#calls.set(first.name, { call, id: first.memberId });
    older?.call.emit("error", { code: status.ABORTED, details: "the same peer has linked again" }); // I2
    call.write(joinFrame([encodeMessage(this.#options.self())]));
    this.#options.onHello(first);
    return first.name;
  }

  #agrees(call: Call, hello: Hello): boolean {
    const objection = objectionTo(hello, this.#options.self());
    if (objection === undefined) return true;
    this.#turnAway(call, objection);
    return false;
  }

  #turnAway(call: Call, objection: Objection): void {
    this.#options.onObjection(`${objection.code}: ${objection.detail}`);
    call.write(joinFrame([encodeMessage({ type: "refused", ...objection })]));
    call.end();
  }
}
