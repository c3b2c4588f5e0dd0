/** What forced changes leave behind on disks, and how it gets to whoever owns it now. */

import { describe, expect, test } from "vitest";
import type { Epoch, MemberId, NodeName } from "../../ring/ids.ts";
import type { NodeMessage, TransferMessage } from "../../ring/node/messages.ts";
import { hashChanges } from "../../ring/node/stream.ts";
import type { RowChange } from "../../ring/store.ts";
import { KIND, keyedRow, stateKey } from "../../ring/tasks/rows.ts";
import { stateMarkValue } from "../../ring/tasks/state-rows.ts";
import { Disk } from "../../services/testing/disk.ts";
import { MOVED, PLANNED } from "./node-handed.ts";
import { documentOf, keyIn, P0, Parts, strandedOn, talk } from "./node-parts.ts";

describe("stranded rows", () => {
  const AWAY = strandedOn("c", 1);
  const HELD = strandedOn("a", 2, { type: "adopter", adopter: "a" as NodeName });

  /** c, back again, has a task of partition 0, which b owns at generation 3. */
  function back(stranded: readonly ReturnType<typeof strandedOn>[]): { b: Parts; c: Parts; id: string } {
    const c = new Parts("c");
    c.follow(documentOf({ epoch: 1, owner: "c" }));
    const id = c.submit(P0);
    const b = new Parts("b");
    const document = documentOf({ epoch: 9, owner: "b", generation: 3, stranded });
    b.follow(document);
    c.follow(document);
    return { b, c, id };
  }

  test("P8: a receiver that does not say that it has all of them is not waited for without end", () => {
    const { b, c } = back([AWAY]);
    b.delayed.add("sync");
    talk(c, b);
    expect(c.outgoing.views()[0]?.phase).toBe("snapshot");
    c.tick(10_000);
    expect(c.outgoing.views()[0]?.phase).toBe("waiting");
  });

  test("P1: what a returning member held is absorbed, and its copy goes only with the entry", () => {
    const { b, c, id } = back([AWAY]);
    talk(c, b);
    expect(b.absorbed).toEqual([AWAY]);
    expect(b.stored(P0)).toEqual([id]);
    expect(c.stored(P0)).toEqual([id]);
    c.follow(documentOf({ epoch: 10, owner: "b", generation: 3 }));
    expect(c.stored(P0)).toEqual([]);
  });

  test("P1: what was absorbed is not said of a later ownership of the same node", () => {
    const { b, c } = back([AWAY]);
    talk(c, b);
    expect(b.absorbed).toEqual([AWAY]);
    b.follow(documentOf({ epoch: 11, owner: "b", generation: 5, stranded: [AWAY] }));
    b.absorbed.length = 0;
    b.tick(2_000);
    expect(b.absorbed).toEqual([]);
  });

  test("P8: what the same node has to absorb once more as a later owner is sent once more", () => {
    const { b, c, id } = back([AWAY]);
    talk(c, b);
    expect(b.absorbed).toEqual([AWAY]);
    b.absorbed.length = 0;
    // Both learn at once that somebody else was the owner meanwhile.
    const later = documentOf({ epoch: 11, owner: "b", generation: 5, stranded: [AWAY] });
    for (const each of [b, c]) each.follow(later);
    for (let turn = 0; turn < 4; turn++) {
      c.tick(1_000);
      talk(c, b);
    }
    expect(b.absorbed).toEqual([AWAY]);
    expect(b.stored(P0)).toContain(id);
  });

  test("P1: an owner that was the owner before them too, and does not know what happened since, takes none of them", () => {
    const since = documentOf({ epoch: 9, owner: "b", generation: 3, stranded: [strandedOn("c", 2)] });
    const c = new Parts("c");
    c.follow(documentOf({ epoch: 7, owner: "c", generation: 2 }));
    const id = c.submit(P0);
    const b = new Parts("b");
    b.follow(documentOf({ epoch: 5, owner: "b" }));
    c.follow(since);
    talk(c, b);
    expect(b.absorbed).toEqual([]);
    b.follow(since);
    c.tick(300);
    talk(c, b);
    expect(b.absorbed).toEqual([strandedOn("c", 2)]);
    expect(b.stored(P0)).toEqual([id]);
  });

  test("P8: an owner that is about to open the partition is asked again soon, and ever more rarely", () => {
    const { b, c } = back([AWAY]);
    b.delayed.add("open");
    b.follow(documentOf({ epoch: 10, owner: "c", generation: 4, stranded: [AWAY] }));
    b.follow(documentOf({ epoch: 11, owner: "b", generation: 5, stranded: [AWAY] }));
    const offers: number[] = [];
    const begunAt = c.here.now;
    for (; c.here.now < begunAt + 1_200; c.tick(5)) {
      if (c.said("transfer-offer").length > 0) offers.push(c.here.now - begunAt);
      talk(c, b);
    }
    expect(offers).toEqual([0, 20, 60, 140, 300, 550, 800, 1_050]);
    b.release("open");
    c.tick(300);
    talk(c, b);
    expect(b.absorbed).toEqual([AWAY]);
  });

  test("P1: rows that come while the owner opens the partition anew are not acknowledged", () => {
    const { b, c, id } = back([AWAY, HELD]);
    for (const { message } of c.taken()) if (message.type === "transfer-offer") b.receive("c", message);
    const begin = b.taken().filter(({ message }) => message.type === "transfer-begin");
    expect(begin).toHaveLength(1);
    // The other directory's adopter is gone: the owner starts at once, by opening the partition anew.
    b.delayed.add("open");
    b.follow(documentOf({ epoch: 10, owner: "b", generation: 3, stranded: [AWAY, strandedOn("a", 2)] }));
    for (const { message } of begin) c.receive("b", message as TransferMessage);
    for (let turn = 0; turn < 4; turn++) {
      talk(c, b);
      c.tick(300);
    }
    expect(b.absorbed).toEqual([]);
    b.release("open");
    for (let turn = 0; turn < 4; turn++) {
      talk(c, b);
      c.tick(300);
    }
    expect(b.absorbed).toEqual([AWAY]);
    expect(b.stored(P0)).toEqual([id]);
  });

  test("P1: rows that were taken but not yet on disk when the partition was opened anew are not acknowledged", () => {
    const { b, c, id } = back([AWAY, HELD]);
    b.delayed.add("flush");
    for (let turn = 0; turn < 3; turn++) {
      for (const { message } of c.taken()) b.receive("c", message as TransferMessage);
      for (const { message } of b.taken())
        if (message.type.startsWith("transfer-")) c.receive("b", message as TransferMessage);
    }
    b.follow(documentOf({ epoch: 10, owner: "b", generation: 3, stranded: [AWAY, strandedOn("a", 2)] }));
    b.release("flush");
    expect(b.absorbed.length === 0 || b.stored(P0).includes(id)).toBe(true);
    for (let turn = 0; turn < 8; turn++) {
      talk(c, b);
      c.tick(300);
    }
    expect(b.absorbed).toEqual([AWAY]);
    expect(b.stored(P0)).toEqual([id]);
  });

  test("a copy listed as stranded is not dropped, not even to make room for a handoff", () => {
    const { c } = back([AWAY]);
    const id = { partition: P0, kind: "handoff", generation: 3, nonce: 9 } as const;
    c.follow(documentOf({ epoch: 10, owner: "b", next: "c", generation: 3, stranded: [AWAY] }));
    c.receive("b", { type: "transfer-offer", transfer: id, epoch: PLANNED.epoch });
    expect(c.said("transfer-wait").map(reasonOf)).toContain("the receiver still holds older tasks of it");
    expect(c.dropped).toEqual([]);
  });

  test("a directory taken over is emptied to the owner", () => {
    const dead = new Disk("c" as NodeName, "id-c" as MemberId);
    const c = new Parts("c", dead);
    c.follow(documentOf({ epoch: 1, owner: "c" }));
    const id = c.submit(P0);
    const entry = strandedOn("c", 1, { type: "adopter", adopter: "a" as NodeName });
    const document = documentOf({ epoch: 9, owner: "b", generation: 3, stranded: [entry] });
    const a = new Parts("a");
    const b = new Parts("b");
    a.follow(document);
    b.follow(document);
    expect(a.outgoing.views()).toEqual([]);
    a.adopted.set("c" as NodeName, dead);
    a.follow(document);
    talk(a, b);
    expect(b.absorbed).toEqual([entry]);
    expect(b.stored(P0)).toEqual([id]);
  });
});

