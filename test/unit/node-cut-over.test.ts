/**
 * The moments of a move at which one wrong step costs a task or runs it twice: pages that are read while rows change, the
 * cut-over, the doubt after the consent, older tasks that come in. Ownership rules 13 to 16.
 */

import { describe, expect, test } from "vitest";
import type { NodeName } from "../../ring/ids.ts";
import type { TransferMessage } from "../../ring/node/messages.ts";
import type { Attempt } from "../../ring/tasks/task.ts";
import { Disk } from "../../services/testing/disk.ts";
import { documentOf, keyIn, P0, Parts, strandedOn, talk } from "./node-parts.ts";

const OWNED = documentOf({ epoch: 4 });
const PLANNED = documentOf({ epoch: 5, owner: "a", next: "b" });
const MOVED = documentOf({ epoch: 6, owner: "b", generation: 2 });

/** a, with the right to start, and b; the partition is about to move from a to b. */
function planned(fill: (a: Parts) => void): { a: Parts; b: Parts } {
  const a = new Parts("a");
  a.allowStarts(true);
  a.follow(OWNED);
  fill(a);
  const b = new Parts("b");
  b.follow(PLANNED);
  a.follow(PLANNED);
  return { a, b };
}

/** Tells b what a has said, and a what b has said, once each way. */
function exchange(a: Parts, b: Parts): void {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const)
    for (const { message } of from.taken()) to.receive(from.self, message as TransferMessage);
}

function idsOf(attempts: readonly Attempt[]): string[] {
  return attempts.map(({ record }) => record.id);
}

describe("while pages are read", () => {
  test("P2: a task that ends between the reading of its page and the page's arrival does not run again at the receiver", () => {
    let ended = "";
    const { a, b } = planned((of) => {
      ended = of.submit(P0);
      of.submit(P0, keyIn(0, 1));
    });
    a.delayed.add("read");
    exchange(a, b);
    a.end(a.started[0]!);
    expect(a.stored(P0)).not.toContain(ended);
    a.end(a.started[1]!);
    const later = a.submit(P0, keyIn(0, 2));
    a.end(a.started[2]!);
    a.release("read");
    talk(a, b);
    a.follow(MOVED);
    b.follow(MOVED);
    expect(b.stored(P0)).toEqual([]);
    expect(idsOf(a.started)).toContain(later);
  });

  test("P1: a partition is served only when the last page of its rows has been read", () => {
    const a = new Parts("a");
    a.follow(OWNED);
    const ids = Array.from({ length: 1_100 }, () => a.submit(P0));
    const again = new Parts("a", a.disk);
    again.allowStarts(true);
    again.delayed.add("read");
    again.follow(OWNED);
    expect(again.hosting.serving(P0)).toBe(false);
    again.releaseOne();
    expect(again.hosting.serving(P0)).toBe(false);
    expect(idsOf(again.started)).toEqual([]);
    again.release("read");
    expect(again.hosting.serving(P0)).toBe(true);
    expect(again.engine.view(P0)?.queued).toBe(ids.length);
  });
});

