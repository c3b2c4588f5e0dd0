/** A seal in a directory whose copy of the partition is of no use any more. */

import { expect, test } from "vitest";
import type { Epoch, MemberId, NodeName } from "../../ring/ids.ts";
import { sealChange } from "../../ring/node/rows.ts";
import { Disk } from "../../services/testing/disk.ts";
import { documentOf, P0, Parts, strandedOn } from "./node-parts.ts";

test("P3, H3: what was sealed starts nothing before the seal's epoch is known, also where the copy it lies beside is cleared", () => {
  const disk = new Disk("b" as NodeName, "id-b" as MemberId);
  // Half of a handoff from c, which died; then a peer that held this directory consented to give the partition up in epoch 10.
  disk.commit([{ partition: P0, term: { history: 1, generation: 1, opens: 0 }, changes: [sealChange(10)] }]);
  const byForce = documentOf({ epoch: 9, owner: "b", generation: 2, stranded: [strandedOn("c", 1)] });
  for (let life = 0; life < 2; life++) {
    const b = new Parts("b", disk);
    b.allowStarts(true);
    b.follow(byForce);
    b.submit(P0);
    expect(b.started).toEqual([]);
    expect(b.hosting.serving(P0)).toBe(false);
    expect(b.hosting.doubts()).toEqual([10]);
  }
  const b = new Parts("b", disk);
  b.allowStarts(true);
  b.follow(byForce);
  b.follow({ ...byForce, epoch: 10 as Epoch });
  expect(b.hosting.serving(P0)).toBe(true);
  expect(b.dropped).toEqual([P0]);
  b.submit(P0);
  expect(b.started).toHaveLength(1);
});
