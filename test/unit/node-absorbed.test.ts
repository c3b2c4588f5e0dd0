/** What comes of other directories late, twice or in another order than it was written: state, ends and dead letters (rules 15 and 17). */

import { describe, expect, test } from "vitest";
import type { Stranded } from "../../ring/document.ts";
import type { Epoch, MemberId, NodeName } from "../../ring/ids.ts";
import type { NodeMessage, TransferMessage } from "../../ring/node/messages.ts";
import { hashChanges } from "../../ring/node/stream.ts";
import type { RowChange } from "../../ring/store.ts";
import { parseRecord } from "../../ring/tasks/record.ts";
import { encodeRecord } from "../../ring/tasks/record-encode.ts";
import { KIND, keyedRow, stateKey } from "../../ring/tasks/rows.ts";
import { stateMarkValue } from "../../ring/tasks/state-rows.ts";
import type { Attempt, AttemptEnd } from "../../ring/tasks/task.ts";
import { Disk } from "../../services/testing/disk.ts";
import { documentOf, keyIn, P0, Parts, strandedOn, talk, taskRecord } from "./node-parts.ts";

const K = keyIn(0);
const AWAY = strandedOn("c", 1);
const heldBy = (member: string, generation: number, adopter: string): Stranded =>
  strandedOn(member, generation, { type: "adopter", adopter: adopter as NodeName });

function count(parts: Parts, disk: Disk = parts.disk): number | undefined {
  const prefix = stateKey("alpha", K, "count");
  return disk.page({ partition: P0, prefix, rowLimit: 9, byteLimit: 1e6 }).rows[0]?.value[0];
}

function keyedRecord(): ReturnType<typeof taskRecord> {
  const { id } = taskRecord(K, 5_000);
  const wire = encodeRecord({ app: "alpha", type: "bump", key: K, id, idempotencyKey: "once" });
  return parseRecord(wire, 0, wire.length) as ReturnType<typeof taskRecord>;
}

function submit(parts: Parts, record: ReturnType<typeof taskRecord>): void {
  parts.engine.submit(parts.here.now, P0, record, -1, "client");
  parts.run();
}

/** Runs one new task of K to its end; its id. */
function bump(parts: Parts): string {
  parts.allowStarts(true);
  const before = parts.started.length;
  const id = parts.submit(P0, K);
  expect(parts.started.length).toBe(before + 1);
  parts.end(parts.started.at(-1)!);
  return id;
}

function end(parts: Parts, attempt: Attempt, stateChanges: AttemptEnd["stateChanges"]): void {
  parts.engine.ended(parts.here.now, [
    { attemptId: attempt.attemptId, outcome: { type: "done", result: undefined }, stateChanges, children: [] },
  ]);
  parts.run();
}

/** Carries what all say to each other, also to themselves. */
function talkAll(...all: Parts[]): void {
  for (let quiet = false; !quiet; ) {
    quiet = true;
    for (const from of all)
      for (const { to, message } of from.taken()) {
        const target = all.find((each) => each.self === to);
        if (target === undefined || !message.type.startsWith("transfer-")) continue;
        target.receive(from.self, message as TransferMessage);
        quiet = false;
      }
  }
}

function settle(...all: Parts[]): void {
  for (let turn = 0; turn < 6; turn++) {
    talkAll(...all);
    for (const each of all) each.tick(300);
  }
}

/** c, which owned the partition at generation 1 and ran one task: its counter is 1. */
function dead(): { disk: Disk; c: Parts } {
  const disk = new Disk("c" as NodeName, "id-c" as MemberId);
  const c = new Parts("c", disk);
  c.follow(documentOf({ epoch: 1, owner: "c" }));
  bump(c);
  expect(count(c)).toBe(1);
  return { disk, c };
}

describe("rows that come after the ring has taken their entry off the list", () => {
  test("P1: do not overwrite state written since", () => {
    const { c } = dead();
    const b = new Parts("b");
    const listed = documentOf({ epoch: 9, owner: "b", generation: 3, stranded: [AWAY] });
    b.follow(listed);
    c.follow(listed);
    talk(c, b);
    expect(b.absorbed).toEqual([AWAY]);
    // The link breaks before c knows that the entry is gone: it sends its rows again.
    c.outgoing.linkDown("b" as NodeName);
    c.tick(300);
    talk1(c, b, "transfer-offer");
    talk1(b, c, "transfer-begin");
    // The ring takes the entry off; b knows, c not yet.
    b.follow(documentOf({ epoch: 10, owner: "b", generation: 3 }));
    bump(b);
    expect(count(b)).toBe(2);
    talk(c, b); // c's chunks are late
    expect(count(b)).toBe(2);
    bump(b);
    expect(count(b)).toBe(3);
  });
});

