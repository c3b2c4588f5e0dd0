/**
 * A cluster of nothing but `Swim` machines in virtual time: one queue of events, one seed. Messages cross it as objects.
 */

import { parseNodeName } from "../../ring/ids.ts";
import type { Instant, Random } from "../../ring/machine.ts";
import type { Address } from "../../ring/membership/address.ts";
import type { MemberNotice, SwimEffect, SwimEvent } from "../../ring/membership/events.ts";
import type { SwimProfile } from "../../ring/membership/profile.ts";
import { PROFILES } from "../../ring/membership/profile.ts";
import { Swim } from "../../ring/membership/swim.ts";
import type { Tags } from "../../ring/membership/tags.ts";

export interface SwimNode {
  readonly name: string;
  readonly address: Address;
  readonly swim: Swim;
  readonly notices: { readonly at: Instant; readonly type: MemberNotice["type"]; readonly name: string }[];
  /** Effects that are for the caller, not for the network and not about members. */
  readonly outcomes: SwimEffect[];
  state: "running" | "paused" | "stopped";
  /** Events that came while it was paused. */
  readonly backlog: SwimEvent[];
  plannedAt: Instant | undefined;
}

export interface SwimClusterOptions {
  readonly seed: number;
  readonly profile?: SwimProfile;
  /** Share of UDP messages that are lost, each way. */
  readonly loss?: number;
  readonly supersedes?: (known: Tags, claimed: Tags) => boolean;
}

export class SwimCluster {
  readonly random: Random;
  readonly nodes: SwimNode[] = [];
  now: Instant = 0;
  /** Events handled, ticks among them. */
  events = 0;
  readonly #options: SwimClusterOptions;
  #queue: { readonly at: Instant; readonly order: number; readonly run: () => void }[] = [];
  #order = 0;
  #streams = 0;
  readonly #cuts = new Map<string, number>();

  constructor(options: SwimClusterOptions) {
    this.#options = options;
    this.random = randomFrom(options.seed);
  }

