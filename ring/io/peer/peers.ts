/**
 * Links to all other nodes: each node dials the peers it has something to say to, and listens to those that dialled it.
 *
 * The service goes on the same gRPC server as the API. Names come and go with the ring (`connect`, `prune`).
 */

import type { ServerDuplexStream, ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";
import { LINK_PATH } from "../../../proto/load.ts";
import type { MemberId, NodeName } from "../../ids.ts";
import type { Hello, NodeMessage } from "../../node/messages.ts";
import { Sparing } from "../../node/sparing.ts";
import { IncomingLinks } from "./incoming-links.ts";
import { PEER_LIMITS, type PeerLimits } from "./limits.ts";
import { OutgoingLink } from "./outgoing-link.ts";

export interface PeersOptions {
  /** Made anew for each link: the ring id may have become known. */
  readonly self: () => Hello;
  /** Hello included, as the first of each link. Messages may share memory with the frame they came in. */
  readonly onMessages: (from: NodeName, messages: readonly NodeMessage[]) => void;
  /** `up`: messages arrive from now on. `down`: what was sent last may be lost; also for each dial that fails. */
  readonly onLink: (name: NodeName, state: "up" | "down", reason: string) => void;
  readonly addressOf: (name: NodeName) => string | undefined;
  /**
   * Of the ring's member with this name: others that use it do not keep it out, and where there are too many links those of no
   * member give way. Default: none is known.
   */
  readonly memberId?: (name: NodeName) => MemberId | undefined;
  readonly log: PeerLog;
  readonly limits?: Partial<PeerLimits>;
}

export interface PeerLog {
  info(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface Peers extends AsyncDisposable {
  /** False: no link, the queue is full, or the message is too large; it will not arrive. The first message to a peer dials, if its address is known. */
  send(to: NodeName, message: NodeMessage): boolean;
  /** Keeps a link to each of these from now on, dialling again when it breaks. */
  connect(names: Iterable<NodeName>): void;
  /** Drops the links to all others. */
  prune(keep: Iterable<NodeName>): void;
  isUp(name: NodeName): boolean;
  queueBytes(to: NodeName): number;
  /** Messages from peers that were dropped because they did not parse. */
  readonly garbage: number;
  /** For `startApi({ services: [peers.service] })`. */
  readonly service: { readonly definition: ServiceDefinition; readonly implementation: UntypedServiceImplementation };
}

export function openPeers(options: PeersOptions): Peers {
  const limits: PeerLimits = { ...PEER_LIMITS, ...options.limits };
  const links = new Map<NodeName, OutgoingLink>();
  const objections = new Sparing();
  let closed = false;

  const incoming = new IncomingLinks({
    self: options.self,
    limits,
    onMessages: options.onMessages,
    memberId: options.memberId ?? (() => undefined),
    onObjection: (detail) => {
      const leftOut = objections.take(performance.now());
      if (leftOut !== undefined) options.log.error({ detail, leftOut }, "a peer was turned away");
    },
    // It is alive: do not wait for the back-off.
    onHello: (hello) => links.get(hello.name)?.hurry(),
  });

  const linkTo = (name: NodeName): OutgoingLink => {
    const known = links.get(name);
    if (known !== undefined) return known;
    const link = new OutgoingLink({
      name,
      self: options.self,
      address: () => options.addressOf(name),
      limits,
      onUp: () => {
        options.log.info({ peer: name }, "linked");
        options.onLink(name, "up", "hello");
      },
      onDown: (reason, loud) => {
        if (loud) options.log.error({ peer: name, reason: reason.slice(0, REASON_LENGTH) }, "a peer turned us away");
        options.onLink(name, "down", reason);
      },
    });
    links.set(name, link);
    return link;
  };
  const close = async (): Promise<void> => {
    closed = true;
    for (const link of links.values()) link.close();
    links.clear();
    incoming.close();
  };

  return {
    send: (to, message) => {
      if (closed) return false;
      // Whoever asks under a name that nobody else knows would be dialled for ever.
      if (!links.has(to) && options.addressOf(to) === undefined) return false;
      return linkTo(to).send(message);
    },
    connect: (names) => {
      if (closed) return;
      for (const name of names) linkTo(name).connect();
    },
    prune: (keep) => {
      const kept = new Set(keep);
      for (const [name, link] of links) {
        if (kept.has(name)) continue;
        const { up } = link;
        link.close();
        links.delete(name);
        if (up) options.onLink(name, "down", "no link to it is kept");
      }
    },
    isUp: (name) => links.get(name)?.up ?? false,
    queueBytes: (to) => links.get(to)?.queueBytes ?? 0,
    get garbage() {
      return incoming.garbage;
    },
    service: {
      definition: LINK_DEFINITION,
      implementation: { Link: (call: ServerDuplexStream<Buffer, Buffer>) => incoming.accept(call) },
    },
    [Symbol.asyncDispose]: close,
  };
}

/** A peer says why in its own words. */
const REASON_LENGTH = 500;
const pass = (bytes: Buffer): Buffer => bytes;
const LINK_DEFINITION: ServiceDefinition = {
  Link: {
    path: LINK_PATH,
    requestStream: true,
    responseStream: true,
    requestSerialize: pass,
    requestDeserialize: pass,
    responseSerialize: pass,
    responseDeserialize: pass,
  },
};
