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
  /** Reasons to stand still; it runs again when the last one ends. */
  pauses: number;
  /** Added to everything that it sends and receives. */
  delayMs: number;
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
  /** A process that dies leaves a machine that refuses connections. Default: true. */
  readonly machinesLive?: boolean;
}

interface Entry {
  readonly at: Instant;
  readonly order: number;
  readonly run: () => void;
}

export class SwimCluster {
  readonly random: Random;
  readonly nodes: SwimNode[] = [];
  now: Instant = 0;
  /** Events handled, ticks among them. */
  events = 0;
  readonly #options: SwimClusterOptions;
  /** UDP packets that were sent. */
  packets = 0;
  readonly #queue: Entry[] = [];
  #order = 0;
  #streams = 0;
  readonly #cuts = new Map<string, number>();
  readonly #oneWay = new Set<string>();
  readonly #byAddress = new Map<string, readonly SwimNode[]>();

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
      pauses: 0,
      delayMs: 0,
      backlog: [],
      plannedAt: undefined,
    };
    this.nodes.push(node);
    const key = keyOf(address);
    this.#byAddress.set(key, [...(this.#byAddress.get(key) ?? []), node]);
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

  /** As a process with links to all others, which notice that theirs broke. */
  killLinked(node: SwimNode): void {
    this.kill(node);
    const name = node.swim.self().name;
    for (const other of this.nodes)
      if (other !== node) this.#later(node, () => this.give(other, { type: "doubt", name }));
  }

  pause(node: SwimNode): void {
    if (node.state === "stopped") return;
    node.pauses++;
    node.state = "paused";
  }

  resume(node: SwimNode): void {
    if (node.state !== "paused" || --node.pauses > 0) return;
    node.state = "running";
    // As a process that wakes: its timers fire before its sockets are read.
    this.give(node, { type: "tick" });
    for (const event of node.backlog.splice(0)) this.give(node, event);
  }

  /** Event loops that are blocked now and then, as on a busy machine: each node for a random time, again and again. */
  stutter({ longestMs, everyMs }: { readonly longestMs: number; readonly everyMs: number }): void {
    for (const node of this.nodes) {
      const block = (): void => {
        if (node.state === "stopped") return;
        const blockMs = Math.ceil(this.random() * longestMs);
        this.pause(node);
        this.#at(this.now + blockMs, () => {
          this.resume(node);
          // The driver tells what it measured.
          if (blockMs > LAG_MS && node.state === "running") this.give(node, { type: "loop-lag", lagMs: blockMs });
        });
        this.#at(this.now + blockMs + Math.ceil(this.random() * 2 * everyMs), block);
      };
      this.#at(this.now + Math.ceil(this.random() * everyMs), block);
    }
  }

  /** Nodes in different groups cannot reach each other. */
  cut(...groups: readonly (readonly SwimNode[])[]): void {
    groups.forEach((group, index) => {
      for (const node of group) this.#cuts.set(node.name, index);
    });
  }

  /** What `from` sends does not reach `to`. */
  cutOneWay(from: SwimNode, to: SwimNode): void {
    this.#oneWay.add(`${from.name} ${to.name}`);
  }

  heal(): void {
    this.#cuts.clear();
    this.#oneWay.clear();
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
    const entry = this.#queue[0];
    if (entry === undefined || entry.at > limit) return false;
    const last = this.#queue.pop()!;
    if (last !== entry) this.#sink(last);
    this.now = Math.max(this.now, entry.at);
    entry.run();
    return true;
  }

  #at(at: Instant, run: () => void): void {
    const entry: Entry = { at, order: this.#order++, run };
    let place = this.#queue.length;
    this.#queue.push(entry);
    while (place > 0) {
      const parent = (place - 1) >>> 1;
      if (!isBefore(entry, this.#queue[parent]!)) break;
      this.#queue[place] = this.#queue[parent]!;
      place = parent;
    }
    this.#queue[place] = entry;
  }

  /** Puts an entry at the top of the heap and down to its place. */
  #sink(entry: Entry): void {
    const queue = this.#queue;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= queue.length) break;
      if (child + 1 < queue.length && isBefore(queue[child + 1]!, queue[child]!)) child++;
      if (!isBefore(queue[child]!, entry)) break;
      queue[place] = queue[child]!;
      place = child;
    }
    queue[place] = entry;
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
        this.packets++;
        if (this.random() < (this.#options.loss ?? 0)) return;
        this.#later(node, () => {
          const target = this.#reach(node, effect.to);
          if (target) this.give(target, { type: "received", from: node.address, messages: effect.messages });
        });
        return;
      case "exchange":
        this.#later(node, () => this.#exchange(node, effect));
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
    if (target === undefined) {
      // A machine whose process is gone says so, if its answer gets through.
      const there = this.#byAddress.get(keyOf(effect.to)) ?? [];
      const gone = there.every(({ state }) => state === "stopped") && there.every((other) => !this.#isCut(other, node));
      const refused = there.length === 0 || (gone && this.#options.machinesLive !== false);
      this.#at(this.now + (refused ? 1 : effect.timeoutMs), () =>
        this.give(node, { type: "exchange-failed", exchange, reason: "unreachable", ...(refused && { refused }) }),
      );
      return;
    }
    const stream = ++this.#streams;
    // The machine of a process that stands still accepts the connection, and that is all.
    if (target.state === "paused")
      this.#at(this.now + effect.timeoutMs, () => {
        if (this.#answers.delete(stream)) this.give(node, { type: "exchange-failed", exchange, reason: "timeout" });
      });
    this.#answers.set(stream, (answer) => {
      this.#later(target, () => {
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

  #later(from: SwimNode, run: () => void): void {
    this.#at(this.now + 1 + Math.floor(this.random() * 3) + from.delayMs, run);
  }

  #isCut(from: SwimNode, to: SwimNode): boolean {
    if ((this.#cuts.get(from.name) ?? 0) !== (this.#cuts.get(to.name) ?? 0)) return true;
    return this.#oneWay.has(`${from.name} ${to.name}`);
  }

  /** The process that listens there, if packets get through. */
  #reach(from: SwimNode, to: Address): SwimNode | undefined {
    const target = this.#byAddress.get(keyOf(to))?.find(({ state }) => state !== "stopped");
    return target === undefined || this.#isCut(from, target) ? undefined : target;
  }
}

/** As the driver's. */
const LAG_MS = 100;

function isBefore(left: Entry, right: Entry): boolean {
  return left.at < right.at || (left.at === right.at && left.order < right.order);
}

function keyOf({ host, port }: Address): string {
  return `${host} ${port}`;
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
