/**
 * Runs five registers through faults and ring changes from one seed, then ends the faults and wants progress.
 *
 * Safety is watched all the time by `checkers.ts`, progress at the end by `progress.ts`. Profiles:
 * storm         everything at once, bad weather
 * hunt          a fast network on which owners are cut off and a claimant takes from them the moment it may
 * relapse       the victim of a revocation comes back in its middle while the claimant dies
 * bad-claimant  one node hears and is heard badly and wishes to take from everybody; nothing else is wrong
 * C8  A healthy member is never revoked and never loses its lease, whatever a bad claimant wishes (ownership rule 11).
 */

import { Changes } from "./changes.ts";
import { Violation } from "./checkers.ts";
import { Cluster } from "./cluster.ts";
import { NAMES } from "./documents.ts";
import { Faults } from "./faults.ts";
import type { ModelNode } from "./node.ts";
import { wantProgress } from "./progress.ts";
import { between, CALM, pick, type Random, seeded } from "./world.ts";

export interface ModelResult {
  readonly decided: number;
  readonly consented: number;
  readonly revoked: number;
  readonly voterChanges: number;
  readonly crashes: number;
  readonly wipes: number;
  readonly hopeless: number;
  /** The same for the same seed. */
  readonly trace: number;
}

type Profile = "storm" | "hunt" | "relapse" | "bad-claimant";

/** Throws a `Violation` that names seed, virtual time and checker. */
export function runModel(seed: number): ModelResult {
  const model = new RegisterModel(seed);
  try {
    return model.run();
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    throw new Violation(
      `seed ${seed}, ${Math.round(model.cluster.timeline.now)} ms (${model.profile}): ${error.message}`,
    );
  }
}

class RegisterModel {
  readonly cluster: Cluster;
  readonly profile: Profile;
  readonly #random: Random;
  readonly #changes: Changes;
  readonly #faults: Faults;
  readonly #endsAt: number;
  #trace = 0;

  constructor(seed: number) {
    const random = seeded(seed);
    this.#random = random;
    this.profile = pick(random, PROFILES)!;
    const voterCount = pick(random, this.profile === "bad-claimant" ? [3, 5] : [1, 3, 3, 5])!;
    this.cluster = new Cluster({ random, voterCount, hasGossip: random() < 0.6 });
    this.#faults = new Faults(this.cluster);
    this.#changes = new Changes(this.cluster, (proposer) => this.#proposed(proposer));
    this.#endsAt = { storm: 60_000, hunt: 60_000, relapse: 8_000, "bad-claimant": 20_000 }[this.profile];
    this.cluster.observe((node, effect) => {
      this.#mix(effect.type.length + node.name.charCodeAt(0));
      this.#mix(Math.round(this.cluster.timeline.now * 1_000));
    });
  }

  run(): ModelResult {
    const { timeline, nodes } = this.cluster;
    for (const node of nodes.values()) node.start();
    timeline.runUntil(3_000);
    this.cluster.repeat(500, Number.POSITIVE_INFINITY, () => this.cluster.gossip());
    this.#play();
    timeline.runUntil(this.#endsAt);
    const hopeless = wantProgress(this.cluster, this.#changes) ? 0 : 1;
    return { ...this.#changes.counts, ...this.#faults.counts, hopeless, trace: this.#trace };
  }

  #play(): void {
    switch (this.profile) {
      case "storm":
        this.#storm();
        return;
      case "hunt":
        this.#hunt();
        return;
      case "relapse":
        this.#relapse();
        return;
      case "bad-claimant":
        this.#badClaimant();
        return;
    }
  }

  #storm(): void {
    const { network } = this.cluster;
    network.weather = { ...CALM, delayMs: pick(this.#random, [3, 30, 100])! };
    this.#repeat(between(this.#random, 80, 600), () => this.#changes.any());
    this.#repeat(between(this.#random, 300, 2_500), () => this.#faults.any());
    this.#repeat(4_000, () => this.#faults.setWeather());
  }

  #hunt(): void {
    const { network, timeline } = this.cluster;
    const isLate = this.#random() < 0.4;
    network.weather = { ...CALM, delayMs: 2, ...(isLate ? { lateRate: 0.3, lateMs: 1_500, duplicateRate: 0.3 } : {}) };
    this.#repeat(400, () => this.#changes.any());
    this.#repeat(2_500, () => {
      const victim = this.#faults.any();
      const claimant = pick(
        this.#random,
        this.cluster.up().filter((node) => node !== victim),
      );
      if (claimant !== undefined) timeline.after(5, () => this.#changes.pursue(claimant, victim?.name));
    });
  }

  #relapse(): void {
    const { network, timeline } = this.cluster;
    network.weather = { ...CALM, delayMs: pick(this.#random, [2, 20, 40])! };
    const [victim, claimant] = [...NAMES].sort(() => this.#random() - 0.5).map((name) => this.cluster.node(name));
    this.#faults.isolate(victim!.name);
    const healsAt = between(this.#random, 900, 1_300);
    timeline.after(healsAt, () => network.cuts.clear());
    timeline.after(healsAt + between(this.#random, 0, 200), () => this.#faults.crash(claimant!, 30_000));
    this.#repeat(10, () => {
      if (claimant!.isUp) this.#changes.take(claimant!, victim!.name);
    });
  }

  #badClaimant(): void {
    const claimant = this.cluster.node(pick(this.#random, NAMES)!);
    const healthy = [...this.cluster.nodes.values()].filter((node) => node !== claimant);
    const lost = healthy.map((node) => node.leasesLost);
    this.#repeat(150, () => this.#faults.rattle(claimant.name));
    this.#repeat(300, () => {
      this.#changes.take(claimant, pick(this.#random, healthy)!.name);
      if (this.#changes.counts.revoked > 0) throw new Violation("C8: a healthy member was revoked");
      healthy.forEach((node, index) => {
        if (node.leasesLost !== lost[index]) throw new Violation(`C8: ${node.name} is healthy and lost its lease`);
      });
    });
  }

  /** Proposers like to crash right after they have spoken. */
  #proposed(proposer: ModelNode): void {
    const { timeline, network } = this.cluster;
    if (this.profile === "bad-claimant" || this.profile === "relapse" || timeline.now >= this.#endsAt) return;
    if (this.#random() >= 0.1) return;
    timeline.after(between(this.#random, 0, network.weather.delayMs * 3), () => this.#faults.crash(proposer, 50));
  }

  #repeat(meanMs: number, act: () => void): void {
    this.cluster.repeat(meanMs, this.#endsAt, act);
  }

  #mix(value: number): void {
    this.#trace = (Math.imul(this.#trace ^ value, 0x01000193) + 1) >>> 0;
  }
}

const PROFILES: readonly Profile[] = [
  "storm",
  "storm",
  "storm",
  "hunt",
  "hunt",
  "hunt",
  "relapse",
  "relapse",
  "bad-claimant",
];
