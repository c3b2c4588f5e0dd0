/**
 * What befalls a ring that has a bad day: nodes are killed, stand still and restart as planned while others do, adopters
 * and joining nodes among them; two join and two leave. Moments and victims are seeded, and any of it may fall together.
 */

import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { RingError } from "../../ring/errors.ts";
import { monotonicNow } from "../../services/history/line.ts";
import { type Fault, join, killAndRestart, leave, type Scene } from "./faults.ts";

/** Addresses that stay with each node, as in most deployments: so those that come back find each other, and clients them. */
export interface FixedAddresses {
  readonly gossip: string;
  readonly grpc: string;
}

export async function fixedAddresses(names: readonly string[]): Promise<ReadonlyMap<string, FixedAddresses>> {
  const servers = names.flatMap(() => [createServer(), createServer()]).map((server) => server.listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const free = servers.map((server) => `127.0.0.1:${(server.address() as AddressInfo).port}`);
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return new Map(names.map((name, index) => [name, { gossip: free[2 * index]!, grpc: free[2 * index + 1]! }]));
}

export function planHardFaults(scene: Scene): readonly Fault[] {
  const { random, spanMs } = scene;
  const faults: Fault[] = [];
  const plan = (name: string, run: () => Promise<void>): void => {
    faults.push({ name, atMs: random.between(0.05, 0.9) * spanMs, run });
  };
  for (let kill = 0; kill < KILLS; kill++) {
    const downMs = random.between(300, 6_000);
    plan(`kill one for ${seconds(downMs)}`, () => onOne(scene, (name) => killAndRestart(scene, name, downMs)));
  }
  for (let pause = 0; pause < PAUSES; pause++) {
    const ms = random.between(200, LONGEST_PAUSE_MS);
    plan(`pause one for ${seconds(ms)}`, () => onOne(scene, (name) => pauseOne(scene, name, ms)));
  }
  plan("restart one", () => onOne(scene, (name) => restart(scene, name)));
  for (const name of ["n4", "n5"]) plan(`join ${name}`, () => join(scene, name));
  const leaving = new Set<string>();
  const leaveOnce = async (name: string): Promise<void> => {
    if (leaving.has(name)) return scene.say("leaves already");
    leaving.add(name);
    await leave(scene, name).catch((error: unknown) => {
      if (!(error instanceof RingError) || !error.message.includes(LAST)) throw error;
      scene.say(error.message);
    });
  };
  for (let left = 0; left < LEAVES; left++) plan("one leaves", () => onOne(scene, leaveOnce));
  return faults.sort((a, b) => a.atMs - b.atMs);
}

/** Some node that runs now and that nothing else has been done to. */
async function onOne({ lab, random, say, busy }: Scene, act: (name: string) => Promise<void>): Promise<void> {
  const free = lab.names().filter((name) => !busy.has(name));
  if (free.length < 2) return say("not now: the others are down");
  const name = random.pick(free);
  say(name);
  busy.add(name);
  try {
    await act(name);
  } finally {
    busy.delete(name);
  }
}

async function pauseOne({ lab, history }: Scene, name: string, ms: number): Promise<void> {
  const { pid } = lab.node(name);
  const from = monotonicNow();
  lab.freeze(name);
  await new Promise((resolve) => setTimeout(resolve, ms));
  lab.thaw(name);
  history.paused(pid, from);
}

async function restart({ lab, say, seedsOf }: Scene, name: string): Promise<void> {
  const code = await lab.stop(name, 60_000);
  if (code !== 0) throw new Error(`${name} ended its planned stop with ${code}`);
  await lab.start(name, { autoJoin: false, deadlineMs: 60_000, ...seedsOf?.(name) }).catch((error: unknown) => {
    say(`${name} did not come back: ${String(error)}`);
  });
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}

/** Of the only member that is not leaving yet. */
const LAST = "is the last member";
const KILLS = 5;
const PAUSES = 3;
const LEAVES = 2;
/** Shorter than it takes to give a silent node's partitions to others: what waits on it is not passed by newer tasks. */
const LONGEST_PAUSE_MS = 2_500;