describe("a task that runs without its state while its end comes from another disk", () => {
  test("P2: is not run again on top of the state that its end brought", () => {
    const { c } = dead();
    const record = keyedRecord(); // its end has a row of its own
    submit(c, record);
    c.end(c.started.at(-1)!); // ended and committed at c; the answer to the client was lost
    expect(count(c)).toBe(2);
    const b = new Parts("b");
    const listed = documentOf({ epoch: 9, owner: "b", generation: 3, stranded: [AWAY] });
    b.follow(listed);
    b.allowStarts(true);
    submit(b, record); // the client asks again, c is away
    expect(b.started).toHaveLength(1); // a type not yet seen to use state
    c.follow(listed);
    talk(c, b); // c is back while the handler runs
    expect(b.absorbed).toEqual([AWAY]);
    b.end(b.started[0]!); // it wrote state: not taken, the state is away
    b.follow(documentOf({ epoch: 10, owner: "b", generation: 3 }));
    for (const attempt of b.started.slice(1)) b.end(attempt);
    expect(count(b)).toBe(2);
  });
});

describe("state of two stranded directories", () => {
  /** c (1) died; a (2) absorbed its rows from its directory and ran a task of K; b's ring has not taken c off. */
  function second(): { disk: Disk; a: Parts } {
    const { disk } = dead();
    const a = new Parts("a");
    a.adopted.set("c" as NodeName, disk);
    a.follow(documentOf({ epoch: 5, owner: "a", generation: 2, stranded: [heldBy("c", 1, "a")] }));
    settle(a);
    expect(told(a)).toEqual(["c"]);
    bump(a);
    expect(count(a)).toBe(2);
    return { disk, a };
  }

  test("P1: chunks of the older one between those of the newer one do not win (both away)", () => {
    const row = { key: stateKey("alpha", K, "count"), value: Uint8Array.of(9) };
    const mark = {
      key: keyedRow(KIND.stateHere, "alpha", K, ""),
      value: stateMarkValue({ generation: 2, fresh: true }),
    };
    const b = new Parts("b");
    const newer = strandedOn("a", 2);
    b.follow(documentOf({ epoch: 9, owner: "b", generation: 3, stranded: [AWAY, newer] }));
    const transfers = { a: id(newer, 1), c: id(AWAY, 2) };
    b.receive("a", { type: "transfer-offer", transfer: transfers.a, epoch: 9 as Epoch, stranded: newer });
    const [first, last] = [row, mark].sort((one, two) => one.key[0]! - two.key[0]!) as [RowChange, RowChange]; // as they lie
    b.receive("a", { type: "transfer-chunk", transfer: transfers.a, sequence: 1, changes: [first] });
    b.receive("c", { type: "transfer-offer", transfer: transfers.c, epoch: 9 as Epoch, stranded: AWAY });
    const old = [{ ...row, value: Uint8Array.of(1) }];
    b.receive("c", whole(transfers.c, 1, old, hashChanges(0, old), 1));
    b.receive("a", whole(transfers.a, 2, [last], hashChanges(hashChanges(0, [first]), [last]), 2));
    // Whoever is not taken yet asks again.
    if (b.absorbed.length < 2) {
      const again = id(AWAY, 3);
      b.receive("c", { type: "transfer-offer", transfer: again, epoch: 9 as Epoch, stranded: AWAY });
      b.receive("c", whole(again, 1, old, hashChanges(0, old), 1));
    }
    expect(b.absorbed).toHaveLength(2);
    expect(count(b)).toBe(9);
  });

  test("P1: an owner's own older copy does not win over the newer one of whoever had it since", () => {
    const { disk, a } = second(); // a's copy says that its state of K wins
    // a dies; b (3) on the same machine takes both directories, absorbs them, and runs a task of K.
    const b = new Parts("b");
    b.adopted.set("c" as NodeName, disk);
    b.adopted.set("a" as NodeName, a.disk);
    b.follow(documentOf({ epoch: 6, owner: "b", generation: 3, stranded: [heldBy("c", 1, "b"), heldBy("a", 2, "b")] }));
    settle(b);
    expect(told(b)).toEqual(["a", "c"]);
    bump(b);
    expect(count(b)).toBe(3);
    // b dies before the ring has taken the entries off. a is back and gets the partition (4); b comes back after it.
    const stranded = [AWAY, strandedOn("a", 2), strandedOn("b", 3)];
    const again = new Parts("a", a.disk);
    const back = new Parts("b", b.disk);
    const c = new Parts("c", disk);
    const document = documentOf({ epoch: 7, owner: "a", generation: 4, stranded });
    for (const each of [again, back, c]) each.follow(document);
    settle(again, back, c);
    expect(told(again)).toEqual(["b", "c"]);
    again.follow(documentOf({ epoch: 8, owner: "a", generation: 4 }));
    expect(count(again)).toBe(3);
  });

  test.each([
    ["the older one first", ["a", "b", "c"]],
    ["the newer one first", ["b", "a", "c"]],
    ["the oldest one first", ["c", "a", "b"]],
  ])("P1: of two that were both marked the newer one wins: %s", (_, order) => {
    const { disk, a } = second();
    const b = new Parts("b");
    b.adopted.set("c" as NodeName, disk);
    b.adopted.set("a" as NodeName, a.disk);
    b.follow(documentOf({ epoch: 6, owner: "b", generation: 3, stranded: [heldBy("c", 1, "b"), heldBy("a", 2, "b")] }));
    settle(b);
    bump(b);
    expect(count(b)).toBe(3);
    // Everybody dies; d gets it (4). a is back first, b later.
    const document = documentOf({
      epoch: 7,
      owner: "d",
      generation: 4,
      stranded: [AWAY, strandedOn("a", 2), strandedOn("b", 3)],
    });
    const [d, a2, b2, c2] = [new Parts("d"), new Parts("a", a.disk), new Parts("b", b.disk), new Parts("c", disk)];
    d.follow(document);
    for (const name of order) {
      const each = [a2, b2, c2].find(({ self }) => self === name)!;
      each.follow(document);
      settle(d, each);
    }
    expect(told(d)).toEqual(["a", "b", "c"]);
    d.follow(documentOf({ epoch: 8, owner: "d", generation: 4 }));
    expect(count(d)).toBe(3);
  });

  test("P1: that the newer one is absorbed is said when the older one has given way to it", () => {
    const newer = strandedOn("a", 2);
    const b = new Parts("b");
    b.follow(documentOf({ epoch: 9, owner: "b", generation: 3, stranded: [AWAY, newer] }));
    const transfer = (stranded: Stranded, nonce: number, changes: readonly RowChange[]): void => {
      b.receive(stranded.member, {
        type: "transfer-offer",
        transfer: id(stranded, nonce),
        epoch: 9 as Epoch,
        stranded,
      });
      b.receive(stranded.member, whole(id(stranded, nonce), 1, changes, hashChanges(0, changes), changes.length));
    };
    transfer(AWAY, 1, [{ key: stateKey("alpha", K, "count"), value: Uint8Array.of(1) }]);
    expect(count(b)).toBe(1);
    const mark = {
      key: keyedRow(KIND.stateHere, "alpha", K, ""),
      value: stateMarkValue({ generation: 2, fresh: false }),
    };
    const rows = [mark, { key: stateKey("alpha", K, "sum"), value: Uint8Array.of(7) }];
    b.delayed.add("read");
    transfer(newer, 2, rows);
    expect(count(b)).toBe(1);
    expect(told(b)).toEqual(["c"]);
    b.release("read");
    transfer(newer, 3, rows);
    expect(told(b)).toEqual(["a", "c"]);
    expect(count(b)).toBeUndefined();
  });

  test("P1: state that was deleted since does not come back from the older one", () => {
    const { disk, a } = second();
    a.submit(P0, K);
    end(a, a.started.at(-1)!, [{ name: "count", value: undefined }]);
    expect(count(a)).toBeUndefined();
    const document = documentOf({ epoch: 7, owner: "b", generation: 3, stranded: [AWAY, strandedOn("a", 2)] });
    const [b, a2, c2] = [new Parts("b"), new Parts("a", a.disk), new Parts("c", disk)];
    b.follow(document);
    for (const each of [c2, a2]) {
      each.follow(document);
      settle(b, each);
    }
    expect(told(b)).toEqual(["a", "c"]);
    b.follow(documentOf({ epoch: 8, owner: "b", generation: 3 }));
    expect(count(b)).toBeUndefined();
  });
});

