/** How much of a transfer is in memory and on its way at once, when rows are large. */

import { expect, test } from "vitest";
import type { TransferMessage } from "../../ring/node/messages.ts";
import { changesBytes } from "../../ring/node/stream.ts";
import { PLANNED } from "./node-handed.ts";
import { documentOf, P0, Parts, strandedOn, talk } from "./node-parts.ts";

const MIB = 1_048_576;
const ROWS = 60;

function fill(a: Parts): void {
  for (let row = 0; row < ROWS; row++)
    a.commits.add(P0, { key: Uint8Array.of(0x7f, row), value: new Uint8Array(MIB).fill(row) });
  a.run();
}

/** a is about to move to b, whose disk does not answer. */
function moving(fillBefore: boolean): { a: Parts; b: Parts } {
  const a = new Parts("a");
  a.follow(documentOf({ epoch: 4 }));
  if (fillBefore) fill(a);
  const b = new Parts("b");
  b.follow(PLANNED);
  if (!fillBefore) a.delayed.add("read");
  a.follow(PLANNED);
  b.delayed.add("sync");
  return { a, b };
}

/** Carries messages, and says how many bytes of rows a has sent. */
function carry(a: Parts, b: Parts): number {
  let bytes = 0;
  for (let turn = 0; turn < 4; turn++) {
    for (const { message } of a.taken()) {
      if (message.type === "transfer-chunk") for (const change of message.changes) bytes += changesBytes(change);
      b.receive(a.self, message as TransferMessage);
    }
    for (const { message } of b.taken()) a.receive(b.self, message as TransferMessage);
  }
  return bytes;
}

/** All rows changed while the only page was read: they are the remainder. */
function parked(): { a: Parts; b: Parts; bytes: number } {
  const { a, b } = moving(false);
  carry(a, b);
  fill(a);
  a.release("read");
  const bytes = carry(a, b);
  expect(a.outgoing.views()[0]?.phase).toBe("cut-over");
  return { a, b, bytes };
}

function expectWhole(a: Parts, b: Parts): void {
  b.release("sync");
  talk(a, b);
  expect(a.consents).toHaveLength(1);
  const { rows } = b.disk.page({ partition: P0, prefix: Uint8Array.of(0x7f), rowLimit: 100, byteLimit: 1e9 });
  expect(rows).toHaveLength(ROWS);
}

test("P5: a remainder of large rows leaves as the receiver takes it, not all at once", () => {
  const { a, b, bytes } = parked();
  expect(bytes).toBeLessThan(16 * MIB);
  expectWhole(a, b);
});

test("P5: a transfer that begins again because its rows change too fast sends none of them before", () => {
  const { a, b } = moving(false);
  carry(a, b);
  for (let row = 0; row <= 20_000; row++)
    a.commits.add(P0, { key: Uint8Array.of(0x7f, row >> 8, row & 255), value: new Uint8Array(8) });
  a.run();
  expect(a.outgoing.views()[0]).toMatchObject({
    phase: "waiting",
    reason: "rows change faster than the receiver takes them",
  });
  expect(a.said("transfer-chunk")).toEqual([]);
});

test("P8: a receiver that stops taking a large remainder is not waited for without end", () => {
  const { a } = parked();
  a.tick(10_000);
  expect(a.hosting.serving(P0)).toBe(true);
});

test("P5: large rows are read as the receiver takes them", () => {
  const { a, b } = moving(true);
  carry(a, b);
  expect(a.outgoing.views()[0]?.phase).toBe("snapshot");
  expectWhole(a, b);
});

test("P5: of each of many stranded partitions little is on its way, and a page waits", () => {
  const c = new Parts("c");
  c.follow(documentOf({ epoch: 1, owner: "c" }));
  fill(c);
  const b = new Parts("b");
  const document = documentOf({ epoch: 9, owner: "b", generation: 3, stranded: [strandedOn("c", 1)] });
  b.follow(document);
  b.delayed.add("sync");
  c.follow(document);
  let reads = 0;
  const emit = c.here.emit.bind(c.here);
  c.here.emit = (effect) => {
    if (effect.type === "read") reads++;
    emit(effect);
  };
  expect(carry(c, b)).toBeLessThan(2 * MIB);
  expect(reads).toBeLessThanOrEqual(2);
  b.release("sync");
  talk(c, b);
  expect(b.absorbed).toHaveLength(1);
});