describe("a directory taken over that is given back while it is emptied", () => {
  const HELD = strandedOn("c", 1, { type: "adopter", adopter: "a" as NodeName });

  test("P1: is not said to be empty to a receiver that has been offered it: that would take its tasks off the ring's list", () => {
    const dead = new Disk("c" as NodeName, "id-c" as MemberId);
    const c = new Parts("c", dead);
    c.follow(documentOf({ epoch: 1, owner: "c" }));
    const id = c.submit(P0);
    const [a, b] = [new Parts("a"), new Parts("b")];
    const document = documentOf({ epoch: 9, owner: "b", generation: 3, stranded: [HELD] });
    a.adopted.set("c" as NodeName, dead);
    for (const each of [b, a]) each.follow(document);
    expect(a.said("transfer-offer")).toHaveLength(1);
    a.adopted.delete("c" as NodeName);
    talk(a, b);
    expect(b.absorbed).toEqual([]);
    expect(a.outgoing.views()[0]?.reason).toBe("the directory of c is not held here");
    a.tick(10_000);
    talk(a, b);
    expect(b.absorbed).toEqual([]);
    a.adopted.set("c" as NodeName, dead);
    a.tick(1_000);
    talk(a, b);
    expect(b.absorbed).toEqual([HELD]);
    expect(b.stored(P0)).toEqual([id]);
  });

  test("P1: brings nothing of a copy of which it cannot be told any more whether all of it came", () => {
    const [a, b, c] = [new Parts("a"), new Parts("b"), new Parts("c")];
    a.follow(documentOf({ epoch: 4 }));
    a.submit(P0);
    for (const each of [b, a]) each.follow(PLANNED);
    for (let turn = 0; turn < 4; turn++) {
      for (const { message } of a.taken()) if (!("last" in message)) b.receive("a", message as TransferMessage);
      for (const { message } of b.taken()) a.receive("b", message as TransferMessage);
    }
    expect(b.stored(P0)).toHaveLength(1);
    const adopter = new Parts("a");
    adopter.adopted.set("b" as NodeName, b.disk);
    adopter.delayed.add("read");
    const entry = strandedOn("b", 2, { type: "adopter", adopter: "a" as NodeName });
    const document = documentOf({ epoch: 9, owner: "c", generation: 3, stranded: [entry] });
    for (const each of [c, adopter]) each.follow(document);
    talk(adopter, c);
    expect(adopter.outgoing.views()[0]?.phase).toBe("snapshot");
    adopter.adopted.delete("b" as NodeName);
    adopter.release("read");
    talk(adopter, c);
    expect(c.stored(P0)).toEqual([]);
    expect(c.absorbed).toEqual([]);
  });
});

