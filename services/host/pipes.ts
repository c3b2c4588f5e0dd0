/**
 * The pipe engine beside the node: routed by the ring document, its messages on the peer stream as one kind of their own.
 *
 * They pass the node machine by: what they say is nobody else's business, and a million inputs a second are not events of it.
 */

import { PipeEngine } from "../../pipe/io/engine.ts";
import type { NodeName } from "../../ring/ids.ts";
import type { NodeDriver } from "../../ring/io/node.ts";
import type { NodeMessage } from "../../ring/node/messages.ts";
import type { Catalogue } from "../apps/catalogue.ts";

export interface HostPipes extends Disposable {
  readonly engine: PipeEngine;
  /** Takes the pipe messages out and returns the others. */
  sift(from: NodeName, messages: readonly NodeMessage[]): readonly NodeMessage[];
  linked(peer: NodeName): void;
}

export function openPipes(options: {
  readonly node: NodeDriver;
  readonly apps: Catalogue;
  readonly send: (to: NodeName, message: NodeMessage) => boolean;
}): HostPipes {
  const { node, apps, send } = options;
  const engine = new PipeEngine({
    self: node.name,
    find: (name) => apps.pipeline(name),
    names: () => apps.pipelineNames(),
    send: (to, bytes) => send(to, { type: "pipe", bytes }),
  });
  const follow = node.onDocument((document) => engine.document(document));
  const document = node.document();
  if (document !== undefined) engine.document(document);
  return {
    engine,
    sift: (from, messages) => {
      if (!messages.some((message) => message.type === "pipe")) return messages;
      const others: NodeMessage[] = [];
      for (const message of messages) {
        if (message.type === "pipe") engine.receive(from, message.bytes);
        else others.push(message);
      }
      return others;
    },
    linked: (peer) => engine.linkUp(peer),
    [Symbol.dispose]: () => {
      follow();
      engine[Symbol.dispose]();
    },
  };
}
