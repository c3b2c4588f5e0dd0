import { describe, expect, test } from "vitest";
import type { Epoch, NodeName } from "../../ring/ids.ts";
import { type LeaseEffect, LeaseHolder } from "../../ring/register/lease.ts";
import { changed, firstDocument, memberIdFor } from "../simulation/register/documents.ts";

const [A, B, C, D] = ["a", "b", "c", "d"] as NodeName[] as [NodeName, NodeName, NodeName, NodeName];
const document = firstDocument(3);

function holder(): LeaseHolder {
  return new LeaseHolder({ member: D, memberId: memberIdFor(D, 1), leaseMs: 5_000 });
}

function granted(from: NodeName, epoch: number, request: number): Parameters<LeaseHolder["step"]>[1] {
  return { type: "granted", from, epoch: epoch as Epoch, request };
}

function types(effects: readonly LeaseEffect[]): readonly string[] {
  return effects.map(({ type }) => type);
}

describe("a lease holder", () => {
  test("holds a lease from when it asked, once a majority has answered", () => {
    const lease = holder();
    expect(lease.step(1_000, { type: "document", document })).toEqual([
      { type: "ask", to: [A, B, C], epoch: 1, request: 1 },
    ]);
    expect(lease.step(1_100, granted(A, 1, 1))).toEqual([]);
    expect(lease.step(1_110, granted(A, 1, 1))).toEqual([]);
    expect(lease.step(1_400, granted(C, 1, 1))).toEqual([{ type: "lease", heldUntil: 6_000 }]);
    expect(lease.heldUntil(5_999)).toBe(6_000);
    expect(lease.heldUntil(6_000)).toBeUndefined();
    lease.step(5_900, { type: "tick" });
    expect(lease.step(6_000, { type: "tick" })).toContainEqual({ type: "lease", heldUntil: undefined });
  });

  test("counts no answer to an earlier request or of another epoch", () => {
    const lease = holder();
    lease.step(0, { type: "document", document });
    lease.step(1_666, { type: "tick" });
    expect(lease.step(1_700, granted(A, 1, 2))).toEqual([]);
    expect(lease.step(1_700, granted(B, 1, 1))).toEqual([]);
    expect(lease.step(1_700, granted(B, 2, 2))).toEqual([]);
    expect(lease.step(1_700, granted(B, 1, 2))).toEqual([{ type: "lease", heldUntil: 6_666 }]);
  });

  test("keeps the lease in hand over a new epoch and renews at once", () => {
    const lease = holder();
    lease.step(0, { type: "document", document });
    lease.step(10, granted(A, 1, 1));
    lease.step(10, granted(B, 1, 1));
    const next = changed(document, { voters: [B, C, D] }, "d for a");
    expect(lease.step(500, { type: "document", document: next })).toEqual([
      { type: "ask", to: [B, C, D], epoch: 2, request: 2 },
    ]);
    expect(lease.heldUntil(600)).toBe(5_000);
    expect(types([...lease.step(600, granted(B, 2, 2)), ...lease.step(600, granted(C, 2, 2))])).toEqual(["lease"]);
    expect(lease.heldUntil(600)).toBe(5_500);
  });

  test("warns once at 60 % and names the silent voters", () => {
    const lease = holder();
    lease.step(0, { type: "document", document });
    lease.step(10, granted(A, 1, 1));
    lease.step(10, granted(B, 1, 1));
    expect(types(lease.step(2_999, { type: "tick" }))).not.toContain("lease-warning");
    expect(lease.step(3_000, { type: "tick" })).toContainEqual({
      type: "lease-warning",
      heldUntil: 5_000,
      silent: [A, B, C],
    });
    expect(types(lease.step(3_400, { type: "tick" }))).not.toContain("lease-warning");
    expect(lease.heldUntil(3_400)).toBe(5_000);
  });

  test("asks silent voters again under the same request, and asks nothing when it is no member", () => {
    const lease = holder();
    lease.step(0, { type: "document", document });
    lease.step(5, granted(A, 1, 1));
    expect(lease.step(500, { type: "tick" })).toEqual([{ type: "ask", to: [B, C], epoch: 1, request: 1 }]);
    const stranger = new LeaseHolder({ member: D, memberId: memberIdFor(D, 2), leaseMs: 5_000 });
    expect(stranger.step(0, { type: "document", document })).toEqual([]);
    expect(stranger.nextDeadline()).toBeUndefined();
  });

  test("is void when the clocks show a suspend", () => {
    const lease = holder();
    lease.step(0, { type: "document", document });
    lease.step(10, granted(A, 1, 1));
    lease.step(10, granted(B, 1, 1));
    expect(types(lease.step(100, { type: "void" }))).toEqual(["lease", "ask"]);
    expect(lease.heldUntil(100)).toBeUndefined();
    expect(lease.step(110, granted(C, 1, 1))).toEqual([]);
  });
});
