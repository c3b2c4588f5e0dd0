/**
 * Three groups of tests, one after the other: quick ones on all cores, simulations, and real processes.
 *
 * Simulations keep every core busy for minutes, and tests with real sockets and signals wait for deadlines; so those groups
 * never share the machine. Tests of real processes wait for most of their time, and run five files at once. A test that lacks a component skips with one line, and fails when `CI` is set.
 */

import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Without a cache of durations the order is that of file sizes; the last to begin would then be one that takes a minute. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const at = LONGEST.findIndex((name) => moduleId.endsWith(name));
      return at < 0 ? LONGEST.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

/** A minute each, most of it waiting; those with a Redis of their own by turns with others. */
const LONGEST: readonly string[] = [
  "simulation/cluster.test.ts",
  "integration/redis-pair.test.ts",
  "integration/cluster-crash.test.ts",
  "integration/redis-store.test.ts",
  "integration/ringctl.test.ts",
  "integration/redis-trouble.test.ts",
  "integration/members.test.ts",
];

export default defineConfig({
  test: {
    pool: "forks",
    testTimeout: 30_000,
    hookTimeout: 60_000,
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        extends: true,
        test: {
          name: "quick",
          include: ["test/{unit,property,golden,conformance,tidy}/**/*.test.ts"],
          maxWorkers: "100%", // by default one core stays idle
          isolate: false, // nothing that they do outlives them but what they import
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "simulation",
          include: ["test/simulation/**/*.test.ts"],
          testTimeout: 360_000,
          maxWorkers: "100%",
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          testTimeout: 120_000,
          maxWorkers: 5, // whatever the number of cores
          isolate: false, // what a file imports takes a second, and is the same for nearly all
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
