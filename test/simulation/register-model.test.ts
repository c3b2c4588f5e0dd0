/**
 * Many small runs of the register under faults; `register/model.ts` says what must hold. One seed is one run.
 */

import { expect, test } from "vitest";
import { type ModelResult, runModel } from "./register/model.ts";

test("P7: through faults and ring changes there is one document per epoch and one owner per partition", () => {
  const totals = new Map<keyof ModelResult, number>();
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const result = runModel(seed);
    for (const [name, value] of Object.entries(result)) {
      totals.set(name as keyof ModelResult, (totals.get(name as keyof ModelResult) ?? 0) + value);
    }
  }
  // The model must have met what it claims to cover.
  for (const name of ["decided", "consented", "revoked", "voterChanges", "crashes"] as const) {
    expect(totals.get(name), name).toBeGreaterThan(SEEDS);
  }
  expect(totals.get("wipes")).toBeGreaterThan(SEEDS / 20);
  expect(totals.get("hopeless")).toBeLessThan(SEEDS / 20);
}, 60_000);

test("the same seed gives the same run", () => {
  expect(runModel(7).trace).toBe(runModel(7).trace);
});

const SEEDS = 500;