describe("a member whose directory was lost, and that came back with an empty one", () => {
  const lost: Stranded = { ...strandedOn("a", 1), memberId: "id-of-before" as MemberId };

  test("does not take what lies in the lost one for its own: state there is away", () => {
    const a = new Parts("a");
    a.follow(documentOf({ epoch: 9, owner: "a", generation: 2, stranded: [lost] }));
    a.allowStarts(true);
    a.submit(P0, K);
    expect(a.started[0]?.stateAway).toBe(true);
  });

  test("takes handoffs of its partitions", () => {
    const [a, b] = [new Parts("a"), new Parts("b")];
    for (const each of [a, b]) each.unlinked.add("a" as NodeName);
    b.follow(documentOf({ epoch: 8, owner: "b", generation: 2, stranded: [lost] }));
    const document = documentOf({ epoch: 9, owner: "b", next: "a", generation: 2, stranded: [lost] });
    const transfer = { partition: P0, kind: "handoff", generation: 2, nonce: 1 } as const;
    a.follow(document);
    a.receive("b", { type: "transfer-offer", transfer, epoch: document.epoch });
    expect(a.said("transfer-begin")).toHaveLength(1);
  });
});

test.each(["a", "c"])("a lost directory of a namesake does not hold handoffs up: to %s", (to) => {
  const lost: Stranded = { ...strandedOn("a", 1), memberId: "id-of-before" as MemberId };
  const b = new Parts("b");
  b.follow(documentOf({ epoch: 8, owner: "b", generation: 2, stranded: [lost] }));
  b.follow(documentOf({ epoch: 9, owner: "b", next: to, generation: 2, stranded: [lost] }));
  b.tick(300);
  b.tick(1_000);
  expect(b.said("transfer-offer")).toHaveLength(1);
});