describe("the cut-over", () => {
  test("P2: starts no task that waits while those under way end, and submits wait", () => {
    const { a, b } = planned((of) => void [of.submit(P0), of.submit(P0)]);
    expect(a.started).toHaveLength(1);
    talk(a, b);
    expect(a.outgoing.views()[0]?.reason).toBe("waiting for 1 handlers");
    expect(a.hosting.serving(P0)).toBe(false);
    a.end(a.started[0]!);
    expect(a.started).toHaveLength(1);
    talk(a, b);
    expect(a.consents).toHaveLength(1);
    a.follow(MOVED);
    b.follow(MOVED);
    expect(a.started).toHaveLength(1);
    expect(b.stored(P0)).toHaveLength(1);
  });

  /** b has all of it; the seal is on its way to a's disk. */
  function sealing(): { a: Parts; b: Parts } {
    const { a, b } = planned((of) => void of.submit(P0));
    a.end(a.started[0]!);
    a.delayed.add("sync");
    for (let turn = 0; turn < 9; turn++) exchange(a, b);
    expect(a.outgoing.views()[0]?.reason).toBe("sealing for epoch 6");
    expect(a.consents).toEqual([]);
    return { a, b };
  }

  test("P3: a broken link does not wake a partition that was consented away", () => {
    const { a, b } = planned((of) => void of.submit(P0));
    a.end(a.started[0]!);
    talk(a, b);
    expect(a.consents).toHaveLength(1);
    a.outgoing.linkDown("b" as NodeName);
    a.tick(300);
    expect(a.hosting.serving(P0)).toBe(false);
    expect(a.outgoing.views()[0]?.reason).toBe("waiting for epoch 6");
  });

  test("P8: a link that breaks after the receiver had all of it does not cost the cut-over", () => {
    const { a } = sealing();
    a.outgoing.linkDown("b" as NodeName);
    expect(a.outgoing.views()[0]?.phase).toBe("cut-over");
    a.release("sync");
    expect(a.consents).toHaveLength(1);
    expect(a.hosting.serving(P0)).toBe(false);
  });

  test("P3: the consent is given only when the seal is on disk", () => {
    const { a } = sealing();
    a.release("sync");
    expect(a.consents).toHaveLength(1);
    const sealed = new Parts("a", a.disk);
    sealed.follow(PLANNED);
    expect(sealed.hosting.doubts()).toEqual([6]);
  });

  test("the remainder is on its way to the receiver before it is on the owner's own disk", () => {
    const { a, b } = planned((of) => void of.submit(P0));
    talk(a, b);
    const ended = a.started[0]!;
    a.delayed.add("sync");
    a.end(ended);
    talk(a, b);
    expect(a.stored(P0)).toEqual([ended.record.id]);
    expect(b.stored(P0)).toEqual([]);
    const sent = a.outgoing.views()[0]?.rows;
    a.release("sync");
    expect(a.outgoing.views()[0]?.rows).toBe(sent);
  });

  test("P8: a seal that nobody was told of is taken back when the cut-over breaks off", () => {
    const { a, b } = planned((of) => void of.submit(P0));
    a.end(a.started[0]!);
    b.delayed.add("flush");
    for (let turn = 0; turn < 4; turn++) exchange(a, b);
    expect(a.outgoing.views()[0]?.reason).toBe("waiting until the receiver has it on disk");
    a.outgoing.linkDown("b" as NodeName);
    expect(a.hosting.serving(P0)).toBe(true);
    a.run();
    const again = new Parts("a", a.disk);
    again.follow(PLANNED);
    expect(again.hosting.doubts()).toEqual([]);
    expect(again.hosting.serving(P0)).toBe(true);
  });

  test("P3: a seal whose epoch decided something else while the receiver wrote is made anew before the consent", () => {
    const { a, b } = planned((of) => void of.submit(P0));
    a.end(a.started[0]!);
    b.delayed.add("flush");
    for (let turn = 0; turn < 4; turn++) exchange(a, b);
    a.delayed.add("sync");
    a.follow({ ...PLANNED, epoch: 6 as typeof PLANNED.epoch });
    b.release("flush");
    for (let turn = 0; turn < 4; turn++) exchange(a, b);
    expect(a.consents).toEqual([]);
    a.release("sync");
    expect(a.consents).toEqual([{ epoch: 7, partition: 0, to: "b" }]);
  });

  test("P3: the receiver reads what arrived while the decision is on its way to its disk, and starts nothing before", () => {
    const { a, b } = planned((of) => void [of.allowStarts(false), of.submit(P0), of.submit(P0)]);
    talk(a, b);
    b.allowStarts(true);
    b.foresee(MOVED);
    expect(b.hosting.loaded(P0)).toBe(true);
    expect(b.hosting.serving(P0)).toBe(false);
    expect(b.started).toEqual([]);
    b.follow(MOVED);
    expect(b.hosting.serving(P0)).toBe(true);
    expect(b.started).toHaveLength(1);
    expect(b.dropped).toEqual([]);
  });

  test("P1: what was opened ahead of a decision is used after a crash that lost the decision", () => {
    const { a, b } = planned((of) => void [of.allowStarts(false), of.submit(P0), of.submit(P0)]);
    talk(a, b);
    b.foresee(MOVED);
    const again = new Parts("b", b.disk);
    again.follow(PLANNED);
    expect(again.hosting.loaded(P0)).toBe(false);
    expect(again.dropped).toEqual([]);
    again.follow(MOVED);
    expect(again.stored(P0)).toHaveLength(2);
    expect(again.hosting.serving(P0)).toBe(true);
  });

  test("P1: what was opened ahead of a decision outlives the epochs before it, which reach the disk later", () => {
    const { a, b } = planned((of) => void [of.allowStarts(false), of.submit(P0), of.submit(P0)]);
    talk(a, b);
    b.foresee({ ...MOVED, epoch: 7 as typeof MOVED.epoch });
    b.follow({ ...PLANNED, epoch: 6 as typeof PLANNED.epoch });
    expect(b.dropped).toEqual([]);
    expect(b.hosting.serving(P0)).toBe(false);
    b.follow({ ...MOVED, epoch: 7 as typeof MOVED.epoch });
    expect(b.hosting.serving(P0)).toBe(true);
    expect(b.stored(P0)).toHaveLength(2);
  });

  test("P2: nothing is opened ahead of a decision that takes the partition by force", () => {
    const { a, b } = planned((of) => void of.submit(P0));
    a.end(a.started[0]!);
    talk(a, b);
    b.foresee({ ...MOVED, stranded: [strandedOn("a", 1)] });
    expect(b.hosting.hosts(P0)).toBe(false);
  });

  test("P3: a seal that became void on its way to the disk does not stand for the next one", () => {
    const { a } = sealing();
    a.follow({ ...PLANNED, epoch: 6 as typeof PLANNED.epoch });
    a.releaseOne();
    expect(a.consents).toEqual([]);
    a.release("sync");
    expect(a.consents).toEqual([{ epoch: 7, partition: 0, to: "b" }]);
  });

  test("submits wait for what has changed since the snapshot, not for the snapshot", () => {
    const { a, b } = planned((of) => {
      for (let count = 0; count < 300; count++) of.submit(P0, keyIn(0, count));
    });
    b.delayed.add("sync");
    for (let turn = 0; turn < 4; turn++) exchange(a, b);
    expect(a.outgoing.views()[0]?.phase).toBe("catch-up");
    expect(a.hosting.serving(P0)).toBe(true);
    b.release("sync");
    exchange(a, b);
    exchange(a, b);
    expect(a.outgoing.views()[0]?.phase).toBe("cut-over");
  });

  test("P8: a load that always leaves hundreds of changes on their way does not keep the partition where it is", () => {
    const { a, b } = planned(() => {});
    for (let turn = 0; turn < 30 && (turn < 3 || a.hosting.serving(P0)); turn++) {
      for (const { here } of [a, b]) here.now += 250;
      const [toB, toA] = [a.taken(), b.taken()];
      a.delayed.add("flush");
      for (let count = 0; count < 600; count++) a.submit(P0);
      a.release("flush");
      for (const { message } of toB) b.receive("a", message as TransferMessage);
      for (const { message } of toA) a.receive("b", message as TransferMessage);
    }
    expect(a.outgoing.views()[0]?.phase).toBe("cut-over");
    expect(a.hosting.serving(P0)).toBe(false);
  });

  test("P1: no consent before the receiver has the very last of it on disk", () => {
    const { a, b } = planned((of) => void [of.submit(P0), of.submit(P0, keyIn(0, 1))]);
    for (const attempt of [...a.started]) a.end(attempt);
    a.submit(P0);
    a.end(a.started.at(-1)!);
    b.delayed.add("flush");
    for (let turn = 0; turn < 4; turn++) exchange(a, b);
    expect(a.outgoing.views()[0]?.reason).toBe("waiting until the receiver has it on disk");
    b.release("flush");
    const acks = b.taken().filter(({ message }) => message.type === "transfer-ack");
    expect(acks.length).toBeGreaterThan(1);
    for (const { message } of acks.slice(0, -1)) a.receive("b", message as TransferMessage);
    expect(a.consents).toEqual([]);
    a.receive("b", acks.at(-1)!.message as TransferMessage);
    expect(a.consents).toHaveLength(1);
  });

  test("P8: a consent that nobody acts on is given again, and its giver then proposes the epoch itself", () => {
    const { a, b } = planned((of) => void of.submit(P0));
    a.end(a.started[0]!);
    talk(a, b);
    const insisted: boolean[] = a.insisted.splice(0);
    expect(insisted).toEqual([false]);
    a.tick(500);
    a.tick(500);
    expect(a.insisted).toEqual([true, true]);
    expect(new Set(a.consents.map(({ epoch }) => epoch))).toEqual(new Set([6]));
  });

  test("P8: a handler that does not return is named, and with force the partition moves all the same", () => {
    const { a, b } = planned((of) => void of.submit(P0));
    talk(a, b);
    expect(a.outgoing.force(P0)).toBe(true);
    a.tick(1);
    talk(a, b);
    expect(a.consents).toHaveLength(1);

    const patient = planned((of) => void of.submit(P0));
    talk(patient.a, patient.b);
    patient.a.tick(24_000);
    expect(patient.a.outgoing.views()[0]?.reason).toBe("waiting for 1 handlers");
    patient.a.tick(2_000);
    expect(patient.a.outgoing.views()[0]?.reason).toBe("HANDLER_STUCK: alpha bump does not return");
    patient.a.tick(300_000);
    expect(patient.a.consents).toEqual([]);
  });
});

