/**
 * Faults of links while gossip goes on: those of one direction that break and are made again, ports that a firewall closes for a
 * while, to all or to some, and processes that come and go meanwhile.
 */

import type { Host } from "../../services/testing/host.ts";
import type { World } from "./world.ts";

/** Beside faults of the other kinds: what these are for comes with deaths and moves. */
export const LINKS = [
  "break",
  "break",
  "break-adopter",
  "break-adopter",
  "shut-one",
  "shut-one",
  "shut-some",
  "shut-some",
  "shut-out",
  "crash-adopter",
  "crash-consent",
  "crash-some",
  "stop-all",
  "repeat",
  "crash",
  "pause",
  "one-way",
  "cut",
  "drain",
  "leave",
  "weight",
] as const;

/** False if the fault is not one of these. */
export function linkFault(world: World, kind: string, host: Host): boolean {
  const { agenda, random, hosts, network } = world;
  const breakSome = (mostMs: number): void => {
    for (let count = 1 + random.below(12); count > 0; count--) {
      const [from, to] = [random.pick(hosts), random.pick(hosts)];
      agenda.after(random.between(0, mostMs), () => from.wires.broke(to.name, 0));
    }
  };
  switch (kind) {
    case "break":
      breakSome(random.chance(0.5) ? 200 : 5_000);
      return true;
    case "break-adopter": {
      const victim = hosts[random.below(3)]!;
      victim.crash();
      agenda.after(random.between(300, 12_000), () => victim.start({ seeds: world.seeds() }));
      world.whenAdopted = (adopter) => {
        world.whenAdopted = undefined;
        for (const other of hosts) {
          if (other === adopter || random.chance(0.3)) continue;
          const [from, to] = random.chance(0.5) ? [adopter, other] : [other, adopter];
          const isShut = random.chance(0.3);
          agenda.after(random.between(0, 1_000), () => {
            if (isShut) network.shut(from.name, to.name, random.between(3_000, 40_000));
            from.wires.broke(to.name, 0);
          });
        }
      };
      return true;
    }
    case "shut-one": {
      // Nobody can link to it; what it says itself is heard.
      const forMs = random.between(5_000, 60_000);
      for (const other of hosts) if (other !== host) network.shut(other.name, host.name, forMs);
      return true;
    }
    case "shut-out": {
      // It can link to nobody; what others say is heard.
      const forMs = random.between(5_000, 60_000);
      for (const other of hosts) if (other !== host) network.shut(host.name, other.name, forMs);
      return true;
    }
    case "shut-some": {
      const share = random.between(0.1, 0.5);
      for (const from of hosts)
        for (const to of hosts)
          if (from !== to && random.chance(share)) network.shut(from.name, to.name, random.between(5_000, 60_000));
      if (random.chance(0.5)) return true;
      const victim = random.pick(hosts);
      victim.crash();
      agenda.after(random.between(300, 20_000), () => victim.start({ seeds: world.seeds() }));
      return true;
    }
    default:
      return false;
  }
}