  start(name: string, options: { readonly port: number; readonly tags?: Tags; readonly join?: SwimNode }): SwimNode {
    const address = { host: `host-${name}`, port: options.port };
    const swim = new Swim({
      name: parseNodeName(name),
      address,
      tags: options.tags ?? new Map(),
      profile: this.#options.profile ?? PROFILES.lan,
      random: this.random,
      ...(this.#options.supersedes && { supersedes: this.#options.supersedes }),
    });
    const node: SwimNode = {
      name,
      address,
      swim,
      notices: [],
      outcomes: [],
      state: "running",
      backlog: [],
      plannedAt: undefined,
    };
    this.nodes.push(node);
    if (options.join) this.give(node, { type: "join", addresses: [options.join.address] });
    return node;
  }

  /** So many nodes, all joined through the first, and settled. */
  grow(count: number): readonly SwimNode[] {
    for (let index = 0; index < count; index++) {
      const first = this.nodes[0];
      this.start(`n${index + 1}`, { port: 1_000 + index, ...(first && { join: first }) });
    }
    this.until(() => this.nodes.every((node) => alive(node).length === count), 20_000);
    return this.nodes;
  }

  kill(node: SwimNode): void {
    node.state = "stopped";
  }

  pause(node: SwimNode): void {
    node.state = "paused";
  }

  resume(node: SwimNode): void {
    node.state = "running";
    // As a process that wakes: its timers fire before its sockets are read.
    this.give(node, { type: "tick" });
    for (const event of node.backlog.splice(0)) this.give(node, event);
  }

  /** Nodes in different groups cannot reach each other. */
  cut(...groups: readonly (readonly SwimNode[])[]): void {
    groups.forEach((group, index) => {
      for (const node of group) this.#cuts.set(node.name, index);
    });
  }

  heal(): void {
    this.#cuts.clear();
  }

  give(node: SwimNode, event: SwimEvent): void {
    if (node.state === "stopped") return;
    if (node.state === "paused") {
      if (event.type !== "tick") node.backlog.push(event);
      return;
    }
    this.events++;
    for (const effect of node.swim.step(this.now, event)) this.#perform(node, effect);
    this.#plan(node);
  }

  /** Runs until the condition holds and returns how long that took; throws after `limitMs`. */
  until(condition: () => boolean, limitMs: number): number {
    const began = this.now;
    while (!condition()) {
      if (this.now - began > limitMs) throw new Error(`not within ${limitMs} ms:\n${this.describe()}`);
      if (!this.#runNext(began + limitMs + 1)) this.now = began + limitMs + 1;
    }
    return this.now - began;
  }

  run(ms: number): void {
    const end = this.now + ms;
    while (this.#runNext(end));
    this.now = end;
  }

  describe(): string {
    return this.nodes
      .map((node) => {
        const views = node.swim.members().map((view) => `${view.name}=${view.state}/${view.incarnation}`);
        return `${node.name} ${node.state}: ${views.join(" ")}`;
      })
      .join("\n");
  }

  #runNext(limit: Instant): boolean {
    let next = 0;
    for (let index = 1; index < this.#queue.length; index++) {
      const left = this.#queue[index]!;
      const right = this.#queue[next]!;
      if (left.at < right.at || (left.at === right.at && left.order < right.order)) next = index;
    }
    const entry = this.#queue[next];
    if (entry === undefined || entry.at > limit) return false;
    this.#queue[next] = this.#queue[this.#queue.length - 1]!;
    this.#queue.pop();
    this.now = Math.max(this.now, entry.at);
    entry.run();
    return true;
  }

  #at(at: Instant, run: () => void): void {
    this.#queue.push({ at, order: this.#order++, run });
  }

  #plan(node: SwimNode): void {
    const at = node.swim.nextDeadline();
    if (at === node.plannedAt || at === undefined) return;
    node.plannedAt = at;
    this.#at(at, () => {
      if (node.plannedAt !== at) return;
      node.plannedAt = undefined;
      if (node.state === "running") this.give(node, { type: "tick" });
    });
  }

  #perform(node: SwimNode, effect: SwimEffect): void {
    switch (effect.type) {
      case "send":
        if (this.random() < (this.#options.loss ?? 0)) return;
        this.#later(() => {
          const target = this.#reach(node, effect.to);
          if (target) this.give(target, { type: "received", from: node.address, messages: effect.messages });
        });
        return;
      case "exchange":
        this.#later(() => this.#exchange(node, effect));
        return;
      case "reply":
      case "refuse":
        this.#answers.get(effect.stream)?.(effect);
        this.#answers.delete(effect.stream);
        return;
      case "member-up":
      case "member-suspect":
      case "member-dead":
      case "member-left":
      case "member-updated":
        node.notices.push({ at: this.now, type: effect.type, name: effect.member.name });
        return;
      default:
        node.outcomes.push(effect);
    }
  }

  readonly #answers = new Map<number, (effect: SwimEffect) => void>();

  #exchange(node: SwimNode, effect: Extract<SwimEffect, { type: "exchange" }>): void {
    const { exchange, request } = effect;
    const target = this.#reach(node, effect.to);
    if (target === undefined || target.state === "paused") {
      const refused = this.nodes.every(({ address }) => address.port !== effect.to.port);
      this.#at(this.now + (refused ? 1 : effect.timeoutMs), () =>
        this.give(node, { type: "exchange-failed", exchange, reason: "unreachable" }),
      );
      return;
    }
    const stream = ++this.#streams;
    this.#answers.set(stream, (answer) => {
      this.#later(() => {
        const lost = this.#reach(target, node.address) !== node || answer.type !== "reply";
        this.give(
          node,
          lost
            ? { type: "exchange-failed", exchange, reason: "cut" }
            : { type: "exchange-replied", exchange, response: answer.response },
        );
      });
    });
    this.give(target, { type: "stream-request", stream, from: node.address, request });
  }

  #later(run: () => void): void {
    this.#at(this.now + 1 + Math.floor(this.random() * 3), run);
  }

  /** The process that listens there, if packets get through. */
  #reach(from: SwimNode, to: Address): SwimNode | undefined {
    const target = this.nodes.find(
      ({ address, state }) => state !== "stopped" && address.port === to.port && address.host === to.host,
    );
    if (target === undefined || (this.#cuts.get(from.name) ?? 0) !== (this.#cuts.get(target.name) ?? 0))
      return undefined;
    return target;
  }
}

/** Names that this node holds for alive, itself among them. */
export function alive(node: SwimNode): readonly string[] {
  return node.swim
    .members()
    .filter(({ state }) => state === "alive")
    .map(({ name }) => name);
}

export function stateOf(node: SwimNode, name: string): string | undefined {
  return node.swim.members().find((view) => view.name === name)?.state;
}

/** mulberry32. */
function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}