describe("in doubt", () => {
  test("P3: nothing of a sealed partition starts, before its epoch is known, after a restart", () => {
    const { a, b } = planned((of) => void [of.submit(P0), of.submit(P0)]);
    talk(a, b);
    a.end(a.started[0]!);
    talk(a, b);
    expect(a.consents).toHaveLength(1);
    const again = new Parts("a", a.disk);
    again.allowStarts(true);
    again.follow(PLANNED);
    again.tick(60_000);
    expect(idsOf(again.started)).toEqual([]);
    again.follow({ ...PLANNED, epoch: 6 as typeof PLANNED.epoch });
    expect(again.started).toHaveLength(1);
  });

  test("P1: the copy of a partition given away stays until the new owner's document is known", () => {
    const { a, b } = planned((of) => void [of.submit(P0), of.submit(P0)]);
    talk(a, b);
    a.end(a.started[0]!);
    talk(a, b);
    const ids = a.stored(P0);
    expect(ids).toHaveLength(1);
    a.tick(60_000);
    expect(a.stored(P0)).toEqual(ids);
    const again = new Parts("a", a.disk);
    again.follow(PLANNED);
    expect(again.stored(P0)).toEqual(ids);
    again.follow(MOVED);
    expect(again.stored(P0)).toEqual([]);
  });
});

