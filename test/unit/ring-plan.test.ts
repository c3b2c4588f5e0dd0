/** Plans of the ring document: what is shown, and what a commit does to owners and statuses. */

import { describe, expect, test } from "vitest";
import { commitPlan, planOf } from "../../ring/plan.ts";
import { checkSuccessor } from "../../ring/successor.ts";
import { isPlanned, markDown, moveDone, plannedMoves, rebalance, retireMembers } from "../../ring/transition.ts";
import { commit, founded, name, newcomer, owned, ringOf, stage, statusOf, transferred, voted } from "./ring-changes.ts";

describe("plan and commit", () => {
  test("P8: a plan shows shares, moves, steps and warnings before anything moves", () => {
    const plan = planOf(stage(founded(), { type: "join", member: newcomer("b") }));
    expect(plan.id).toMatch(/^[0-9a-f]{16}$/);
    expect(plan.moves.length).toBe(32);
    expect(plan.moves.every((move) => move.from === "a" && move.to === "b" && move.type === "transfer")).toBe(true);
    expect(plan.members).toMatchObject([
      { name: "a", partitionsBefore: 64, partitionsAfter: 32 },
      { name: "b", statusAfter: "joining", partitionsBefore: 0, partitionsAfter: 32 },
    ]);
    expect(plan.transitions.map((transition) => transition.type)).toEqual(["commit", "transfer"]);
    expect(plan.warnings.map((warning) => warning.code)).toEqual(["NO_FAILOVER"]);
  });

  test("P8: a commit with another id is refused with PLAN_CHANGED, and one that is sent again answers ok", () => {
    const staged = stage(founded(), { type: "join", member: newcomer("b") });
    const { id } = planOf(staged);
    const more = stage(staged, { type: "join", member: newcomer("c") });
    expect(() => commitPlan(more, id)).toThrow(expect.objectContaining({ code: "PLAN_CHANGED" }));
    const committed = commitPlan(staged, id);
    expect(committed.staged).toEqual([]);
    expect(commitPlan(committed, id)).toBe(committed);
  });

  test("P8: plans that move nothing but stage different changes have different ids", () => {
    const idOf = (zone: string): string => {
      const staged = stage(ringOf("ab"), { type: "set-zone", name: name("b"), zone });
      const { id, moves } = planOf(staged);
      expect(moves).toEqual([]);
      return id;
    };
    expect(idOf("north")).not.toBe(idOf("south"));
    const north = stage(ringOf("ab"), { type: "set-zone", name: name("b"), zone: "north" });
    expect(() => commitPlan(north, idOf("south"))).toThrow(expect.objectContaining({ code: "PLAN_CHANGED" }));
  });

  test("P8: a plan is void once other owners would come of the same staged changes", () => {
    const staged = stage(ringOf("abc"), { type: "join", member: newcomer("d") });
    const { id } = planOf(staged);
    const meanwhile = markDown(staged, [name("c")], { keepStranded: true });
    expect(() => commitPlan(meanwhile, id)).toThrow(expect.objectContaining({ code: "PLAN_CHANGED" }));
  });

  test("a plan that was applied before is applied again when it is staged again", () => {
    let document = ringOf("ab");
    const weigh = (weight: number): void => {
      document = transferred(commit(stage(document, { type: "set-weight", name: name("b"), weight })));
    };
    weigh(50);
    weigh(100);
    weigh(50);
    expect(document.members[1]?.weight).toBe(50);
    expect(document.staged).toEqual([]);
  });

  test("P8: a plan that was applied and is shown again is refused like another once it is no longer that one", () => {
    let document = ringOf("ab");
    const weighed = (weight: number): typeof document =>
      stage(document, { type: "set-weight", name: name("b"), weight });
    for (const weight of [50, 100]) document = transferred(commit(weighed(weight)));
    const staged = weighed(50);
    const { id } = planOf(staged);
    const more = stage(staged, { type: "leave", name: name("a") });
    expect(() => commitPlan(more, id)).toThrow(expect.objectContaining({ code: "PLAN_CHANGED" }));
    const committed = commitPlan(staged, id);
    expect(commitPlan(committed, id)).toBe(committed);
  });

  test("a join makes the newcomer joining, its first cut-over makes it valid, and each cut-over raises one generation", () => {
    const document = commit(stage(founded(), { type: "join", member: newcomer("b") }));
    expect(statusOf(document, "b")).toBe("joining");
    const [move] = plannedMoves(document);
    const next = moveDone(document, [move!]);
    expect(statusOf(next, "b")).toBe("valid");
    expect(next.owners[move!.partition]).toBe("b");
    expect(next.generations.filter((generation) => generation === 2).length).toBe(1);
    expect(isPlanned(next, move!)).toBe(false);
    expect(() => moveDone(next, [move!])).toThrow(expect.objectContaining({ code: "RING_BUSY" }));
  });

  test("a newcomer without a share is valid at once", () => {
    const document = commit(stage(founded(), { type: "join", member: newcomer("b", { weight: 0 }) }));
    expect(statusOf(document, "b")).toBe("valid");
    expect(plannedMoves(document)).toEqual([]);
  });

  test("a member that leaves gives all it has away, is exiting then, and is retired once it votes no more", () => {
    let document = commit(stage(ringOf("abcd"), { type: "leave", name: name("a") }));
    expect(statusOf(document, "a")).toBe("leaving");
    expect(plannedMoves(document).every((move) => move.from === "a")).toBe(true);
    expect(plannedMoves(document).length).toBe(16);
    document = transferred(document);
    expect(statusOf(document, "a")).toBe("exiting");
    expect(retireMembers(document)).toBe(document);
    document = retireMembers(voted(document));
    expect(statusOf(document, "a")).toBeUndefined();
    expect(document.voters).toEqual(["b", "c", "d"]);
  });

  test("a replacement gets exactly the partitions and the weight of the one it replaces", () => {
    const before = ringOf("abcde");
    const staged = stage(
      before,
      { type: "join", member: newcomer("f", { weight: 7 }) },
      { type: "replace", name: name("b"), by: name("f") },
    );
    const after = transferred(commit(staged));
    expect(after.owners.map((owner) => (owner === "f" ? "b" : owner))).toEqual(before.owners);
    expect(after.members.find((member) => member.name === "f")?.weight).toBe(100);
    expect(rebalance(after)).toBe(after);
  });

  test("a new weight moves only the difference", () => {
    const document = commit(stage(ringOf("ab"), { type: "set-weight", name: name("b"), weight: 300 }));
    expect(plannedMoves(document).length).toBe(16);
    expect(owned(transferred(document), "b")).toBe(48);
  });

  test("a zone is set and removed without a move", () => {
    const zoned = commit(stage(ringOf("ab"), { type: "set-zone", name: name("b"), zone: "z1" }));
    expect(zoned.members[1]).toHaveProperty("zone", "z1");
    expect(plannedMoves(zoned)).toEqual([]);
    expect(commit(stage(zoned, { type: "set-zone", name: name("b") })).members[1]).not.toHaveProperty("zone");
  });

  test("force-remove says that data is lost, changes hands at once and leaves nothing stranded", () => {
    const started = commit(stage(ringOf("abcdef"), { type: "down", name: name("f") }));
    expect(started.stranded.length).toBeGreaterThan(0);
    for (const [text, status] of [
      ["f", undefined],
      ["a", "exiting"],
    ] as const) {
      const staged = stage(started, { type: "force-remove", name: name(text) });
      const plan = planOf(staged);
      expect(plan.warnings.map((warning) => warning.code)).toContain("DATA_LOST");
      const document = commitPlan(staged, plan.id);
      expect(checkSuccessor(staged, document)).toEqual([]);
      expect(statusOf(document, text)).toBe(status); // a voter stays listed until another votes
      expect(owned(document, text)).toBe(0);
      expect(document.stranded.filter((entry) => entry.member === text)).toEqual([]);
    }
  });

  test("undoing a join whose transfers have not ended leaves every partition where it is", () => {
    const before = ringOf("abc");
    const joining = commit(stage(before, { type: "join", member: newcomer("d") }));
    const staged = stage(joining, { type: "leave", name: name("d") });
    expect(planOf(staged).cancelled.length).toBe(16);
    const undone = commit(staged);
    expect(plannedMoves(undone)).toEqual([]);
    expect(undone.owners).toEqual(before.owners);
    expect(statusOf(undone, "d")).toBe("exiting");
  });

  test("P8: what arrived at a member since its removal was planned voids the plan: more would be lost than it showed", () => {
    for (const type of ["force-remove", "down"] as const) {
      const joining = commit(stage(ringOf("abc"), { type: "join", member: newcomer("d") }));
      const staged = stage(joining, { type, name: name("d") });
      const { id, moves } = planOf(staged);
      expect(moves.filter((move) => move.type === "forced")).toEqual([]);
      const later = moveDone(staged, plannedMoves(staged).slice(0, 3));
      expect(() => commitPlan(later, id)).toThrowError(expect.objectContaining({ code: "PLAN_CHANGED" }));
      expect(planOf(later).moves.filter((move) => move.type === "forced")).toHaveLength(3);
    }
  });

  test("a staged change that events overtook is left out with a warning", () => {
    const staged = stage(ringOf("abc"), { type: "leave", name: name("b") });
    const overtaken = markDown(staged, [name("b")], { keepStranded: true });
    const plan = planOf(overtaken);
    expect(plan.warnings.map((warning) => warning.code)).toContain("OVERTAKEN");
    expect(statusOf(commitPlan(overtaken, plan.id), "b")).toBe("down");
  });

  test("too few partitions for the members are an imbalance, and zones on some members only are mixed", () => {
    const codes = planOf(ringOf("abcde", 8)).warnings.map((warning) => warning.code);
    expect(codes).toContain("IMBALANCE");
    const mixed = planOf(ringOf("abc", 64, (letter) => (letter === "a" ? { zone: "z" } : {})));
    expect(mixed.warnings.map((warning) => warning.code)).toContain("ZONES_MIXED");
  });

  test("when the last member with a weight leaves, the others share equally, and the plan says so", () => {
    let document = commit(stage(ringOf("abc"), { type: "set-weight", name: name("a"), weight: 0 }));
    document = commit(stage(document, { type: "set-weight", name: name("b"), weight: 0 }));
    const staged = stage(document, { type: "leave", name: name("c") });
    const { warnings } = planOf(staged);
    expect(warnings.find((warning) => warning.code === "IMBALANCE")?.text).toMatch(
      /no member that is left has a weight/,
    );
    const left = commit(staged);
    const after = moveDone(left, plannedMoves(left));
    expect(["a", "b"].map((text) => owned(after, text))).toEqual([32, 32]);
  });
});
