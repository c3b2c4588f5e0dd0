/** How many transfers go on beside each other. */

import { expect, test } from "vitest";
import { countBegun, TransferLimit } from "../../ring/node/transfer.ts";
import { documentOf } from "./node-parts.ts";

const DOCUMENT = documentOf({ epoch: 5, owner: "a", next: "b" });

test("a partition that waits for the ring keeps its place: the next one would make it wait longer", () => {
  const limit = new TransferLimit();
  limit.ask(2);
  const beside = (moving: number, whole: number): boolean => limit.allows("handoff", { moving, whole }, DOCUMENT);
  expect([beside(0, 0), beside(1, 0), beside(2, 0)]).toEqual([true, true, false]);
  expect([beside(0, 1), beside(1, 1), beside(0, 2)]).toEqual([true, false, false]);
});

test("handoffs of a small ring take turns, and those of a large one do not take turns for minutes", () => {
  const limit = new TransferLimit();
  const most = [8, 64, 128, 256, 512, 1_024].map((ringSize) => {
    const document = { ...DOCUMENT, ringSize };
    return [limit.most("handoff", document), limit.most("stranded", document)];
  });
  expect(most).toEqual([
    [1, 4],
    [1, 4],
    [2, 8],
    [4, 16],
    [8, 16],
    [8, 16],
  ]);
});

test("four times as many stranded entries move, and nobody waits while they do", () => {
  const limit = new TransferLimit();
  expect(limit.allows("stranded", { moving: 3, whole: 99 }, DOCUMENT)).toBe(true);
  expect(limit.allows("stranded", { moving: 4, whole: 0 }, DOCUMENT)).toBe(false);
});

test("an operator's word goes before the size of the ring", () => {
  const limit = new TransferLimit();
  limit.ask(5);
  expect([limit.most("handoff", DOCUMENT), limit.most("stranded", DOCUMENT)]).toEqual([5, 10]);
});

test("transfers are counted by whether rows of them are on their way", () => {
  expect(countBegun([{ whole: true }, { whole: false }, { whole: true }])).toEqual({ moving: 1, whole: 2 });
});
