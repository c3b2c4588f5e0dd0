/** A member to which nobody can link, or which can link to nobody, while gossip and all else goes on: others serve what it has. */

import { expect, test } from "vitest";
import { World } from "./world.ts";

const CLOSED_AT_MS = 30_000;
const SERVED_AFTER_MS = 60_000;

/** How many partitions nobody serves a while after the ports were closed; and what the checkers found. */
function unservedWith(direction: "in" | "out", victim: string): readonly [unserved: number, violations: number] {
  const world = new World({ seed: 1, minutes: 2, faults: false, links: true, tasksPerSecond: 5 });
  const host = world.hosts.find(({ name }) => name === victim)!;
  let unserved = Number.NaN;
  world.agenda.after(CLOSED_AT_MS, () => {
    for (const { name } of world.hosts) {
      const [from, to] = direction === "in" ? [name, host.name] : [host.name, name];
      if (name !== host.name) world.network.shut(from, to, 2 * SERVED_AFTER_MS);
    }
  });
  world.agenda.after(CLOSED_AT_MS + SERVED_AFTER_MS, () => {
    unserved = world.ringSize - new Set(world.hosts.flatMap((each) => each.partitionsActive())).size;
  });
  const { violations } = world.run();
  return [unserved, violations.length];
}

test.each(["n1", "n2", "n5"])("P8: what %s has is served by others while its own port is closed", (victim) => {
  expect(unservedWith("in", victim)).toEqual([0, 0]);
});

test.each(["n1", "n5"])("P8: what %s has is served by others while it can link to nobody", (victim) => {
  expect(unservedWith("out", victim)).toEqual([0, 0]);
});
