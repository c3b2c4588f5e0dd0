/**
 * The public hash rule: the vectors that other languages are given in `docs/hash.md`, and MurmurHash3's own.
 */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { hashBytes, hashKey, murmur3, partitionOf, partitionOfHash } from "../../ring/hash.ts";
import { fc } from "../arbitrary.ts";

const doc = readFileSync(new URL("../../docs/hash.md", import.meta.url), "utf8");
const rows = doc
  .split("\n")
  .filter((line) => line.startsWith("|"))
  .map((line) =>
    line
      .slice(1, -1)
      .split(" | ")
      .map((cell) => cell.trim()),
  );
const encoder = new TextEncoder();

/** `"text"` or `"c"` × n, as the table writes them. */
function textOf(cell: string): string {
  const match = /^`(".*")`(?: × (\d+))?$/u.exec(cell);
  if (match === null) throw new Error(`not a text: ${cell}`);
  return (JSON.parse(match[1] as string) as string).repeat(Number(match[2] ?? 1));
}

function hexOf(cell: string): number {
  return Number.parseInt(cell.replaceAll("`", ""), 16);
}

describe("the vectors of docs/hash.md", () => {
  const keyed = rows.filter((row) => row.length === 6 && row[0]?.startsWith("`"));
  const bare = rows.filter((row) => row.length === 3 && (row[0]?.startsWith("`") || row[0] === "(none)"));

  test("there are at least twelve, among them an empty, a long and a non-ASCII key", () => {
    expect(keyed.length).toBeGreaterThanOrEqual(12);
    const keys = keyed.map((row) => textOf(row[1] as string));
    expect(keys).toContain("");
    expect(keys.some((key) => key.length >= 1000)).toBe(true);
    expect(keys.some((key) => [...key].some((letter) => letter > "\u007f"))).toBe(true);
  });

  test.each(keyed)("app %s with key %s hashes to %s", (appCell, keyCell, hash, of8, of64, of4096) => {
    const app = textOf(appCell as string);
    const key = textOf(keyCell as string);
    expect(hashKey(app, key)).toBe(hexOf(hash as string));
    expect(murmur3(encoder.encode(`${app}\0${key}`))).toBe(hexOf(hash as string));
    expect(partitionOf({ app, key }, 8)).toBe(Number(of8));
    expect(partitionOf({ app, key }, 64)).toBe(Number(of64));
    expect(partitionOf({ app, key }, 4096)).toBe(Number(of4096));
  });

  test.each(bare)("bytes %s with seed %s hash to %s", (bytes, seed, hash) => {
    const hex = bytes === "(none)" ? "" : (bytes as string).replaceAll("`", "");
    const data = Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
    expect(murmur3(data, hexOf(seed as string))).toBe(hexOf(hash as string));
  });
});

test("strings, byte slices and the plain hash of the joined bytes agree for any app and key", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), fc.nat(5), (app, key, offset) => {
      const appBytes = encoder.encode(app);
      const keyBytes = encoder.encode(key);
      const wire = new Uint8Array(offset + appBytes.length + 2 + keyBytes.length + 3).fill(0xee);
      wire.set(appBytes, offset);
      const keyStart = offset + appBytes.length + 2;
      wire.set(keyBytes, keyStart);
      const joined = new Uint8Array([...appBytes, 0, ...keyBytes]);
      const hash = murmur3(joined);
      expect(hashKey(app, key)).toBe(hash);
      expect(hashBytes(wire, offset, offset + appBytes.length, wire, keyStart, keyStart + keyBytes.length)).toBe(hash);
    }),
    { numRuns: 2_000 },
  );
});

test("a lone surrogate counts as the replacement character", () => {
  expect(hashKey("acme", "\ud800")).toBe(hashKey("acme", "\ufffd"));
});

test("every partition of every ring size is hit, and none beyond", () => {
  for (let ringSize = 8; ringSize <= 4096; ringSize *= 2) {
    expect(partitionOfHash(0, ringSize)).toBe(0);
    expect(partitionOfHash(0xffffffff, ringSize)).toBe(ringSize - 1);
    const seen = new Set<number>();
    for (let at = 0; at < ringSize * 20; at++) seen.add(partitionOf({ app: "acme", key: `user-${at}` }, ringSize));
    expect(seen.size).toBe(ringSize);
  }
});
