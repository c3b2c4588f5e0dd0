/** Dead letters that are retried or dropped by the thousand: what was done before a failure is told. */

import { expect, test } from "vitest";
import { inBatches } from "../../../cli/dead-letters.ts";
import { RingError } from "../../../ring/errors.ts";

const ids = Array.from({ length: 1_200 }, (_, index) => `id-${index}`);

test("all of them, a batch after the other", async () => {
  const asked: string[] = [];
  const done: number[] = [];
  const change = async (part: readonly string[]): Promise<number> => {
    asked.push(...part);
    return part.length;
  };
  expect(await inBatches(ids, { rate: undefined, change, progress: (count) => done.push(count) })).toEqual({
    changed: 1_200,
  });
  expect(asked).toEqual(ids);
  expect(done).toEqual([500, 1_000, 1_200]);
});

test("a failure ends it, and says how many were changed before", async () => {
  const failure = new RingError("NO_OWNER", "the partition's owner cannot be reached");
  let calls = 0;
  const change = async (part: readonly string[]): Promise<number> => {
    if (++calls === 3) throw failure;
    return part.length;
  };
  expect(await inBatches(ids, { rate: undefined, change, progress: () => undefined })).toEqual({
    changed: 1_000,
    failure,
  });
});
