/** Every promise to users occurs in the title of a test that holds it. */

import { expect, test } from "vitest";
import { sourceFiles, textOf } from "./tree.ts";

const PROMISES = ["P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9"];

const titles = sourceFiles()
  .filter((path) => path.endsWith(".test.ts") && !path.startsWith("test/tidy/"))
  .flatMap((path) => [...textOf(path).matchAll(/\b(?:test|it)(?:\.\w+)*(?:\([^"'`]*\))?\(\s*["'`]([^\n]*)/g)])
  .map((match) => match[1] as string);

test("titles of tests are found", () => {
  expect(titles.length).toBeGreaterThan(300);
});

for (const promise of PROMISES) {
  test(`some test holds ${promise}`, () => {
    expect(titles.filter((title) => new RegExp(`^${promise}\\b`).test(title)).length).toBeGreaterThan(0);
  });
}
