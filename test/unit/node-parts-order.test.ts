/** In which order the parts of a node follow the ring, where a wrong one would start what is no longer this node's. */

import { expect, test } from "vitest";
import { foundRing } from "../../ring/founding.ts";
import type { Epoch, MemberId, NodeName, Partition, RingId } from "../../ring/ids.ts";
import { PROFILES } from "../../ring/membership/profile.ts";
import { Swim } from "../../ring/membership/swim.ts";
import { Parts } from "../../ring/node/parts.ts";
import { TaskEngine } from "../../ring/tasks/engine.ts";
import { seededRandom } from "../../services/testing/random.ts";
import { SimulatedApps } from "../simulation/apps.ts";

test("P3: what a node gave up for want of the store is closed before anything may start again", () => {
  const random = seededRandom(1);
  const apps = new SimulatedApps();
  const member = { name: "n1" as NodeName, id: "id-1" as MemberId, weight: 100, machine: "m1", directory: "/n1" };
  const founding = foundRing({ ringId: "r" as RingId, ringSize: 8, member });
  const calls: string[] = [];
  const engine = new Proxy(new TaskEngine({ apps, random }), {
    get: (target, name: keyof TaskEngine) => {
      const value = target[name] as unknown;
      if (typeof value !== "function") return value;
      return (...given: unknown[]) => {
        calls.push(String(name));
        return value.apply(target, given) as unknown;
      };
    },
  });
  const parts = new Parts(
    {
      member,
      version: "test",
      swim: new Swim({
        name: member.name,
        address: { host: "n1", port: 7946 },
        tags: new Map(),
        profile: PROFILES.lan,
        random,
      }),
      register: {
        version: 1,
        member: member.name,
        memberId: member.id,
        starts: 0,
        document: founding,
        promised: undefined,
        accepted: undefined,
      },
      copies: [],
      engine,
      apps,
      random,
      leaseMs: 5_000,
      sharedStore: true,
      givenFor: founding.epoch + 1,
      autoJoin: false,
    },
    { emit: () => {}, toSelf: () => {} },
  );
  parts.follow(founding);
  for (let partition = 0; partition < 8; partition++)
    parts.hosting.opened(partition as Partition, { history: 0, generation: 1, opens: 1 });
  parts.here.now = 1_000;
  parts.storeLease.learned(6_000, []);
  expect(parts.storeLease.doubt).toBe(founding.epoch + 1);

  calls.length = 0;
  const other = { ...founding.members[0]!, name: "n2" as NodeName, id: "id-2" as MemberId };
  parts.follow({
    ...founding,
    epoch: (founding.epoch + 1) as Epoch,
    members: [...founding.members, other],
    owners: founding.owners.map(() => other.name),
  });
  const order = calls.filter((name) => name === "close" || name === "allowStarts");
  expect(order).toEqual([...Array.from({ length: 8 }, () => "close"), "allowStarts"]);
});
