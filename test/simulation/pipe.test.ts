import { expect, test } from "vitest";
import { type Scenario, simulate } from "./pipe-cluster.ts";

const SCENARIOS: readonly Scenario[] = [
  "calm",
  "join",
  "leave",
  "cuts",
  "kill",
  "restart",
  "coordinator-dies",
  "mixed",
  "join-at-end",
  "kill-at-end",
];
const SEEDS = Number(process.env.PIPE_SEEDS ?? 40);
const FROM = Number(process.env.PIPE_FROM ?? 1);

for (const scenario of SCENARIOS)
  for (const kind of ["pass", "sum", "kept", "kept-second"] as const)
    test(`P6: ${kind} runs keep their promise in scenario ${scenario}`, () => {
      const bad: string[] = [];
      for (let seed = FROM; seed < FROM + SEEDS; seed++) {
        const { problems } = simulate(seed, scenario, kind);
        if (problems.length > 0) bad.push(`seed ${seed}: ${problems.slice(0, 3).join("; ")}`);
      }
      expect(bad.slice(0, 10)).toEqual([]);
    });
