/** Changes as columns are the changes they stand for: for whoever asks for key and value, in the journal's bytes, for Redis. */

import { describe, expect, test } from "vitest";
import { type ChangePlace, Changes } from "../../ring/changes.ts";
import type { Partition } from "../../ring/ids.ts";
import { measureGroups } from "../../ring/io/store/limits.ts";
import { Overlay } from "../../ring/io/store/overlay.ts";
import { Packer } from "../../ring/io/store/redis/pack.ts";
import type { RowChange } from "../../ring/store.ts";
import { erasedAt, KIND, positionKey, stateChange, stateKey, taskChange } from "../../ring/tasks/rows.ts";
import { Written } from "../../ring/tasks/written.ts";

const NONE = new Uint8Array();
const PARTITION = 5 as Partition;
const TERM = { history: 1, generation: 1, opens: 1 };
const at = { generation: 3, opens: 2, sequence: 2 ** 40 };
const header = { flags: 1, attempts: 2, acceptedAtMs: 1_700_000_000_123, dueAtMs: 0 };
const frame = Uint8Array.from({ length: 600 }, (_, index) => index);
const foreign: RowChange = { key: Uint8Array.of(0x60, 1), value: Uint8Array.of(4, 5), isNew: true };

function taskOf(start: number, end: number, isNew: boolean): ChangePlace {
  return taskChange(at, header, { bytes: frame, start, end }, isNew);
}

/** In the order of `made`. Each place is good until the next one. */
const MAKERS: readonly (() => ChangePlace)[] = [
  () => taskOf(100, 400, true),
  () => taskOf(0, 0, false),
  () => stateChange("app", "ключ", "count", Uint8Array.of(1, 2, 3)),
  () => stateChange("app", "key", "empty", new Uint8Array()),
  () => stateChange("app", "key", "large", new Uint8Array(200_000).fill(9)),
  () => stateChange("app", "key", "gone", undefined),
  () => erasedAt(KIND.task, at),
  () => taskOf(0, 600, false),
];

function make(): Changes {
  const changes = new Changes();
  for (const maker of MAKERS) changes.enter(maker());
  changes.add(foreign);
  changes.add({ key: Uint8Array.of(0x60, 2) });
  return changes;
}

const made = make();
/** The same as objects with bytes of their own. */
const plain = [...made].map(({ key, value, isNew }): RowChange => {
  if (value === undefined) return { key: key.slice() };
  return { key: key.slice(), value: value.slice(), ...(isNew === true ? { isNew } : {}) };
});

