/** Changes cut from a slab are the changes they stand for: for whoever asks for key and value, and in the journal's bytes. */

import { describe, expect, test } from "vitest";
import type { CutChange } from "../../ring/cut-change.ts";
import type { Partition } from "../../ring/ids.ts";
import { measureGroups } from "../../ring/io/store/limits.ts";
import { Overlay } from "../../ring/io/store/overlay.ts";
import { Packer } from "../../ring/io/store/redis/pack.ts";
import type { RowChange } from "../../ring/store.ts";
import { erasedAt, KIND, positionKey, stateChange, stateKey, taskChange } from "../../ring/tasks/rows.ts";
import { Written } from "../../ring/tasks/written.ts";

const NONE = new Uint8Array();
const at = { generation: 3, opens: 2, sequence: 2 ** 40 };
const header = { flags: 1, attempts: 2, acceptedAtMs: 1_700_000_000_123, dueAtMs: 0 };
const made: readonly RowChange[] = [
  taskChange(at, header, new Uint8Array(300).fill(7), true),
  taskChange(at, header, new Uint8Array(), false),
  stateChange("app", "ключ", "count", Uint8Array.of(1, 2, 3)),
  stateChange("app", "key", "empty", new Uint8Array()),
  stateChange("app", "key", "large", new Uint8Array(200_000).fill(9)),
  stateChange("app", "key", "gone", undefined),
  erasedAt(KIND.task, at),
];
/** The same without slabs. */
const plain = made.map(({ key, value, isNew }): RowChange => {
  const row = { key: key.slice(), value: value?.slice() };
  return isNew === undefined ? row : { ...row, isNew };
});

describe("changes cut from a slab", () => {
  test("have the keys and values that they were made of, however often asked", () => {
    expect([...made[0]!.key]).toEqual([...positionKey(KIND.task, at)]);
    expect(made[0]!.value?.subarray(-300)).toEqual(new Uint8Array(300).fill(7));
    expect([...made[2]!.key]).toEqual([...stateKey("app", "ключ", "count")]);
    expect(made.map(({ value }) => value?.length)).toEqual([316, 16, 3, 0, 200_000, undefined, undefined]);
    expect(made[2]!.value).toBe(made[2]!.value);
    expect(made[2]!.key).toBe(made[2]!.key);
  });

  test("stay as they were when more is cut from the slab", () => {
    const before = made.map(({ value }) => value?.slice());
    for (let index = 0; index < 2_000; index++) taskChange(at, header, new Uint8Array(500).fill(index), true);
    for (const [index, { value }] of made.entries())
      expect(Buffer.compare(value ?? NONE, before[index] ?? NONE), `change ${index}`).toBe(0);
  });

  test("are measured and journalled like any other", () => {
    const partition = 5 as Partition;
    const term = { history: 1, generation: 1, opens: 1 };
    const sizes = [made, plain].map((changes) => measureGroups([{ partition, term, changes }]));
    expect(sizes[0]).toEqual(sizes[1]);
    expect(sizes[0]).toMatchObject({ changes: 7, deletes: 2 });
    const [cut, put] = [new Overlay(new Uint8Array(400_000), 32), new Overlay(new Uint8Array(400_000), 32)];
    for (const change of made) {
      if ("slab" in change) cut.cut(partition, change as CutChange);
      else cut.put(partition, change.key, change.value as Uint8Array, change.isNew);
    }
    for (const { key, value, isNew } of plain) {
      if (value === undefined) put.remove(partition, key);
      else put.put(partition, key, value, isNew);
    }
    expect(cut.at).toBe(put.at);
    expect(Buffer.compare(cut.bytes, put.bytes)).toBe(0);
    cut.keep(cut.at);
    put.keep(put.at);
    expect(cut.rows).toBe(put.rows);
  });

  test("are packed for Redis like any other, also those that a later one takes back", () => {
    const [cut, put] = [new Packer().pack(made), new Packer().pack(plain)];
    expect(cut.length).toBeGreaterThan(200_000);
    expect(Buffer.compare(cut, put)).toBe(0);
  });

  test("that find no room leave the overlay as it was", () => {
    const overlay = new Overlay(new Uint8Array(330), 32);
    overlay.cut(1, made[0] as CutChange);
    expect(overlay.overflow).toBe(true);
    overlay.cut(1, made[6] as CutChange);
    overlay.discard();
    expect([overlay.at, overlay.overflow]).toEqual([32, false]);
  });
});

test("what an engine wrote is taken once, in order, and announced once", () => {
  const written = new Written(1 as Partition);
  expect(made.slice(0, 3).map((change) => written.add(change))).toEqual([true, false, false]);
  const taken = written.take();
  expect(taken).toEqual(made.slice(0, 3));
  expect(written.add(made[3]!)).toBe(true);
  expect(written.take()).toEqual([made[3]]);
  expect(taken).toHaveLength(3);
});
