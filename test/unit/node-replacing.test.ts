/** State that gives way while a commit is under way, and after a restart. */

import { describe, expect, test } from "vitest";
import type { Stranded } from "../../ring/document.ts";
import type { Epoch } from "../../ring/ids.ts";
import type { NodeMessage, TransferMessage } from "../../ring/node/messages.ts";
import { hashChanges } from "../../ring/node/stream.ts";
import type { RowChange } from "../../ring/store.ts";
import { KIND, keyedRow, stateKey } from "../../ring/tasks/rows.ts";
import { stateMarkValue } from "../../ring/tasks/state-rows.ts";
import { documentOf, keyIn, P0, Parts, strandedOn } from "./node-parts.ts";

const K = keyIn(0);
const AWAY = strandedOn("c", 1);
const NEWER = strandedOn("a", 2);
const value = (name: string, byte: number): RowChange => ({
  key: stateKey("alpha", K, name),
  value: Uint8Array.of(byte),
});
const MARK: RowChange = {
  key: keyedRow(KIND.stateHere, "alpha", K, ""),
  value: stateMarkValue({ generation: 2, fresh: true }),
};

function transferTo(b: Parts, stranded: Stranded, nonce: number, changes: readonly RowChange[]): void {
  const transfer = { partition: P0, kind: "stranded", generation: stranded.generation, nonce } as const;
  b.receive(stranded.member, {
    type: "transfer-offer",
    transfer: transfer as never,
    epoch: 9 as Epoch,
    stranded,
  });
  b.receive(stranded.member, {
    type: "transfer-chunk",
    transfer: transfer as never,
    sequence: 1,
    changes,
    last: { changes: changes.length, hash: hashChanges(0, changes), epoch: 9 as Epoch },
  } as unknown as TransferMessage);
}

function names(b: Parts): Record<string, number> {
  const prefix = stateKey("alpha", K, "");
  const { rows } = b.disk.page({ partition: P0, prefix, rowLimit: 9, byteLimit: 1e6 });
  return Object.fromEntries(
    rows.map(({ key, value: bytes }) => [
      new TextDecoder("latin1").decode(key).replace(/.*(count|sum)$/s, "$1"),
      bytes[0]!,
    ]),
  );
}

function owner(): Parts {
  const b = new Parts("b");
  b.follow(documentOf({ epoch: 9, owner: "b", generation: 3, stranded: [AWAY, NEWER] }));
  transferTo(b, AWAY, 1, [value("count", 1)]);
  expect(names(b)).toEqual({ count: 1 });
  return b;
}

function completes(sent: readonly NodeMessage[]): number {
  return sent.filter((message) => message.type === "transfer-ack" && message.complete).length;
}

describe("older state that gives way", () => {
  test("I1: what was brought in its place is on the disk when it is said to be absorbed", () => {
    const b = owner();
    const before = completes(b.said("transfer-ack"));
    b.absorbed.length = 0;
    // The read answers at once, while the commit of the chunk is on its way to the disk.
    b.delayed.add("sync");
    b.delayed.add("read");
    transferTo(b, NEWER, 2, [MARK, value("sum", 7)]);
    b.releaseOne(); // what was read
    b.releaseOne(); // the chunk's own commit, and nothing later
    const isSaid = completes(b.said("transfer-ack")) > before || b.absorbed.length > 0;
    // The machine loses power now.
    if (isSaid) expect(names(b)).toEqual({ sum: 7 });
    b.release("sync");
  });

  test("M3: also when the process dies between the mark and what it speaks for", () => {
    const b = owner();
    b.delayed.add("sync");
    b.delayed.add("read");
    transferTo(b, NEWER, 2, [MARK, value("sum", 7)]);
    b.releaseOne();
    b.releaseOne();
    const again = new Parts("b", b.disk); // a crash: later commits are lost
    again.follow(documentOf({ epoch: 9, owner: "b", generation: 3, stranded: [AWAY, NEWER] }));
    transferTo(again, NEWER, 5, [MARK, value("sum", 7)]);
    transferTo(again, NEWER, 6, [MARK, value("sum", 7)]);
    again.tick(300);
    expect(names(again)).toEqual({ sum: 7 });
  });

  test("M3: also when it could not be looked up before the process died", () => {
    const b = owner();
    b.delayed.add("read");
    transferTo(b, NEWER, 2, [MARK, value("sum", 7)]);
    const again = new Parts("b", b.disk);
    again.follow(documentOf({ epoch: 9, owner: "b", generation: 3, stranded: [AWAY, NEWER] }));
    transferTo(again, NEWER, 5, [MARK, value("sum", 7)]);
    transferTo(again, NEWER, 6, [MARK, value("sum", 7)]);
    again.tick(300);
    expect(names(again)).toEqual({ sum: 7 });
  });
});