describe("changes as columns", () => {
  test("have the keys and values that they were made of", () => {
    expect([...plain[0]!.key]).toEqual([...positionKey(KIND.task, at)]);
    expect(plain[0]!.value?.subarray(16)).toEqual(frame.subarray(100, 400));
    expect([...plain[2]!.key]).toEqual([...stateKey("app", "ключ", "count")]);
    expect(plain.map(({ value }) => value?.length)).toEqual([
      316,
      16,
      3,
      0,
      200_000,
      undefined,
      undefined,
      616,
      2,
      undefined,
    ]);
    expect(plain.map(({ isNew }) => isNew === true)).toEqual([true, ...new Array<boolean>(7).fill(false), true, false]);
    expect(plain.at(-2)).toEqual(foreign);
    expect(made).toHaveLength(10);
  });

  test("stay as they were when more rows are put together", () => {
    for (let index = 0; index < 5_000; index++) stateChange("app", "key", "name", new Uint8Array(500).fill(index));
    for (const [index, { key, value }] of [...made].entries()) {
      expect(Buffer.compare(key, plain[index]!.key), `key ${index}`).toBe(0);
      expect(Buffer.compare(value ?? NONE, plain[index]!.value ?? NONE), `value ${index}`).toBe(0);
    }
  });

  test("are measured like any others", () => {
    const sizes = [made, plain].map((changes) => measureGroups([{ partition: PARTITION, term: TERM, changes }]));
    expect(sizes[0]).toEqual(sizes[1]);
    let putBytes = 0;
    for (const { key, value } of plain) if (value !== undefined) putBytes += key.length + value.length;
    expect(sizes[0]).toEqual({ changes: 10, deletes: 3, putBytes });
  });

  test.each([
    ["an empty key", { key: NONE, value: NONE }, "a key of 0 bytes"],
    ["an empty key that is deleted", { key: NONE }, "a key of 0 bytes"],
    ["a long key", { key: new Uint8Array(1_025), value: NONE }, "a key of 1025 bytes"],
    ["a long key that is deleted", { key: new Uint8Array(1_025) }, "a key of 1025 bytes"],
    ["a large value", { key: Uint8Array.of(1), value: new Uint8Array(2 ** 22 + 1) }, "a row of 4194305 bytes"],
  ])("are refused for %s among them", (_, change, why) => {
    for (const changes of [Changes.of([...plain, change, ...plain]), [...plain, change, ...plain]])
      expect(() => measureGroups([{ partition: PARTITION, term: TERM, changes }])).toThrow(why);
  });

  test("lie in the journal as if they had been put one by one", () => {
    const [all, single] = [new Overlay(new Uint8Array(400_000), 32), new Overlay(new Uint8Array(400_000), 32)];
    all.change(PARTITION, made);
    for (const { key, value, isNew } of plain) {
      if (value === undefined) single.remove(PARTITION, key);
      else single.put(PARTITION, key, value, isNew);
    }
    expect(all.at).toBe(single.at);
    expect(Buffer.compare(all.bytes, single.bytes)).toBe(0);
    all.keep(all.at);
    single.keep(single.at);
    expect(all.rows).toBe(single.rows);
    expect(all.find(Uint8Array.of(0, 5, 0x60, 1))?.value).toEqual(Uint8Array.of(4, 5));
  });

  test("that find no room leave the journal as it was", () => {
    const overlay = new Overlay(new Uint8Array(380), 32);
    overlay.change(PARTITION, made);
    expect(overlay.overflow).toBe(true);
    overlay.change(PARTITION, Changes.of([{ key: Uint8Array.of(1) }]));
    overlay.discard();
    expect([overlay.at, overlay.overflow]).toEqual([32, false]);
  });

  test("are packed for Redis like any others, also those that a later one takes back", () => {
    const [all, single] = [new Packer().pack(made), new Packer().pack(plain)];
    expect(all.length).toBeGreaterThan(200_000);
    expect(Buffer.compare(all, single)).toBe(0);
  });

  test("are entered behind others in order", () => {
    const both = make();
    both.addAll(made);
    expect([...both]).toEqual([...plain, ...plain].map((change) => expect.objectContaining({ key: change.key })));
    expect(both.putBytes).toBe(2 * made.putBytes);
    expect(both.deletes).toBe(6);
  });

  test("that are cleared are none, and the next ones are measured anew", () => {
    const changes = Changes.of([{ key: NONE, value: new Uint8Array(2 ** 23) }, { key: new Uint8Array(2_000) }]);
    changes.clear();
    expect([...changes]).toEqual([]);
    for (const maker of MAKERS) changes.enter(maker());
    const { length, deletes, putBytes, hasEmptyKey, longestKeyBytes, longestValueBytes } = changes;
    const fresh = new Changes();
    for (const maker of MAKERS) fresh.enter(maker());
    expect({ length, deletes, putBytes, hasEmptyKey, longestKeyBytes, longestValueBytes }).toEqual({
      length: fresh.length,
      deletes: fresh.deletes,
      putBytes: fresh.putBytes,
      hasEmptyKey: false,
      longestKeyBytes: fresh.longestKeyBytes,
      longestValueBytes: 200_000,
    });
    expect([...changes]).toEqual([...fresh]);
  });

  test("come in any number, out of any number of frames", () => {
    const changes = new Changes();
    for (let round = 0; round < 2; round++) {
      for (let index = 0; index < 3_000; index++) {
        const bytes = Uint8Array.of(index, index >>> 8);
        changes.enter(taskChange({ ...at, sequence: index }, header, { bytes, start: 0, end: 2 }, true));
      }
      let index = 0;
      for (const { key, value } of changes) {
        expect(Buffer.compare(key, positionKey(KIND.task, { ...at, sequence: index }))).toBe(0);
        expect(value?.slice(16)).toEqual(Uint8Array.of(index, index++ >>> 8));
      }
      expect(index).toBe(3_000);
      changes.clear();
    }
  });
});

describe("what an engine wrote", () => {
  test("is announced once, and taken in order", () => {
    const written = new Written(PARTITION);
    expect([written.add(plain[0]!), written.enter(taskOf(0, 3, true)), written.add(plain[2]!)]).toEqual([
      true,
      false,
      false,
    ]);
    const taken = written.take();
    expect([...taken].map(({ value }) => value?.length)).toEqual([316, 19, 3]);
    expect(written.enter(erasedAt(KIND.task, at))).toBe(true);
    expect([...taken].map(({ value }) => value?.length)).toEqual([316, 19, 3]);
    expect([...written.take()]).toEqual([{ key: positionKey(KIND.task, at) }]);
  });
});
