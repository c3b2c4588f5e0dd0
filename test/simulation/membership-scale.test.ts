/** Membership at sizes and under troubles that no test of real processes reaches. */

import { describe, expect, test } from "vitest";
import { PROFILES } from "../../ring/membership/profile.ts";
import { crashOne, cutAndHeal, disturb, massRestart, pause } from "./membership-scenarios.ts";

test("a hundred nodes find each other, lose one, and all know it within the time of memberlist", () => {
  for (const seed of [1, 2]) {
    expect(crashOne({ nodes: 100, seed, machinesLive: false, loss: 0.02 }).crash.allMs).toBeLessThan(16_000);
    expect(crashOne({ nodes: 100, seed, machinesLive: true }).crash.allMs).toBeLessThan(6_000);
  }
});

test("with loss, one-way cuts and slow nodes nobody is taken for dead", () => {
  for (const nodes of [3, 10, 40])
    for (const profile of [PROFILES.lan, PROFILES.wan]) disturb({ nodes, seed: nodes, profile, ms: 120_000 });
});

test.each([2_000, 4_000, 8_000, 16_000])(
  "while nodes stand still for %i ms in a loop, no healthy one is called dead",
  (pauseMs) => {
    for (const paused of [1, 2, 3, 4])
      expect(pause({ nodes: 8, seed: paused, paused, pauseMs, cycles: 6 }).falseDeaths).toBe(0);
  },
);

describe.each([
  { machine: "on quiet machines", stutter: {} },
  {
    machine: "on machines that block every event loop for up to 100 ms, a few times a second",
    stutter: { stutterMs: 100 },
  },
])("with the fast profile, $machine", ({ stutter }) => {
  test.each([3, 5, 10])("a killed one of %i is known to all within 1.5 s, whether links tell of it or not", (nodes) => {
    const times: number[] = [];
    for (const linked of [true, false])
      for (let seed = 1; seed <= 100; seed++)
        times.push(
          crashOne({ nodes, seed, profile: PROFILES.fast, machinesLive: true, linked, ...stutter }).crash.allMs,
        );
    expect(Math.max(...times)).toBeLessThanOrEqual(1_500);
  });
});

test.each([{}, { stutterMs: 100 }, { stutterMs: 400 }])(
  "with the fast profile nodes that stand still for half a second again and again are not called dead: %o",
  (stutter) => {
    for (let seed = 1; seed <= 10; seed++) {
      const scene = { nodes: 8, seed, profile: PROFILES.fast, paused: 1 + (seed % 4), pauseMs: 500, cycles: 60 };
      expect(pause({ ...scene, ...stutter })).toEqual({ falseDeaths: 0, pausedDeaths: 0 });
    }
  },
);

test("after a cut of two to three, and after everybody restarted within two seconds, all see all within 30 s", () => {
  for (const nodes of [5, 10, 40]) {
    expect(cutAndHeal({ nodes, seed: nodes })).toBeLessThan(30_000);
    expect(massRestart({ nodes, seed: nodes })).toBeLessThan(30_000);
  }
});