describe("an owner by force that never knew of it", () => {
  /** c was the owner at generation 1 and handed the partition on, but was down before it could drop its copy. */
  function older(): { disk: Disk; c: Parts } {
    const disk = new Disk("c" as NodeName, "id-c" as MemberId);
    const c = new Parts("c", disk);
    c.follow(documentOf({ epoch: 1, owner: "c" }));
    c.submit(P0);
    return { disk, c };
  }

  test("P1: brings nothing back of an earlier ownership", () => {
    const { disk } = older();
    const [b, c] = [new Parts("b"), new Parts("c", disk)];
    const document = documentOf({ epoch: 9, owner: "b", generation: 5, stranded: [strandedOn("c", 4)] });
    for (const each of [b, c]) each.follow(document);
    talk(c, b);
    expect(b.absorbed).toEqual([strandedOn("c", 4)]);
    expect(b.stored(P0)).toEqual([]);
    expect(c.dropped).toEqual([P0]);
  });

  test("P1: nor does its adopter", () => {
    const { disk } = older();
    const entry = strandedOn("c", 4, { type: "adopter", adopter: "a" as NodeName });
    const document = documentOf({ epoch: 9, owner: "b", generation: 5, stranded: [entry] });
    const [a, b] = [new Parts("a"), new Parts("b")];
    a.adopted.set("c" as NodeName, disk);
    for (const each of [b, a]) each.follow(document);
    talk(a, b);
    expect(b.absorbed).toEqual([entry]);
    expect(b.stored(P0)).toEqual([]);
  });

  test("P1: nor what of a handoff had come when its owner died", () => {
    const [a, b, c] = [new Parts("a"), new Parts("b"), new Parts("c")];
    a.follow(documentOf({ epoch: 4 }));
    a.submit(P0);
    for (const each of [b, a]) each.follow(PLANNED);
    for (let turn = 0; turn < 4; turn++) {
      for (const { message } of a.taken()) if (!("last" in message)) b.receive("a", message as TransferMessage);
      for (const { message } of b.taken()) a.receive("b", message as TransferMessage);
    }
    expect(b.stored(P0)).toHaveLength(1);
    const document = documentOf({ epoch: 9, owner: "c", generation: 3, stranded: [strandedOn("b", 2)] });
    for (const each of [c, b]) each.follow(document);
    talk(b, c);
    expect(c.absorbed).toEqual([strandedOn("b", 2)]);
    expect(c.stored(P0)).toEqual([]);
  });

  test("P1: nor what had come whole, where its owner may have gone on", () => {
    const [a, b, c] = [new Parts("a"), new Parts("b"), new Parts("c")];
    a.follow(documentOf({ epoch: 4 }));
    a.submit(P0);
    for (const each of [b, a]) each.follow(PLANNED);
    talk(a, b);
    expect(a.consents).toHaveLength(1);
    const entry = { ...strandedOn("b", 2), byForce: true } as const;
    const document = documentOf({ epoch: 9, owner: "c", generation: 3, stranded: [entry] });
    for (const each of [c, b]) each.follow(document);
    talk(b, c);
    expect(c.absorbed).toEqual([entry]);
    expect(c.stored(P0)).toEqual([]);
  });

  test("P1: nor does it go on from there when it is the owner again", () => {
    const { disk } = older();
    const c = new Parts("c", disk);
    c.follow(documentOf({ epoch: 9, owner: "c", generation: 6, stranded: [strandedOn("c", 4)] }));
    expect(c.hosting.serving(P0)).toBe(true);
    expect(c.stored(P0)).toEqual([]);
  });
});

