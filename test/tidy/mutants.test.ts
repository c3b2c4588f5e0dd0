/** The committed faults of `test/mutants/`: each rule of the ownership design from 1 to 24 is removed by at least one of them. */

import { describe, expect, test } from "vitest";
import { textOf, treeFiles } from "./tree.ts";

const RULES = Array.from({ length: 24 }, (_, index) => index + 1);

const rules: readonly string[] = treeFiles()
  .filter((path) => /^test\/mutants\/.*\.json$/.test(path))
  .flatMap((path) => (JSON.parse(textOf(path)) as { rule: string }[]).map(({ rule }) => rule));

/** An entry names its rule as `rule 14: …` or `14: …`, perhaps after an invariant of the code, `O3 / rule 14: …`. */
function removes(entry: string, rule: number): boolean {
  return new RegExp(`(?:^|\\brule )${rule}(?: / \\w+)?:`).test(entry);
}

describe("the faults that tests must catch", () => {
  test("are found", () => {
    expect(rules.length).toBeGreaterThan(100);
    expect(rules.filter((rule) => removes(rule, 25))).toEqual([]);
  });

  test.each(RULES)("remove ownership rule %i", (rule) => {
    expect(rules.filter((entry) => removes(entry, rule)).length).toBeGreaterThan(0);
  });
});
