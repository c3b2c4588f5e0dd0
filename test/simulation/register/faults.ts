/**
 * The faults of the register model: crashes, pauses, cuts in both or one direction, bad weather, a lost directory.
 */

import type { NodeName } from "../../../ring/ids.ts";
import type { Cluster } from "./cluster.ts";
import { memberIdFor, NAMES } from "./documents.ts";
import type { ModelNode } from "./node.ts";
import { between, pick } from "./world.ts";

export class Faults {
  readonly counts: { crashes: number; wipes: number } = { crashes: 0, wipes: 0 };
  readonly #cluster: Cluster;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** Returns the node that was cut off, if any. */
  any(): ModelNode | undefined {
    const { random, voterCount } = this.#cluster;
    const node = pick(random, this.#cluster.up());
    const dice = random();
    const lengthMs = between(random, 20, pick(random, [200, 3_000, 8_000])!);
    if (random() < 0.02 && this.counts.wipes === 0 && voterCount > 1) this.#wipe();
    if (node === undefined || !node.isUp) return undefined;
    if (dice < 0.3) this.crash(node, lengthMs);
    else if (dice < 0.4) this.#pause(node, lengthMs);
    else this.#cut(node, lengthMs);
    return dice < 0.4 ? undefined : node;
  }

  crash(node: ModelNode, lengthMs: number): void {
    if (!node.isUp) return;
    this.counts.crashes += 1;
    node.crash();
    this.#cluster.timeline.after(lengthMs, () => {
      if (!node.isUp) node.start();
    });
  }

  setWeather(): void {
    const { random, network } = this.#cluster;
    network.weather = {
      lossRate: pick(random, [0, 0, 0.05, 0.25])!,
      duplicateRate: pick(random, [0, 0.1])!,
      delayMs: pick(random, [3, 20, 100])!,
      lateRate: pick(random, [0, 0.05, 0.2])!,
      lateMs: pick(random, [300, 2_000])!,
    };
  }

  /** Cuts a random half of the one-way links between this node and the others, and mends all other links. */
  rattle(name: NodeName): void {
    const { random, network } = this.#cluster;
    network.cuts.clear();
    for (const other of NAMES) {
      if (random() < 0.5) network.cuts.add(`${name}>${other}`);
      if (random() < 0.5) network.cuts.add(`${other}>${name}`);
    }
  }

  isolate(name: NodeName): void {
    for (const other of NAMES) this.#cluster.network.cuts.add(`${name}>${other}`).add(`${other}>${name}`);
  }

  #pause(node: ModelNode, lengthMs: number): void {
    node.isPaused = true;
    this.#cluster.timeline.after(lengthMs, () => node.resume());
  }

  #cut(node: ModelNode, lengthMs: number): void {
    const { random, network, timeline } = this.#cluster;
    const isWhole = random() < 0.75;
    const direction = pick(random, ["both", "both", "both", "in", "out"])!;
    const others = isWhole ? NAMES.filter((name) => name !== node.name) : [pick(random, NAMES)!];
    const made: string[] = [];
    for (const other of others) {
      if (direction !== "in") made.push(`${node.name}>${other}`);
      if (direction !== "out") made.push(`${other}>${node.name}`);
    }
    for (const cut of made) network.cuts.add(cut);
    timeline.after(lengthMs, () => {
      for (const cut of made) network.cuts.delete(cut);
    });
  }

  /** The directory is gone for good. */
  #wipe(): void {
    const node = this.#cluster.node(pick(this.#cluster.random, NAMES)!);
    this.counts.wipes += 1;
    if (node.isUp) node.crash();
    node.wipe(memberIdFor(node.name, 2));
    node.start();
  }
}