describe("a partition with tasks on an absent machine", () => {
  const AWAY = strandedOn("c", 1);
  const planned = documentOf({ epoch: 9, owner: "a", next: "b", generation: 2, stranded: [AWAY] });

  test("moves on all the same, and what comes back finds the new owner", () => {
    const c = new Parts("c");
    c.follow(documentOf({ epoch: 1, owner: "c" }));
    const older = c.submit(P0);
    const a = new Parts("a");
    const b = new Parts("b");
    for (const each of [a, b]) each.unlinked.add("c" as NodeName);
    a.follow(documentOf({ epoch: 8, owner: "a", generation: 2, stranded: [AWAY] }));
    const newer = a.submit(P0);
    b.follow(planned);
    a.follow(planned);
    talk(a, b);
    expect(a.consents).toEqual([{ epoch: 10, partition: 0, to: "b" }]);
    const moved = documentOf({ epoch: 10, owner: "b", generation: 3, stranded: [AWAY] });
    for (const each of [a, b, c]) each.follow(moved);
    expect(b.stored(P0)).toEqual([newer]);
    talk(c, b);
    expect(b.absorbed).toEqual([AWAY]);
    expect(b.stored(P0)).toEqual([newer, older]);
  });

  /** a is about to give the partition to b; c, with an older task of it, has come back meanwhile. */
  function cuttingOver(): { a: Parts; b: Parts; c: Parts; older: string; moved: Parameters<Parts["follow"]>[0] } {
    const [a, b, c] = [new Parts("a"), new Parts("b"), new Parts("c")];
    c.follow(documentOf({ epoch: 1, owner: "c" }));
    const older = c.submit(P0);
    a.unlinked.add("c" as NodeName);
    a.follow(documentOf({ epoch: 8, owner: "a", generation: 2, stranded: [AWAY] }));
    b.follow(planned);
    a.follow(planned);
    a.unlinked.clear();
    return { a, b, c, older, moved: documentOf({ epoch: 10, owner: "b", generation: 3, stranded: [AWAY] }) };
  }

  test("P1: an owner that has consented to give it away absorbs nothing; the new owner does", () => {
    const { a, b, c, older, moved } = cuttingOver();
    talk(a, b);
    expect(a.consents).toHaveLength(1);
    c.follow(planned);
    talk(c, a);
    expect(a.absorbed).toEqual([]);
    for (const each of [a, b, c]) each.follow(moved);
    talk(c, b);
    expect(b.absorbed).toEqual([AWAY]);
    expect(b.stored(P0)).toEqual([older]);
  });

  test("P1: nor what it has begun to take, unless it came before", () => {
    const { a, b, c, older, moved } = cuttingOver();
    c.follow(planned);
    for (const { message } of c.taken()) a.receive("c", message as TransferMessage);
    const begin = a.sent.find(({ message }) => message.type === "transfer-begin")!;
    talk(a, b);
    expect(a.consents).toHaveLength(1);
    c.receive("a", begin.message as TransferMessage);
    talk(c, a);
    expect(a.absorbed).toEqual([]);
    expect(a.stored(P0)).toEqual([]);
    for (const each of [a, b, c]) each.follow(moved);
    talk(c, b);
    expect(b.stored(P0)).toEqual([older]);
  });

  test("P1: an owner that does not know what came of its consent absorbs nothing until it does", () => {
    const { a, b, c, older, moved } = cuttingOver();
    talk(a, b);
    const again = new Parts("a", a.disk);
    again.follow(planned);
    expect(again.hosting.waitsFor(P0)).toBe("in doubt until epoch 10 is known");
    c.follow(planned);
    for (const { message } of c.taken()) again.receive("c", message as TransferMessage);
    expect(again.said("transfer-wait").map(reasonOf)).toEqual(["the receiver does not serve the partition now"]);
    talk(c, again);
    expect(again.absorbed).toEqual([]);
    for (const each of [again, b, c]) each.follow(moved);
    talk(c, b);
    expect(b.stored(P0)).toEqual([older]);
  });

  test("waits while that machine is back and hands them over", () => {
    const a = new Parts("a");
    a.follow(planned);
    a.tick(300);
    expect(a.outgoing.views()[0]?.reason).toBe("stranded tasks come first");
  });

  test("waits while it is to move to that very machine", () => {
    const a = new Parts("a");
    a.unlinked.add("c" as NodeName);
    a.follow(documentOf({ epoch: 9, owner: "a", next: "c", generation: 2, stranded: [AWAY] }));
    a.unlinked.clear();
    a.tick(300);
    expect(a.outgoing.views()[0]?.reason).toBe("stranded tasks come first");
  });

  test("P1: state written since by any owner wins over what the absent machine has", () => {
    const name = keyIn(0);
    const row = { key: stateKey("alpha", name, "count"), value: Uint8Array.of(9) };
    const mark = {
      key: keyedRow(KIND.stateHere, "alpha", name, ""),
      value: stateMarkValue({ generation: 2, fresh: true }),
    };
    const b = new Parts("b");
    const document = documentOf({ epoch: 9, owner: "b", generation: 3, stranded: [AWAY, strandedOn("a", 2)] });
    b.follow(document);
    const bring = (nonce: number, stranded: typeof AWAY, changes: readonly RowChange[]): void => {
      const transfer = { partition: P0, kind: "stranded", generation: stranded.generation, nonce } as const;
      b.receive(stranded.member, { type: "transfer-offer", transfer, epoch: document.epoch, stranded });
      b.receive(stranded.member, {
        type: "transfer-chunk",
        transfer,
        sequence: 1,
        changes,
        last: { changes: changes.length, hash: hashChanges(0, changes), epoch: 9 as Epoch },
      });
    };
    bring(1, strandedOn("a", 2), [row, mark]);
    bring(2, AWAY, [{ ...row, value: Uint8Array.of(1) }]);
    expect(b.absorbed).toHaveLength(2);
    expect(b.disk.page({ partition: P0, prefix: row.key, rowLimit: 9, byteLimit: 1e6 }).rows[0]?.value).toEqual(
      Uint8Array.of(9),
    );
  });
});

