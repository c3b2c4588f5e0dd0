/** A member is removed by force and another one joins under its name, in one plan. */

import { expect, test } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import { foundRing } from "../../ring/founding.ts";
import type { MemberId, NodeName, RingId } from "../../ring/ids.ts";
import { commitPlan, planOf } from "../../ring/plan.ts";
import { stageChange } from "../../ring/staging.ts";
import { checkSuccessor } from "../../ring/successor.ts";
import { fenceOf } from "../../ring/tasks/fence.ts";
import { moveDone, plannedMoves } from "../../ring/transition.ts";

const member = (name: string, id = `id-${name}`) => ({
  name: name as NodeName,
  id: id as MemberId,
  weight: 100,
  machine: `m-${name}`,
  directory: `/${id}`,
});

/** a (the only voter) and b with half of the ring each. */
function ring(): RingDocument {
  const founded = foundRing({ ringId: "ring-1" as RingId, ringSize: 8, member: member("a") });
  const staged = stageChange(founded, { type: "join", member: member("b") });
  const joined = commitPlan(staged, planOf(staged).id);
  return moveDone(joined, plannedMoves(joined));
}

test("rule 15, P2, P8: a namesake with an empty disk does not go on at the generation of the member that was removed", () => {
  const before = ring();
  const lost = before.owners.flatMap((owner, at) => (owner === "b" ? [at] : []));
  expect(lost).toHaveLength(4);
  let staged: RingDocument;
  try {
    staged = stageChange(stageChange(before, { type: "force-remove", name: "b" as NodeName }), {
      type: "join",
      member: member("b", "id-b2"),
    });
  } catch {
    return; // refused: one after the other
  }
  const plan = planOf(staged);
  const after = commitPlan(staged, plan.id);
  expect(checkSuccessor(staged, after)).toEqual([]); // nobody votes against it
  expect(after.members.find(({ name }) => name === "b")?.id).toBe("id-b2");
  for (const partition of lost) {
    // Another member owns it, so its owner has changed: what the plan shows, and what fences are made of, must say so.
    expect(plan.moves.some((move) => move.partition === partition && move.type === "forced")).toBe(true);
    if (after.owners[partition] !== "b") continue;
    const fence = (generation: number, opens: number) => fenceOf({ history: 1, generation, opens }, 1);
    expect(fence(after.generations[partition]!, 1)).toBeGreaterThan(fence(before.generations[partition]!, 3));
  }
});
