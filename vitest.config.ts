/**
 * Three groups of tests, one after the other: quick ones on all cores, simulations, and real processes.
 *
 * Simulations keep every core busy for minutes, and tests with real sockets and signals wait for deadlines; so those groups
 * never share the machine. Tests of real processes wait for most of their time, and run three files at once. A test that lacks a component skips with one line, and fails when `CI` is set.
 */

import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    pool: "forks",
    testTimeout: 30_000,
    hookTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: {
          name: "quick",
          include: ["test/{unit,property,golden,conformance,tidy}/**/*.test.ts"],
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "simulation",
          include: ["test/simulation/**/*.test.ts"],
          testTimeout: 360_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          testTimeout: 120_000,
          maxWorkers: 3, // whatever the number of cores
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
