/**
 * What membership must survive at any size, in virtual time: growth, a crash with its machine and without, loss, one-way
 * cuts, slow nodes, pauses, a partition and its heal, a restart of everybody at once. Each gives figures, and throws
 * where the promise is broken.
 */

import type { SwimProfile } from "../../ring/membership/profile.ts";
import { PROFILES } from "../../ring/membership/profile.ts";
import { alive, SwimCluster, type SwimNode, stateOf } from "./swim-cluster.ts";

export interface Scene {
  readonly nodes: number;
  readonly seed: number;
  readonly profile?: SwimProfile;
}

export interface Crash {
  /** From the crash to the first that holds it dead, and to the last. */
  readonly firstMs: number;
  readonly allMs: number;
}

export interface Story {
  readonly growMs: number;
  readonly crash: Crash;
  readonly events: number;
  readonly packets: number;
}

/** Grows a ring and kills one; with `machinesLive` its machine refuses connections, else it is silent. */
export function crashOne(
  scene: Scene & {
    readonly machinesLive: boolean;
    readonly linked?: boolean;
    readonly loss?: number;
    /** Event loops are blocked for up to so long, a few times a second. */
    readonly stutterMs?: number;
  },
): Story {
  const { cluster, growMs } = grown(scene);
  if (scene.stutterMs !== undefined) cluster.stutter({ longestMs: scene.stutterMs, everyMs: STUTTER_EVERY_MS });
  cluster.run(2_000 + Math.floor(cluster.random() * 1_000));
  const victim = cluster.nodes[1 + Math.floor(cluster.random() * (scene.nodes - 1))]!;
  const killedAt = cluster.now;
  if (scene.linked === true) cluster.killLinked(victim);
  else cluster.kill(victim);
  const others = cluster.nodes.filter((node) => node !== victim);
  step(cluster, () => others.every((node) => stateOf(node, victim.name) === "dead"), 120_000, 100);
  const times = others.map(
    (node) => node.notices.findLast(({ type, name }) => type === "member-dead" && name === victim.name)!.at - killedAt,
  );
  expectHealthy(cluster, others);
  return {
    growMs,
    crash: { firstMs: Math.min(...times), allMs: Math.max(...times) },
    events: cluster.events,
    packets: cluster.packets,
  };
}

/** Nodes that lose packets, cannot hear one peer, and are slow: nobody is dead after so long. */
export function disturb(scene: Scene & { readonly ms: number }): { readonly suspicions: number } {
  const { cluster } = grown({ ...scene, loss: 0.05 });
  const { nodes } = cluster;
  for (let index = 0; index < Math.max(1, scene.nodes / 10); index++) {
    cluster.cutOneWay(pick(cluster), pick(cluster));
    pick(cluster).delayMs = 80;
  }
  cluster.run(scene.ms);
  expectHealthy(cluster, nodes);
  return { suspicions: sum(nodes, (node) => node.swim.counters.suspicions) };
}

/** Some of the nodes stand still again and again, each time for so long; how often healthy ones were called dead. */
export function pause(
  scene: Scene & {
    readonly paused: number;
    readonly pauseMs: number;
    readonly cycles: number;
    readonly stutterMs?: number;
  },
): {
  readonly falseDeaths: number;
  readonly pausedDeaths: number;
} {
  const { cluster } = grown(scene);
  if (scene.stutterMs !== undefined) cluster.stutter({ longestMs: scene.stutterMs, everyMs: STUTTER_EVERY_MS });
  const { nodes } = cluster;
  const sleepers = nodes.slice(0, scene.paused);
  for (let cycle = 0; cycle < scene.cycles; cycle++) {
    for (const node of sleepers) cluster.pause(node);
    cluster.run(scene.pauseMs);
    for (const node of sleepers) cluster.resume(node);
    cluster.run(scene.pauseMs);
  }
  const names = new Set(sleepers.map(({ name }) => name));
  const deaths = nodes.flatMap((node) => node.notices.filter(({ type }) => type === "member-dead"));
  step(cluster, () => nodes.every((node) => alive(node).length === scene.nodes), 60_000, 500);
  return {
    falseDeaths: deaths.filter(({ name }) => !names.has(name)).length,
    pausedDeaths: deaths.filter(({ name }) => names.has(name)).length,
  };
}

/** Cut in two for a minute; how long after the heal until all see all. */
export function cutAndHeal(scene: Scene): number {
  const { cluster } = grown(scene);
  const { nodes } = cluster;
  const minority = Math.floor((2 * scene.nodes) / 5);
  cluster.cut(nodes.slice(0, minority), nodes.slice(minority));
  cluster.run(60_000);
  cluster.heal();
  return step(cluster, () => nodes.every((node) => alive(node).length === scene.nodes), 120_000, 100);
}

/** All killed and started again under their names and addresses within two seconds; how long until all see all. */
export function massRestart(scene: Scene): number {
  const { cluster } = grown(scene);
  const old = [...cluster.nodes];
  const young: SwimNode[] = [];
  const began = cluster.now;
  for (const [index, node] of old.entries()) {
    cluster.kill(node);
    const seeds = [0, 1, 2].map((place) => old[place]!).filter((seed) => seed.name !== node.name);
    young.push(cluster.start(node.name, { port: node.address.port }));
    cluster.give(young[index]!, { type: "join", addresses: seeds.map(({ address }) => address) });
    cluster.run(2_000 / scene.nodes);
  }
  step(cluster, () => young.every((node) => alive(node).length === scene.nodes), 120_000, 100);
  return cluster.now - began;
}

interface Grown {
  readonly cluster: SwimCluster;
  readonly growMs: number;
}

function grown({
  nodes,
  seed,
  profile = PROFILES.lan,
  loss = 0,
  machinesLive = true,
}: Scene & { readonly loss?: number; readonly machinesLive?: boolean }): Grown {
  const cluster = new SwimCluster({ seed, profile, loss, machinesLive });
  for (let index = 0; index < nodes; index++) {
    const first = cluster.nodes[0];
    cluster.start(`n${index + 1}`, { port: 1_000 + index, ...(first && { join: first }) });
    // A thousand starts in one millisecond are no ring's youth.
    if (index % 20 === 19) cluster.run(100);
  }
  const growMs = step(cluster, () => cluster.nodes.every((node) => alive(node).length === nodes), 180_000, 100);
  return { cluster, growMs };
}

/** As `until`, but looking only now and then: at a thousand nodes a look costs more than a step. */
function step(cluster: SwimCluster, condition: () => boolean, limitMs: number, everyMs: number): number {
  const began = cluster.now;
  while (!condition()) {
    if (cluster.now - began > limitMs) throw new Error(`not within ${limitMs} ms of virtual time`);
    cluster.run(everyMs);
  }
  return cluster.now - began;
}

function expectHealthy(cluster: SwimCluster, nodes: readonly SwimNode[]): void {
  const names = new Set(nodes.map(({ name }) => name));
  for (const node of nodes)
    for (const { type, name, at } of node.notices)
      if (type === "member-dead" && names.has(name))
        throw new Error(`${node.name} took ${name}, which lives, for dead at ${at} of ${cluster.now} ms`);
}

const STUTTER_EVERY_MS = 250;

function pick(cluster: SwimCluster): SwimNode {
  return cluster.nodes[Math.floor(cluster.random() * cluster.nodes.length)]!;
}

function sum(nodes: readonly SwimNode[], of: (node: SwimNode) => number): number {
  return nodes.reduce((total, node) => total + of(node), 0);
}