describe("an arrival", () => {
  const transfer = { partition: P0, kind: "handoff", generation: 1, nonce: 7 } as const;

  test("refuses a chunk that is not the next", () => {
    const b = new Parts("b");
    b.follow(PLANNED);
    b.receive("a", { type: "transfer-offer", transfer, epoch: PLANNED.epoch });
    b.receive("a", { type: "transfer-chunk", transfer, sequence: 2, changes: [] });
    expect(b.said("transfer-abort")).toMatchObject([{ reason: "chunk 2 after 0" }]);
    expect(b.said("transfer-ack")).toEqual([]);
  });

  test("P1: of which less came than was sent is refused, and its rows are not used", () => {
    const b = new Parts("b");
    b.follow(PLANNED);
    b.receive("a", { type: "transfer-offer", transfer, epoch: PLANNED.epoch });
    b.receive("a", {
      type: "transfer-chunk",
      transfer,
      sequence: 1,
      changes: [],
      last: { changes: 1, hash: 0, epoch: PLANNED.epoch },
    });
    expect(b.said("transfer-abort")).toMatchObject([{ reason: "count or hash differs" }]);
    expect(b.said("transfer-ack")).toEqual([]);
  });
});

describe("older tasks", () => {
  /** c's process died with a task of a lane; a took its directory over, b owns the partition and has a newer task. */
  function adopted(): { a: Parts; b: Parts; older: string; newer: string; freed: Parameters<Parts["follow"]>[0] } {
    const dead = new Disk("c" as NodeName, "id-c" as Disk["memberId"]);
    const c = new Parts("c", dead);
    c.follow(documentOf({ epoch: 1, owner: "c" }));
    const older = c.submit(P0);
    const entry = strandedOn("c", 1, { type: "adopter", adopter: "a" as NodeName });
    const document = documentOf({ epoch: 9, owner: "b", generation: 2, stranded: [entry] });
    const [a, b] = [new Parts("a"), new Parts("b")];
    b.allowStarts(true);
    a.adopted.set("c" as NodeName, dead);
    b.follow(document);
    const newer = b.submit(P0);
    a.follow(document);
    return { a, b, older, newer, freed: documentOf({ epoch: 10, owner: "b", generation: 2 }) };
  }

  test("P3: of a directory that was taken over run before newer ones of their lane, which wait for them", () => {
    const { a, b, older, newer, freed } = adopted();
    expect(b.outcomes).toEqual(["accepted"]);
    expect(idsOf(b.started)).toEqual([]);
    talk(a, b);
    expect(b.absorbed).toHaveLength(1);
    b.follow(freed);
    expect(idsOf(b.started)).toEqual([older]);
    b.end(b.started[0]!);
    expect(idsOf(b.started)).toEqual([older, newer]);
  });

  test("P3: that return from an absent machine come after those that did not wait for them", () => {
    const c = new Parts("c");
    c.follow(documentOf({ epoch: 1, owner: "c" }));
    const older = c.submit(P0);
    const b = new Parts("b");
    const document = documentOf({ epoch: 9, owner: "b", generation: 2, stranded: [strandedOn("c", 1)] });
    b.follow(document);
    const newer = b.submit(P0);
    c.follow(document);
    talk(c, b);
    b.follow(documentOf({ epoch: 10, owner: "b", generation: 2 }));
    b.allowStarts(true);
    b.end(b.started[0]!);
    expect(idsOf(b.started)).toEqual([newer, older]);
  });

  test("P3: that return from an absent machine come at the end also where others are waited for", () => {
    const absent = new Parts("d");
    absent.follow(documentOf({ epoch: 1, owner: "d" }));
    const returned = absent.submit(P0);
    const dead = new Disk("c" as NodeName, "id-c" as Disk["memberId"]);
    const c = new Parts("c", dead);
    c.follow(documentOf({ epoch: 4, owner: "c", generation: 2 }));
    const older = c.submit(P0);
    const entries = [strandedOn("d", 1), strandedOn("c", 2, { type: "adopter", adopter: "a" as NodeName })];
    const document = documentOf({ epoch: 9, owner: "b", generation: 3, stranded: entries });
    const [a, b] = [new Parts("a"), new Parts("b")];
    b.allowStarts(true);
    a.adopted.set("c" as NodeName, dead);
    b.follow(document);
    const newer = b.submit(P0);
    absent.follow(document);
    talk(absent, b);
    expect(b.absorbed).toHaveLength(1);
    expect(idsOf(b.started)).toEqual([]);
    a.follow(document);
    talk(a, b);
    b.follow(documentOf({ epoch: 10, owner: "b", generation: 3 }));
    for (let index = 0; index < 3; index++) b.end(b.started[index]!);
    expect(idsOf(b.started)).toEqual([older, newer, returned]);
  });
});