describe("several directories", () => {
  test("that one node holds are sent side by side, also of one partition", () => {
    const b = new Parts("b");
    const entries = [strandedOn("c", 1), { ...strandedOn("a", 2), memberId: "id-a" as MemberId }];
    const document = documentOf({ epoch: 9, owner: "b", generation: 3, stranded: entries });
    b.follow(document);
    for (const [index, stranded] of entries.entries()) {
      const id = { partition: P0, kind: "stranded", generation: stranded.generation, nonce: 50 + index } as const;
      b.receive("a", { type: "transfer-offer", transfer: id, epoch: document.epoch, stranded });
    }
    for (const [index, stranded] of entries.entries()) {
      const id = { partition: P0, kind: "stranded", generation: stranded.generation, nonce: 50 + index } as const;
      b.receive("a", {
        type: "transfer-chunk",
        transfer: id,
        sequence: 1,
        changes: [],
        last: { changes: 0, hash: 0, epoch: 9 as Epoch },
      });
    }
    expect(b.absorbed).toEqual(entries);
  });
});

describe("a new history", () => {
  test("P1: after a recovery the owner goes on with its rows", () => {
    const a = new Parts("a");
    a.follow(documentOf({ epoch: 4 }));
    const id = a.submit(P0);
    const again = new Parts("a", a.disk);
    again.follow(documentOf({ epoch: 5, history: 2 }));
    expect(again.quarantined).toEqual([]);
    expect(again.hosting.serving(P0)).toBe(true);
    expect(again.stored(P0)).toEqual([id]);
  });

  test("P1: rows of an older history that the new one does not know of are set aside, not dropped", () => {
    const b = new Parts("b");
    b.follow(MOVED);
    b.submit(P0);
    const again = new Parts("b", b.disk);
    again.follow(documentOf({ epoch: 6, history: 2, owner: "a" }));
    expect(again.quarantined).toEqual([0]);
  });
});

function reasonOf(message: NodeMessage): string {
  return "reason" in message ? message.reason : "";
}
