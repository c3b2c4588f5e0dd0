/**
 * Faults that come together: several processes at once, the whole cluster, whoever adopts the one that has just died,
 * messages between nodes said twice, a member drained and brought back, a disk that is full for a while, everything slow.
 */

import type { Host } from "../../services/testing/host.ts";
import type { World } from "./world.ts";

export const STORMS = [
  "crash-some",
  "crash-all",
  "crash-adopter",
  "crash-adopter",
  "crash-consent",
  "crash-consent",
  "slow",
  "slow",
  "stop-all",
  "repeat",
  "drain",
  "disk-full",
  "crash",
  "pause",
  "cut",
  "leave",
  "weight",
] as const;

export type StormKind = (typeof STORMS)[number];

/** False if the fault is not one of these. */
export function storm(world: World, kind: string, host: Host): boolean {
  const { agenda, random, hosts } = world;
  const back = (each: Host, mostMs: number): void =>
    agenda.after(random.between(300, mostMs), () => each.start({ seeds: world.seeds() }));
  switch (kind) {
    case "crash-some": {
      const count = 2 + random.below(hosts.length - 2);
      for (let hit = 0; hit < count; hit++) {
        const each = random.pick(hosts);
        agenda.after(random.between(0, 300), () => each.crash());
        agenda.after(random.between(400, 15_000), () => each.start({ seeds: world.seeds() }));
      }
      return true;
    }
    case "crash-all":
      for (const each of hosts) {
        each.crash();
        // Now and then one stays away for long: the others must do without it.
        if (random.chance(0.2))
          agenda.after(random.between(1_000, 200_000), () => each.start({ seeds: world.seeds() }));
        else back(each, 4_000);
      }
      return true;
    case "stop-all":
      for (const each of hosts) each.stop(random.between(200, 3_000));
      return true;
    case "crash-adopter": {
      const victim = hosts[random.below(3)]!;
      victim.crash();
      back(victim, 12_000);
      world.whenAdopted = (adopter) => {
        world.whenAdopted = undefined;
        agenda.after(random.chance(0.5) ? random.between(0, 30) : random.between(0, 600), () => {
          adopter.crash();
          back(adopter, random.chance(0.5) ? 800 : 10_000);
        });
      };
      return true;
    }
    case "crash-consent": {
      // In the middle of a cut-over: everybody, or all but one.
      const spared = random.chance(0.5) ? random.pick(hosts) : undefined;
      world.whenConsented = () => {
        for (const each of hosts) {
          if (each === spared) continue;
          each.crash();
          back(each, 3_000);
        }
      };
      drain(world, host);
      return true;
    }
    case "slow":
      // Disks, links or both, while members go, come back and are drained: all that takes a moment else takes long.
      if (random.chance(0.7)) for (const each of hosts) each.disk.slowMs = random.between(0, 80);
      if (random.chance(0.7)) world.network.weather.lagMs = random.between(5, 80);
      for (let count = 1 + random.below(3); count > 0; count--) {
        const victim = random.pick(hosts);
        agenda.after(random.between(0, 10_000), () => {
          victim.crash();
          back(victim, 12_000);
        });
        const drained = random.pick(hosts);
        agenda.after(random.between(0, 15_000), () => drain(world, drained));
      }
      agenda.after(random.between(15_000, 30_000), () => {
        for (const each of hosts) each.disk.slowMs = 0;
        world.network.weather.lagMs = 0;
      });
      return true;
    case "repeat":
      world.network.weather.repeat = random.between(0.01, 0.2);
      agenda.after(random.between(2_000, 12_000), () => {
        world.network.weather.repeat = 0;
      });
      return true;
    case "drain":
      drain(world, host);
      return true;
    case "disk-full": {
      const forMs = random.between(1_000, 15_000);
      host.step({ type: "store-full", full: true });
      agenda.after(forMs, () => host.step({ type: "store-full", full: false }));
      // Whoever adopts its directory finds no room either.
      host.disk.fullUntil = agenda.now + forMs;
      if (random.chance(0.5)) {
        host.crash();
        back(host, 20_000);
      }
      return true;
    }
    default:
      return false;
  }
}

/** Moves all partitions of a member away, and lets it have some again after a while. */
function drain(world: World, host: Host): void {
  const { agenda, random, hosts } = world;
  const ask = (askId: number, wanted: boolean): void =>
    random
      .pick(hosts)
      .step({ type: "ask", askId, request: { type: "drain", name: host.name, drain: wanted }, deadlineMs: 5_000 });
  ask(3, true);
  agenda.after(random.between(3_000, 20_000), () => ask(4, false));
}
