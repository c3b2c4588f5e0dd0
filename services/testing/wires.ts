/**
 * What binds the processes of simulated hosts: links that are dialled, watched and break, and the gossip's packets and streams.
 */

import type { MemberId, NodeName } from "../../ring/ids.ts";
import type { SwimEffect } from "../../ring/membership/events.ts";
import type { NodeEvent } from "../../ring/node/effects.ts";
import type { NodeMessage } from "../../ring/node/messages.ts";
import type { Network } from "./network.ts";
import type { SeededRandom } from "./random.ts";

/** A host as its wires see it. */
export interface Wired {
  readonly name: NodeName;
  readonly address: string;
  /** Which process it is. */
  readonly life: number;
  readonly up: boolean;
  readonly paused: boolean;
  readonly wires: Wires;
  step(event: NodeEvent): void;
  /** In this process alone. */
  later(delayMs: number, run: () => void): void;
}

export interface WiresWorld {
  readonly network: Network;
  readonly random: SeededRandom;
  /** Each link begins with a hello, and what a link does not take is told of. Default: neither. */
  readonly hellos?: boolean;
  hostAt(host: string): Wired | undefined;
  hostOf(name: NodeName): Wired | undefined;
  /** A consent is on its way: the ring is in the middle of a change. */
  consented(): void;
}

export class Wires {
  readonly #host: Wired;
  readonly #world: WiresWorld;
  #linksUp = new Set<NodeName>();
  #linksWanted = new Set<NodeName>();
  #dialing = new Set<NodeName>();
  readonly #streams = new Map<number, { readonly from: Wired; readonly exchange: number; readonly fromLife: number }>();
  #stream = 0;

  constructor(host: Wired, world: WiresWorld) {
    this.#host = host;
    this.#world = world;
  }

  /** A process begins, with none. */
  begin(): void {
    this.#linksUp = new Set();
    this.#linksWanted = new Set();
    this.#dialing = new Set();
  }

  /** The process is gone: its peers see that at once. */
  end(): void {
    for (const peer of [...this.#linksUp]) this.#world.hostOf(peer)?.wires.broke(this.#host.name, 1);
    this.#linksUp = new Set();
  }

  send(to: NodeName, message: NodeMessage): void {
    if (message.type === "consent") this.#world.consented();
    if (!this.#linksUp.has(to)) return this.#unsent(to, message);
    const target = this.#world.hostOf(to);
    if (target === undefined) return;
    const life = target.life;
    this.#world.network.stream(this.#host.name, to, () => {
      if (target.life === life && target.up && this.#world.network.linkable(this.#host.name, to))
        target.step({ type: "messages", from: this.#host.name, messages: [message] });
    });
  }

  #unsent(to: NodeName, message: NodeMessage): void {
    if (this.#world.hellos !== true) return;
    if (message.type === "forward" || message.type === "ask" || message.type === "answer")
      this.#host.later(0, () => this.#host.step({ type: "unsent", to, message }));
  }

  links(wanted: readonly NodeName[]): void {
    this.#linksWanted = new Set(wanted);
    for (const peer of wanted) this.#dial(peer);
  }

  #dial(peer: NodeName): void {
    if (this.#linksUp.has(peer) || this.#dialing.has(peer)) return;
    this.#dialing.add(peer);
    const { life } = this.#host;
    this.#host.later(1 + this.#world.random() * 3, () => {
      this.#dialing.delete(peer);
      if (this.#host.life !== life || !this.#linksWanted.has(peer) || this.#linksUp.has(peer)) return;
      const target = this.#world.hostOf(peer);
      if (target?.up !== true || target.paused || !this.#world.network.linkable(this.#host.name, peer)) {
        this.#dialing.add(peer);
        return this.#host.later(200 + this.#world.random() * 300, () => {
          this.#dialing.delete(peer);
          this.#dial(peer);
        });
      }
      this.#linksUp.add(peer);
      if (this.#world.hellos === true) this.send(peer, { ...HELLO, name: this.#host.name });
      this.#host.step({ type: "link", peer, up: true });
      this.#watchLink(peer, target.life);
    });
  }

  /** Keepalive: a stream over a cut or to a silent process breaks after 3 s. */
  #watchLink(peer: NodeName, peerLife: number): void {
    this.#host.later(1_000, () => {
      if (!this.#linksUp.has(peer)) return;
      const target = this.#world.hostOf(peer);
      const alive =
        target?.up === true &&
        target.life === peerLife &&
        !target.paused &&
        this.#world.network.linkable(this.#host.name, peer);
      if (alive) this.#watchLink(peer, peerLife);
      else this.broke(peer, target?.up === true && target.life === peerLife ? 2_000 : 1);
    });
  }

  broke(peer: NodeName, afterMs: number): void {
    this.#host.later(afterMs, () => {
      if (!this.#linksUp.delete(peer)) return;
      this.#host.step({ type: "link", peer, up: false });
      if (this.#linksWanted.has(peer)) this.#dial(peer);
    });
  }

  swim(effect: SwimEffect): void {
    const { network } = this.#world;
    const from = { host: this.#host.address, port: 7946 };
    switch (effect.type) {
      case "send": {
        const target = this.#world.hostAt(effect.to.host);
        if (target !== undefined)
          network.datagram(this.#host.name, target.name, () =>
            target.step({ type: "swim", event: { type: "received", from, messages: effect.messages } }),
          );
        return;
      }
      case "exchange": {
        const target = this.#world.hostAt(effect.to.host);
        const { life } = this.#host;
        if (target?.up !== true)
          return this.#host.later(1, () =>
            this.#host.step({
              type: "swim",
              event: { type: "exchange-failed", exchange: effect.exchange, reason: "refused" },
            }),
          );
        network.stream(this.#host.name, target.name, () =>
          target.wires.asked(this.#host, life, effect.exchange, effect.request),
        );
        return this.#host.later(effect.timeoutMs, () =>
          this.#host.step({
            type: "swim",
            event: { type: "exchange-failed", exchange: effect.exchange, reason: "timeout" },
          }),
        );
      }
      case "reply": {
        const asked = this.#streams.get(effect.stream);
        this.#streams.delete(effect.stream);
        if (asked === undefined) return;
        network.stream(this.#host.name, asked.from.name, () => {
          if (asked.from.life === asked.fromLife)
            asked.from.step({
              type: "swim",
              event: { type: "exchange-replied", exchange: asked.exchange, response: effect.response },
            });
        });
        return;
      }
      case "refuse":
        this.#streams.delete(effect.stream);
        return;
      default:
        return;
    }
  }

  asked(
    from: Wired,
    fromLife: number,
    exchange: number,
    request: Extract<SwimEffect, { type: "exchange" }>["request"],
  ): void {
    if (!this.#host.up) return;
    const stream = ++this.#stream;
    this.#streams.set(stream, { from, exchange, fromLife });
    this.#host.step({
      type: "swim",
      event: { type: "stream-request", stream, from: { host: from.address, port: 7946 }, request },
    });
  }
}

/** What else it says is looked at before a node hears of it. */
const HELLO = {
  type: "hello",
  protocol: { lowest: 1, highest: 1 },
  ringId: undefined,
  history: 0,
  memberId: "" as MemberId,
} as const;
