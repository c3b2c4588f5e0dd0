/** How many transfers go on beside each other. */

import { expect, test } from "vitest";
import { countBegun, TransferLimit } from "../../ring/node/transfer.ts";
import { documentOf } from "./node-parts.ts";

const DOCUMENT = documentOf({ epoch: 5, owner: "a", next: "b" });

test("a partition that waits for the ring keeps its place: the next one would make it wait longer", () => {
  const limit = new TransferLimit();
  limit.ask(2);
  const beside = (moving: number, whole: number): boolean =>
    limit.allows("handoff", "out", { moving, whole }, DOCUMENT);
  expect([beside(0, 0), beside(1, 0), beside(2, 0)]).toEqual([true, true, false]);
  expect([beside(0, 1), beside(1, 1), beside(0, 2)]).toEqual([true, false, false]);
});

test("a node takes half as many handoffs as it gives, and more in a large ring: not one by one for minutes", () => {
  const limit = new TransferLimit();
  const most = [8, 64, 128, 256, 1_024].map((ringSize) => {
    const document = { ...DOCUMENT, ringSize };
    return [limit.most("handoff", "in", document), limit.most("handoff", "out", document)];
  });
  expect(most).toEqual([
    [1, 2],
    [1, 2],
    [2, 4],
    [4, 8],
    [4, 8],
  ]);
});

test("stranded entries move nearly all at once: nobody waits for how they move, and the keys of all of them wait", () => {
  const limit = new TransferLimit();
  expect(limit.allows("stranded", "in", { moving: 31, whole: 99 }, DOCUMENT)).toBe(true);
  expect(limit.allows("stranded", "in", { moving: 32, whole: 0 }, DOCUMENT)).toBe(false);
});

test("an operator's word goes before the size of the ring", () => {
  const limit = new TransferLimit();
  limit.ask(5);
  expect([limit.most("handoff", "in", DOCUMENT), limit.most("stranded", "in", DOCUMENT)]).toEqual([5, 10]);
});

test("transfers are counted by whether rows of them are on their way", () => {
  expect(countBegun([{ whole: true }, { whole: false }, { whole: true }])).toEqual({ moving: 1, whole: 2 });
});
