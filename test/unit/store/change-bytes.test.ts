/** Where a row is looked for: keys are the apps' own words, and an app may choose them to meet in one place. */

import { randomBytes } from "node:crypto";
import { expect, test, vi } from "vitest";
import { hashOf } from "../../../ring/io/store/change-bytes.ts";

test("P4: keys that meet in one place of a journal's index meet nowhere in that of another process", async () => {
  const pairs = meeting((key) => hashOf(key, 0, key.length));
  vi.resetModules();
  const other = await import("../../../ring/io/store/change-bytes.ts");
  expect(
    pairs.filter(([left, right]) => other.hashOf(left, 0, KEY_BYTES) === other.hashOf(right, 0, KEY_BYTES)),
  ).toEqual([]);
});

test("P4: which keys meet is not told by a part of the secret", () => {
  const pairs = meeting((key) => hashOf(key, 0, key.length, 0));
  for (const seed of [0x100, 0x10000, 0x40000000])
    expect(
      pairs.filter(([left, right]) => hashOf(left, 0, KEY_BYTES, seed) === hashOf(right, 0, KEY_BYTES, seed)),
    ).toEqual([]);
});

/** Some forty pairs of keys with the same hash. */
function meeting(hash: (key: Uint8Array) => number): readonly (readonly [Uint8Array, Uint8Array])[] {
  const known = new Map<number, Uint8Array>();
  const pairs: [Uint8Array, Uint8Array][] = [];
  const keys = randomBytes(600_000 * KEY_BYTES);
  for (let start = 0; start < keys.length; start += KEY_BYTES) {
    const key = keys.subarray(start, start + KEY_BYTES);
    const at = hash(key);
    const before = known.get(at);
    if (before !== undefined) pairs.push([before, key]);
    known.set(at, key);
  }
  expect(pairs.length).toBeGreaterThan(5);
  return pairs;
}

const KEY_BYTES = 8;
