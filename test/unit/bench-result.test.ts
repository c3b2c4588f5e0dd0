/**
 * The shape of benchmark results: what scripts read from `--json` and people from the table.
 */

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { resultOf, tableOf, writeResults } from "../../bench/result.ts";

const sample = resultOf({
  case: "lookup",
  subject: "taskring",
  unit: "1/s",
  values: [30, 10, 20],
  extra: { ratio: 12.5 },
});

test("a result holds min, median and max of its runs, and its extra fields", () => {
  expect(sample).toEqual({
    case: "lookup",
    subject: "taskring",
    unit: "1/s",
    runs: 3,
    min: 10,
    median: 20,
    max: 30,
    ratio: 12.5,
  });
  expect(resultOf({ case: "c", subject: "s", unit: "s", values: [1, 2, 3, 10] }).median).toBe(2.5);
  expect(() => resultOf({ case: "c", subject: "s", unit: "s", values: [] })).toThrow(/no run/);
});

test("the JSON file holds name, machine and results", async () => {
  const folder = await mkdtemp(join(tmpdir(), "bench-"));
  try {
    const file = join(folder, "route.json");
    await writeResults(file, "route", [sample]);
    const written = JSON.parse(await readFile(file, "utf8")) as Record<string, unknown>;
    expect(written).toMatchObject({ name: "route", machine: { node: process.version }, results: [sample] });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("the table names machine, case, subject and numbers", () => {
  const table = tableOf("route", [sample]);
  for (const text of ["route/lookup", "taskring", "1/s", "ratio 12.5", process.version]) expect(table).toContain(text);
});
