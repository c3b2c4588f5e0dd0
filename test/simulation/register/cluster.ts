/**
 * Five model nodes with their network, clocks and checkers, made from one seed.
 */

import type { RingDocument } from "../../../ring/document.ts";
import type { NodeName } from "../../../ring/ids.ts";
import type { RegisterEffect } from "../../../ring/register/events.ts";
import { majorityOf } from "../../../ring/register/voting.ts";
import { Checkers } from "./checkers.ts";
import { firstDocument, idOf, NAMES } from "./documents.ts";
import { ModelNode, type Timing } from "./node.ts";
import { between, Network, pick, type Random, Timeline } from "./world.ts";

export interface ClusterOptions {
  readonly random: Random;
  readonly voterCount: number;
  /** Without gossip documents travel only in answers of the register. */
  readonly hasGossip: boolean;
}

export class Cluster {
  readonly timeline: Timeline = new Timeline();
  readonly network: Network;
  readonly checkers: Checkers;
  readonly nodes: Map<NodeName, ModelNode> = new Map();
  readonly timing: Timing;
  readonly voterCount: number;
  readonly random: Random;
  readonly #hasGossip: boolean;
  readonly #observers: ((node: ModelNode, effect: RegisterEffect) => void)[] = [];

  constructor({ random, voterCount, hasGossip }: ClusterOptions) {
    this.random = random;
    this.voterCount = voterCount;
    this.#hasGossip = hasGossip;
    this.timing = { leaseMs: 1_000, finishAfterMs: 300, proposalTimeoutMs: 4_000, syncMs: pick(random, [1, 5, 30])! };
    this.network = new Network(this.timeline, random);
    const first = firstDocument(voterCount, random);
    this.checkers = new Checkers(first);
    const isExtreme = random() < 0.6;
    for (const name of NAMES) {
      const drift = isExtreme ? pick(random, [-0.02, 0.02])! : between(random, -0.01, 0.01);
      this.nodes.set(name, this.#makeNode(name, first, 1 + drift));
    }
  }

  observe(observer: (node: ModelNode, effect: RegisterEffect) => void): void {
    this.#observers.push(observer);
  }

  node(name: NodeName): ModelNode {
    return this.nodes.get(name)!;
  }

  up(): readonly ModelNode[] {
    return [...this.nodes.values()].filter((node) => node.isUp);
  }

  /** Until `endsAt`, at random times. */
  repeat(meanMs: number, endsAt: number, act: () => void): void {
    const again = (): void => {
      if (this.timeline.now >= endsAt) return;
      act();
      this.timeline.after(between(this.random, 0, 2 * meanMs), again);
    };
    this.timeline.after(between(this.random, 0, 2 * meanMs), again);
  }

  gossip(): void {
    for (const node of this.up()) {
      const peer = this.node(pick(this.random, NAMES)!);
      const { document } = node;
      // Without gossip only one that is no member yet is told: it pulls on its own.
      if (document === undefined || peer === node || !(this.#hasGossip || !peer.isMember)) continue;
      this.network.carry(node.name, peer.name, () => peer.feed({ type: "learn", document }));
    }
  }

  /** Newer documents reach it: by gossip, or from a voter that it knows. */
  canHear({ document }: ModelNode): boolean {
    const isThere = (voter: NodeName): boolean => this.node(voter).isUp && this.hasDirectory(document!, voter);
    return this.#hasGossip || document === undefined || document.voters.some(isThere);
  }

  hasDirectory(document: RingDocument, name: NodeName): boolean {
    return this.node(name).disk.memberId === idOf(document, name);
  }

  hasQuorum(document: RingDocument, dead: ReadonlySet<NodeName>): boolean {
    const alive = document.voters.filter((voter) => !dead.has(voter) && this.hasDirectory(document, voter));
    return alive.length >= majorityOf(document.voters);
  }

  /** Voters that must not be gone for good: of the ring as it is, and as somebody has voted for it to be. */
  electorates(): readonly RingDocument[] {
    const next = this.checkers.newest.epoch + 1;
    const proposed = [...this.nodes.values()].flatMap(({ disk }) => disk.accepted?.document ?? []);
    return [this.checkers.newest, this.checkers.chosen(), ...proposed.filter(({ epoch }) => epoch === next)];
  }

  #makeNode(name: NodeName, first: RingDocument, clockRate: number): ModelNode {
    const { timeline, network, random, checkers, nodes, timing } = this;
    const memberId = idOf(first, name)!;
    checkers.knows(memberId, first);
    const undecided = { promised: undefined, accepted: undefined };
    const disk = { version: 1, member: name, memberId, starts: 0, document: first, ...undecided } as const;
    const onEffect = (node: ModelNode, effect: RegisterEffect): void => {
      for (const observer of this.#observers) observer(node, effect);
    };
    return new ModelNode({ timeline, network, random, checkers, nodes, timing, name, clockRate, disk, onEffect });
  }
}
