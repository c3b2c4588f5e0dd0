/** The row of ended ids: what is put in comes out, row by row. */

import { expect, test } from "vitest";
import type { ChangePlace } from "../../ring/changes.ts";
import { type EndedId, EndedWriter, readEnded } from "../../ring/tasks/ended-row.ts";
import { type Position, readPosition } from "../../ring/tasks/rows.ts";
import { bitsOfId } from "../../ring/tasks/task-id.ts";

function ids(count: number, from: number): EndedId[] {
  return Array.from({ length: count }, (_, index) => ({
    id: ((from + index) * 0x9e3779b1).toString(16).padStart(32, "0"),
    state: index % 3 === 0 ? "cancelled" : "done",
  }));
}

const place = (sequence: number): Position => ({ generation: 3, opens: 2, sequence });

/** The row as the store gets it. */
function rowOf(at: ChangePlace): { position: Position; ended: readonly EndedId[]; isNew: boolean } {
  const { key, value, isNew } = at.change();
  return { position: readPosition(key), ended: readEnded(value!), isNew: isNew === true };
}

test("rows of any number of ids come back as they went, one after another", () => {
  const writer = new EndedWriter();
  for (const count of [1, 16, 17, 40, 3, 300, 2, 0, 5]) {
    const ended = ids(count, 1_000 * count);
    for (const { id, state } of ended) writer.add(bitsOfId(id), state);
    expect([writer.count, writer.fresh]).toEqual([count, count]);
    expect(rowOf(writer.putAll(place(count), true))).toEqual({ position: place(count), ended, isNew: true });
    expect([writer.count, writer.fresh]).toEqual([0, 0]);
  }
});

test("rows of one commit each, and then one of all, hold what they should", () => {
  const writer = new EndedWriter();
  const ended = ids(70, 5);
  const add = (from: number, to: number): void => {
    for (const { id, state } of ended.slice(from, to)) writer.add(bitsOfId(id), state);
  };
  add(0, 3);
  expect(rowOf(writer.put(place(1)))).toEqual({ position: place(1), ended: ended.slice(0, 3), isNew: true });
  add(3, 40);
  expect(writer.fresh).toBe(37);
  expect(rowOf(writer.put(place(2)))).toEqual({ position: place(2), ended: ended.slice(3, 40), isNew: true });
  add(40, 70);
  expect([writer.count, writer.fresh]).toEqual([70, 30]);
  expect(rowOf(writer.putAll(place(1), false))).toEqual({ position: place(1), ended, isNew: false });
});

test("a row does not change when more ids end", () => {
  const writer = new EndedWriter();
  const ended = ids(5, 1);
  for (const { id, state } of ended) writer.add(bitsOfId(id), state);
  const { value } = writer.put(place(1)).change();
  for (const { id } of ids(5, 99)) writer.add(bitsOfId(id), "done");
  writer.putAll(place(2), true);
  expect(readEnded(value!)).toEqual(ended);
});

test("what no writer wrote throws RangeError", () => {
  expect(() => readEnded(Uint8Array.of(2))).toThrow(RangeError);
  expect(() => readEnded(new Uint8Array(17).fill(1))).toThrow(RangeError);
  expect(() => readEnded(new Uint8Array())).toThrow(RangeError);
});
