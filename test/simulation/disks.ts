/**
 * Faults of disks: those of dead members that cannot be read, or no longer, by whoever adopts them; those that stand still, as a
 * whole or for the register file alone; and processes that come back again and again while a voter's disk is behind.
 */

import type { Host } from "../../services/testing/host.ts";
import type { World } from "./world.ts";

/** Beside faults of the other kinds: what these are for comes with deaths and moves. */
export const DISKS = [
  "broken-adopted",
  "broken-adopted",
  "broken-adopted",
  "broken-found",
  "still",
  "still",
  "still-some",
  "still-registers",
  "flap",
  "flap",
  "crash-adopter",
  "crash-consent",
  "crash-some",
  "disk-full",
  "crash",
  "pause",
  "drain",
  "leave",
  "weight",
] as const;

/** False if the fault is not one of these. */
export function diskFault(world: World, kind: string, host: Host): boolean {
  const { agenda, random, hosts } = world;
  const back = (each: Host, mostMs: number): void =>
    agenda.after(random.between(300, mostMs), () => each.start({ seeds: world.seeds() }));
  switch (kind) {
    case "broken-adopted": {
      // In the middle of its adoption, for less or longer than a directory is left to others.
      const victim = hosts[random.below(3)]!;
      victim.crash();
      back(victim, random.chance(0.5) ? 3_000 : 60_000);
      world.whenAdopted = () => {
        world.whenAdopted = undefined;
        agenda.after(random.chance(0.5) ? random.between(0, 30) : random.between(0, 600), () =>
          breakFor(world, victim, random.chance(0.5) ? 2_000 : 40_000),
        );
      };
      return true;
    }
    case "broken-found": {
      const victim = hosts[random.below(3)]!;
      victim.crash();
      breakFor(world, victim, 40_000);
      back(victim, 60_000);
      return true;
    }
    case "still":
      still(world, host);
      if (random.chance(0.3)) {
        agenda.after(random.between(0, 5_000), () => host.crash());
        agenda.after(random.between(5_100, 20_000), () => host.start({ seeds: world.seeds() }));
      }
      return true;
    case "still-some":
      for (const each of hosts)
        if (random.chance(0.5)) agenda.after(random.between(0, 3_000), () => still(world, each));
      return true;
    case "still-registers":
      for (const { disk } of hosts)
        if (random.chance(0.5)) disk.registerBusyUntil = agenda.now + random.between(500, 9_000);
      return true;
    case "flap": {
      const behind = random.pick(hosts);
      behind.disk.registerBusyUntil = agenda.now + random.between(500, 9_000);
      let at = 0;
      for (let count = 2 + random.below(5); count > 0; count--) {
        agenda.after(at, () => host.crash());
        at += random.between(1, random.chance(0.5) ? 50 : 1_500);
        agenda.after(at, () => host.start({ seeds: world.seeds() }));
        at += random.between(1, random.chance(0.5) ? 300 : 3_000);
      }
      return true;
    }
    default:
      return false;
  }
}

export function healDisks(hosts: readonly Host[]): void {
  for (const { disk } of hosts) {
    disk.slowMs = 0;
    disk.stillUntil = 0;
    disk.brokenUntil = 0;
  }
}

function breakFor({ agenda, random }: World, { disk }: Host, mostMs: number): void {
  disk.brokenUntil = agenda.now + random.between(100, mostMs);
}

/** Now and then for longer than whoever waits for it does. */
function still({ agenda, random }: World, { disk }: Host): void {
  disk.stillUntil = agenda.now + (random.chance(0.8) ? random.between(300, 9_000) : random.between(10_000, 20_000));
}
