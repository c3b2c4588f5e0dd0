/** The row of ended ids: what is put in comes out, row by row. */

import { expect, test } from "vitest";
import { type EndedId, EndedWriter, readEnded } from "../../ring/tasks/ended-row.ts";
import { bitsOfId } from "../../ring/tasks/task-id.ts";

function ids(count: number, from: number): EndedId[] {
  return Array.from({ length: count }, (_, index) => ({
    id: ((from + index) * 0x9e3779b1).toString(16).padStart(32, "0"),
    state: index % 3 === 0 ? "cancelled" : "done",
  }));
}

test("rows of any number of ids come back as they went, one after another", () => {
  const writer = new EndedWriter();
  for (const count of [1, 16, 17, 40, 3, 300, 2, 0, 5]) {
    const ended = ids(count, 1_000 * count);
    for (const { id, state } of ended) writer.add(bitsOfId(id), state);
    expect(writer.count).toBe(count);
    expect(readEnded(writer.take())).toEqual(ended);
    expect(writer.count).toBe(0);
  }
});

test("a row that was taken does not change when more ids end", () => {
  const writer = new EndedWriter();
  const ended = ids(5, 1);
  for (const { id, state } of ended) writer.add(bitsOfId(id), state);
  const row = writer.take();
  for (const { id } of ids(5, 99)) writer.add(bitsOfId(id), "done");
  expect(readEnded(row)).toEqual(ended);
});

test("what no writer wrote throws RangeError", () => {
  expect(() => readEnded(Uint8Array.of(2))).toThrow(RangeError);
  expect(() => readEnded(new Uint8Array(17).fill(1))).toThrow(RangeError);
  expect(() => readEnded(new Uint8Array())).toThrow(RangeError);
});
