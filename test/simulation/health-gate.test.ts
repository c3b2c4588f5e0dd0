/**
 * The application health gate in a whole cluster: a node whose store fails says so, loses its partitions in order while
 * tasks run all the time, and has its share again once it is well. Seen to fail with a gate that never gives back, and
 * with one that takes by force (tasks run twice).
 */

import { expect, test } from "vitest";
import type { NodeName } from "../../ring/ids.ts";
import { type SimulationResult, World } from "./world.ts";

test("a node that does badly loses its partitions within 20 s, gets them back within 40 s, and nothing runs twice", () => {
  for (const seed of [1, 2, 3]) {
    const owned: number[] = [];
    const { result, epochs } = run(seed, (world, at) => {
      // The first one is the claimant itself.
      const ill = world.hosts[seed - 1]!;
      const look = (): void => void owned.push(ownedBy(world, ill.name));
      at(60, () => {
        look();
        ill.say("store");
      });
      at(80, look);
      at(120, () => {
        look();
        ill.say("ok");
      });
      at(160, look);
    });
    expect(result.violations, `seed ${seed}`).toEqual([]);
    expect(result.reruns, `seed ${seed}`).toBe(0);
    const [before = 0, gone, still, back] = owned;
    expect(before, `seed ${seed}`).toBeGreaterThan(2);
    expect([gone, still], `seed ${seed}`).toEqual([0, 0]);
    expect(back, `seed ${seed}`).toBeGreaterThanOrEqual(3);
    // One change to take, one to give back, and the cut-overs of each, of which several share an epoch.
    expect(epochs, `seed ${seed}`).toBeLessThanOrEqual(2 + 2 * before);
  }
});

test("nodes that all do badly keep the ring: at most half of them lose their partitions, the claimant may be one", () => {
  const held: (readonly number[])[] = [];
  const { result } = run(4, (world, at) => {
    at(60, () => {
      for (const host of world.hosts.slice(0, 4)) host.say("progress");
    });
    at(120, () => void held.push(world.hosts.map(({ name }) => ownedBy(world, name))));
    at(120, () => {
      for (const host of world.hosts) host.say("progress");
    });
    at(150, () => void held.push(world.hosts.map(({ name }) => ownedBy(world, name))));
    at(150, () => {
      for (const host of world.hosts) host.say("ok");
    });
  });
  expect(result.violations).toEqual([]);
  expect(held[0]!.filter((count) => count === 0)).toHaveLength(2);
  expect(held[1]!.filter((count) => count === 0)).toHaveLength(2);
});

function run(
  seed: number,
  plan: (world: World, at: (seconds: number, act: () => void) => void) => void,
): { readonly result: SimulationResult; readonly epochs: number } {
  const world = new World({ seed, minutes: 3.5, faults: false });
  const epochs: number[] = [];
  const count = (): void => void epochs.push(world.hosts[0]!.machine!.document!.epoch);
  world.agenda.after(59_000, count);
  // At its end the run asks every node to take its share, and such a wish is a change of the ring, too.
  world.agenda.after(209_000, count);
  plan(world, (seconds, act) => world.agenda.after(seconds * 1_000, act));
  const result = world.run();
  return { result, epochs: epochs[1]! - epochs[0]! };
}

function ownedBy(world: World, name: NodeName): number {
  return world.hosts[0]!.machine!.document!.owners.filter((owner) => owner === name).length;
}
