/** One machine of membership, spoken to message by message, and what it may hear. */

import { type NodeName, parseNodeName } from "../../ring/ids.ts";
import type { SwimEffect, SwimEvent } from "../../ring/membership/events.ts";
import type { Alive, NodeState, StreamResponse, SwimMessage } from "../../ring/membership/messages.ts";
import { PROFILES } from "../../ring/membership/profile.ts";
import { Swim } from "../../ring/membership/swim.ts";
import { encodeTags } from "../../ring/membership/tags.ts";
import { OUR_VERSIONS } from "../../ring/membership/versions.ts";

export const ME: NodeName = parseNodeName("me");
export const A: NodeName = parseNodeName("a");
export const B: NodeName = parseNodeName("b");
export const C: NodeName = parseNodeName("c");
export const D: NodeName = parseNodeName("d");
const META: Uint8Array = encodeTags(new Map());

export class Bench {
  readonly swim: Swim;
  now = 0;
  effects: SwimEffect[] = [];
  /** Whether the others answer pings. */
  answering = false;

  constructor(others: readonly Alive["node"][] = []) {
    this.swim = new Swim({
      name: ME,
      address: { host: "10.0.0.1", port: 1 },
      tags: new Map(),
      profile: PROFILES.lan,
      random: () => 0.5,
    });
    this.receive(...others.map((node) => alive(node)));
    this.take();
  }

  give(event: SwimEvent): readonly SwimEffect[] {
    const effects = this.swim.step(this.now, event);
    this.effects.push(...effects);
    return effects;
  }

  receive(...messages: readonly SwimMessage[]): readonly SwimEffect[] {
    return this.give({ type: "received", from: { host: "10.0.0.99", port: 99 }, messages });
  }

  /** On time, tick by tick. */
  runTo(at: number): void {
    for (let next = this.swim.nextDeadline(); next !== undefined && next <= at; next = this.swim.nextDeadline()) {
      this.now = Math.max(this.now, next);
      const effects = this.give({ type: "tick" });
      const sent = this.answering ? effects.flatMap((effect) => (effect.type === "send" ? effect.messages : [])) : [];
      for (const message of sent)
        if (message.type === "ping") this.receive({ type: "ack", sequence: message.sequence });
    }
    this.now = at;
  }

  take(): readonly SwimEffect[] {
    return this.effects.splice(0);
  }

  state(node: Alive["node"]): string {
    const view = this.swim.member(node);
    return view ? `${view.state}/${view.incarnation}` : "unknown";
  }

  sent(type: SwimMessage["type"]): readonly SwimMessage[] {
    return this.effects
      .flatMap((effect) => (effect.type === "send" ? effect.messages : []))
      .filter((m) => m.type === type);
  }
}

export function alive(node: Alive["node"], changes: Partial<Alive> = {}): Alive {
  const address = { host: "10.0.0.2", port: 100 + node.charCodeAt(0) };
  return { type: "alive", incarnation: 1, node, address, meta: META, versions: OUR_VERSIONS, ...changes };
}

export function state(name: Alive["node"], of: NodeState["state"]): NodeState {
  const { address, meta, versions, incarnation } = alive(name);
  return { name, address, meta, versions, incarnation, state: of };
}

export function request(nodes: readonly NodeState[]): SwimEvent {
  const from = { host: "10.0.0.2", port: 50_000 };
  return {
    type: "stream-request",
    stream: 1,
    from,
    request: { type: "push-pull", join: true, nodes, userState: new Uint8Array(0) },
  };
}

export function replied(exchange: number, response: StreamResponse): SwimEvent {
  return { type: "exchange-replied", exchange, response };
}
