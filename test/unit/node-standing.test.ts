/** What a node admits and starts, by what it holds. */

import { expect, test } from "vitest";
import type { MemberId, NodeName, Partition } from "../../ring/ids.ts";
import { Standing, type StandingParts } from "../../ring/node/standing.ts";
import type { TaskEngineContract } from "../../ring/tasks/engine-contract.ts";
import { documentOf } from "./node-parts.ts";

const P = 0 as Partition;

/** A member with a lease and a store, which serves its partition, except as said. */
function standing(parts: Partial<StandingParts>): { readonly it: Standing; readonly starts: () => boolean } {
  let allowed = false;
  const engine = {
    allowStarts: (_now: number, allows: boolean): void => {
      allowed = allows;
    },
  };
  const here = {
    self: "a" as NodeName,
    memberId: "id-a" as MemberId,
    now: 1_000,
    document: documentOf({ epoch: 1 }),
    emit: () => {},
    send: () => {},
    linked: () => true,
    note: () => {},
  };
  const it = new Standing(here, {
    engine: engine as unknown as TaskEngineContract,
    memberId: here.memberId,
    leaseUntil: () => 2_000,
    holdsStore: () => true,
    isStopping: () => false,
    serves: () => true,
    mayServe: () => {},
    ...parts,
  });
  it.start();
  it.allowStarts();
  return { it, starts: () => allowed };
}

test.each([
  ["serve", {}, true],
  ["no-lease", { leaseUntil: () => undefined }, false],
  ["no-lease", { holdsStore: () => false }, false],
  ["wait", { serves: () => false }, true],
  ["draining", { isStopping: () => true }, false],
] as const)(
  "P3: %s: a node admits and starts tasks only with a lease and a store that it holds",
  (said, parts, starts) => {
    const { it, starts: allowed } = standing(parts);
    expect(it.admission(P)).toBe(said);
    expect(allowed()).toBe(starts);
  },
);

test("P3: a lease that has run out is none, whether or not anybody has said so", () => {
  const { it } = standing({});
  expect(it.holdsLease(1_999)).toBe(true);
  expect(it.holdsLease(2_000)).toBe(false);
});

test("a full disk takes no new work, and a broken store none at all", () => {
  const { it, starts } = standing({});
  it.storeFull(true);
  expect(it.admission(P)).toBe("disk-full");
  it.storeFull(false);
  expect(it.admission(P)).toBe("serve");
  it.storeBroke("no answer from the disk");
  expect(it.admission(P)).toBe("draining");
  expect(starts()).toBe(false);
  it.allowStarts();
  expect(starts()).toBe(false);
});
