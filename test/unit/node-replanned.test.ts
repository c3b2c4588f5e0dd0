/**
 * A handoff that the ring gave up and planned again, of which sender or receiver saw only a part: the receiver drops the copy
 * of a plan that is given up, and the sender must not consent on the strength of it.
 */

import { expect, test } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import type { Epoch } from "../../ring/ids.ts";
import type { TransferMessage } from "../../ring/node/messages.ts";
import { handedOver, PLANNED } from "./node-handed.ts";
import { documentOf, P0, Parts, talk } from "./node-parts.ts";

const CANCELLED = documentOf({ epoch: 6, owner: "a" });
const AGAIN = documentOf({ epoch: 7, owner: "a", next: "b" });
const MOVED = documentOf({ epoch: 8, owner: "b", generation: 2 });

function consentsFor(a: Parts, epoch: number): number {
  return a.consents.filter((consent) => consent.epoch === epoch).length;
}

/** Until both have had time to try again. */
function goOn(a: Parts, b: Parts): void {
  for (let turn = 0; turn < 4; turn++) {
    talk(a, b);
    a.tick(300);
    b.tick(300);
  }
  talk(a, b);
}

function decide(document: RingDocument, a: Parts, b: Parts): void {
  b.follow(document);
  a.follow(document);
}

test("P1: a sender that did not see its plan given up sends again what the receiver has dropped, before it consents", () => {
  const { a, b, ids } = handedOver();
  expect(consentsFor(a, 6)).toBe(1);
  b.follow(CANCELLED);
  b.follow(AGAIN);
  a.follow(AGAIN);
  expect(consentsFor(a, 8)).toBe(0);
  goOn(a, b);
  expect(consentsFor(a, 8)).toBeGreaterThan(0);
  decide(MOVED, a, b);
  expect(b.stored(P0)).toEqual(ids);
});

test("P1: a receiver that is about to see the plan given up does not yet say that it has all of it", () => {
  const { a, b, ids } = handedOver();
  a.follow(AGAIN);
  talk(a, b);
  expect(consentsFor(a, 8)).toBe(0);
  b.follow(CANCELLED);
  expect(b.stored(P0)).toEqual([]);
  b.follow(AGAIN);
  goOn(a, b);
  decide(MOVED, a, b);
  expect(b.stored(P0)).toEqual(ids);
});

/** a saw the plan given up and made again, b knows only the first one and has all rows. */
function receiverBehind(): { a: Parts; b: Parts; id: string } {
  const a = new Parts("a");
  a.follow(documentOf({ epoch: 4 }));
  const id = a.submit(P0);
  const b = new Parts("b");
  b.follow(PLANNED);
  for (const document of [PLANNED, CANCELLED, AGAIN]) a.follow(document);
  talk(a, b);
  expect(b.stored(P0)).toEqual([id]);
  expect(a.consents).toEqual([]);
  return { a, b, id };
}

test("P1: nothing hangs on a copy of a receiver that crashes before it has come to the plan's epoch", () => {
  const { a, b, id } = receiverBehind();
  const again = new Parts("b", b.disk);
  a.outgoing.linkDown(b.self);
  again.follow(CANCELLED);
  expect(again.dropped).toEqual([0]);
  again.follow(AGAIN);
  a.tick(500);
  goOn(a, again);
  expect(consentsFor(a, 8)).toBeGreaterThan(0);
  decide(MOVED, a, again);
  expect(again.stored(P0)).toEqual([id]);
});

test("P1: a receiver that is behind says that it has all of it when it has come to the plan's epoch", () => {
  const { a, b, id } = receiverBehind();
  b.follow(AGAIN);
  talk(a, b);
  expect(consentsFor(a, 8)).toBe(1);
  decide(MOVED, a, b);
  expect(b.stored(P0)).toEqual([id]);
});

test("P1: what a receiver said before the gap does not answer the question after it", () => {
  const a = new Parts("a");
  a.follow(documentOf({ epoch: 4 }));
  a.submit(P0);
  const b = new Parts("b");
  b.follow(PLANNED);
  a.follow(PLANNED);
  const late: TransferMessage[] = [];
  for (let turn = 0; turn < 4; turn++) {
    for (const { message } of a.taken()) b.receive("a", message as TransferMessage);
    for (const { message } of b.taken()) {
      if (message.type === "transfer-ack" && message.complete) late.push(message);
      else a.receive("b", message as TransferMessage);
    }
  }
  expect(late).toHaveLength(1);
  b.follow(CANCELLED);
  a.follow(AGAIN);
  a.receive("b", late[0]!);
  expect(a.consents).toEqual([]);
});

test("P1: a sender that cannot ask goes on itself, and begins anew when the link is back", () => {
  const { a, b, ids } = handedOver();
  a.unlinked.add(b.self);
  a.outgoing.linkDown(b.self);
  a.follow(AGAIN);
  expect(a.hosting.serving(P0)).toBe(true);
  b.follow(CANCELLED);
  b.follow(AGAIN);
  a.unlinked.delete(b.self);
  a.tick(500);
  goOn(a, b);
  decide(MOVED, a, b);
  expect(b.stored(P0)).toEqual(ids);
});

test("a gap costs no second transfer of a copy that is still there", () => {
  const { a, b } = handedOver();
  const later = { ...PLANNED, epoch: 9 as Epoch };
  decide(later, a, b);
  const rows = a.outgoing.views()[0]?.rows;
  talk(a, b);
  expect(consentsFor(a, 10)).toBe(1);
  expect(a.outgoing.views()[0]?.rows).toBe(rows);
});