describe("rows that come again", () => {
  test("a dead letter that was retried and done does not come back", () => {
    const c = new Parts("c");
    c.follow(documentOf({ epoch: 1, owner: "c" }));
    c.allowStarts(true);
    const dying = c.submit(P0, K);
    c.engine.ended(c.here.now, [
      {
        attemptId: c.started[0]!.attemptId,
        outcome: { type: "failed", error: { name: "E", message: "" }, permanent: true },
        stateChanges: [],
        children: [],
      },
    ]);
    c.run();
    const b = new Parts("b");
    const listed = documentOf({ epoch: 9, owner: "b", generation: 3, stranded: [AWAY] });
    b.follow(listed);
    c.follow(listed);
    talk(c, b);
    b.allowStarts(true);
    b.engine.request(b.here.now, P0, { type: "retry-dead", ids: [dying] }, 1);
    b.run();
    expect(b.started).toHaveLength(1);
    end(b, b.started[0]!, []);
    c.outgoing.linkDown("b" as NodeName);
    c.tick(300);
    talk(c, b);
    const dead = b.disk.page({ partition: P0, prefix: Uint8Array.of(KIND.dead), rowLimit: 9, byteLimit: 1e6 }).rows;
    expect(dead).toHaveLength(0);
  });
});

describe("a recovery", () => {
  function recovered(a: Parts): Parts {
    const again = new Parts("a", a.disk);
    again.follow(documentOf({ epoch: 5, history: 2 }));
    return again;
  }

  test("P3: what was accepted before it stays before what was accepted after it", () => {
    const first = new Parts("a");
    first.follow(documentOf({ epoch: 3 }));
    const a = new Parts("a", first.disk); // a restart: the second opening at this generation
    a.follow(documentOf({ epoch: 4 }));
    const older = a.submit(P0, K);
    const b = recovered(a);
    const newer = b.submit(P0, K);
    expect(b.stored(P0)).toEqual([older, newer]);
  });

  test("P1: a dead letter of before is not overwritten", () => {
    const a = new Parts("a");
    a.follow(documentOf({ epoch: 4 }));
    const die = (parts: Parts): void => {
      parts.allowStarts(true);
      parts.submit(P0, K);
      parts.engine.ended(parts.here.now, [
        {
          attemptId: parts.started.at(-1)!.attemptId,
          outcome: { type: "failed", error: { name: "E", message: "" }, permanent: true },
          stateChanges: [],
          children: [],
        },
      ]);
      parts.run();
    };
    die(a);
    const b = recovered(a);
    die(b);
    const dead = b.disk.page({ partition: P0, prefix: Uint8Array.of(KIND.dead), rowLimit: 9, byteLimit: 1e6 }).rows;
    expect(dead).toHaveLength(2);
  });
});

/** Whose rows it said to have absorbed. */
function told(parts: Parts): string[] {
  return [...new Set(parts.absorbed.map(({ member }) => member))].sort();
}

function id(entry: Stranded, nonce: number) {
  return { partition: P0, kind: "stranded", generation: entry.generation, nonce } as const;
}

function whole(
  transfer: ReturnType<typeof id>,
  sequence: number,
  changes: readonly RowChange[],
  hash: number,
  all: number,
): TransferMessage {
  return {
    type: "transfer-chunk",
    transfer,
    sequence,
    changes,
    last: { changes: all, hash, epoch: 9 as Epoch },
  } as TransferMessage;
}

/** Carries only messages of that type, and drops the others of the sender. */
function talk1(from: Parts, to: Parts, type: NodeMessage["type"]): void {
  for (const { message } of from.taken()) if (message.type === type) to.receive(from.self, message as TransferMessage);
}
