/** How partitions move between nodes: hosting, outgoing and incoming against each other, and against bad moments. */

import { describe, expect, test } from "vitest";
import type { NodeName } from "../../ring/ids.ts";
import type { TransferMessage } from "../../ring/node/messages.ts";
import { sealChange } from "../../ring/node/rows.ts";
import { handedOver, MOVED, PLANNED } from "./node-handed.ts";
import { documentOf, keyIn, P0, Parts, strandedOn, talk } from "./node-parts.ts";

describe("a handoff", () => {
  test("P1: moves every task, and the old copy goes only when the new epoch is known", () => {
    const { a, b, ids } = handedOver();
    expect(a.consents).toEqual([{ epoch: 6, partition: 0, to: "b" }]);
    expect(a.hosting.serving(P0)).toBe(false);
    expect(a.stored(P0)).toEqual(ids);
    a.follow(MOVED);
    b.follow(MOVED);
    expect(b.hosting.serving(P0)).toBe(true);
    expect(b.stored(P0)).toEqual(ids);
    expect(a.stored(P0)).toEqual([]);
  });

  test("P1: a task that moved starts at its new owner", () => {
    const { a, b, ids } = handedOver();
    b.allowStarts(true);
    a.follow(MOVED);
    b.follow(MOVED);
    expect(b.started[0]?.record.id).toBe(ids[0]);
  });

  test("P2: knows the end of a task that is on its way to the disk when the last attempt ends and the seal is made", () => {
    const a = new Parts("a");
    a.allowStarts(true);
    a.follow(documentOf({ epoch: 4 }));
    a.submit(P0, keyIn(0, 1));
    a.submit(P0, keyIn(0, 2));
    const b = new Parts("b");
    b.follow(PLANNED);
    a.follow(PLANNED);
    talk(a, b);
    expect(a.outgoing.views()[0]?.reason).toBe("waiting for 2 handlers");
    a.delayed.add("sync");
    a.end(a.started[0]!);
    a.end(a.started[1]!);
    a.release("sync");
    talk(a, b);
    expect(a.consents).toHaveLength(1);
    expect([a.stored(P0), b.stored(P0)]).toEqual([[], []]);
    b.allowStarts(true);
    a.follow(MOVED);
    b.follow(MOVED);
    expect(b.started).toEqual([]);
  });

  test("P1: moves a task whose acceptance is on its way to the disk when the seal is made", () => {
    const a = new Parts("a");
    a.allowStarts(true);
    a.follow(documentOf({ epoch: 4 }));
    a.submit(P0);
    const b = new Parts("b");
    b.follow(PLANNED);
    a.follow(PLANNED);
    a.delayed.add("sync");
    const accepted = a.submit(P0);
    talk(a, b);
    expect(a.outgoing.views()[0]?.reason).toBe("waiting for 1 handlers");
    a.end(a.started[0]!);
    a.release("sync");
    talk(a, b);
    expect(a.outcomes).toEqual(["accepted", "accepted"]);
    expect(a.consents).toHaveLength(1);
    a.follow(MOVED);
    b.follow(MOVED);
    expect(b.stored(P0)).toEqual([accepted]);
  });

  test("P1: the receiver keeps what it has said to be complete, however long the decision takes", () => {
    const { a, b, ids } = handedOver();
    b.tick(31_000);
    b.tick(300_000);
    expect(b.dropped).toEqual([]);
    a.follow(MOVED);
    b.follow(MOVED);
    expect(b.stored(P0)).toEqual(ids);
  });

  test("an arrival that is not complete gives its place free when its sender is silent for 30 s", () => {
    const { b } = handedOver();
    const c = new Parts("c");
    const id = { partition: P0, kind: "handoff", generation: 1, nonce: 7 } as const;
    c.follow(documentOf({ epoch: 5, owner: "a", next: "c" }));
    c.receive("a", { type: "transfer-offer", transfer: id, epoch: PLANNED.epoch });
    expect(c.said("transfer-begin")).toHaveLength(1);
    c.tick(30_000);
    c.receive("a", { type: "transfer-chunk", transfer: id, sequence: 1, changes: [] });
    expect(c.said("transfer-abort")).toHaveLength(1);
    expect(b.dropped).toEqual([]);
  });

  test.each([1, 9])("P1: chunk %i, said twice or too late, does not cost the copy that is whole", (sequence) => {
    const { a, b, ids } = handedOver();
    const id = { partition: P0, kind: "handoff", generation: 1, nonce: 101 } as const;
    b.receive("a", { type: "transfer-chunk", transfer: id, sequence, changes: [] });
    expect(b.dropped).toEqual([]);
    a.follow(MOVED);
    b.follow(MOVED);
    expect(b.stored(P0)).toEqual(ids);
  });

  test("P1: an offer that comes twice does not cost the copy that it began", () => {
    const a = new Parts("a");
    a.follow(documentOf({ epoch: 4 }));
    const id = a.submit(P0);
    const b = new Parts("b");
    b.follow(PLANNED);
    a.follow(PLANNED);
    const offer = a.said("transfer-offer")[0] as TransferMessage;
    talk(a, b);
    b.receive("a", offer);
    expect(b.dropped).toEqual([]);
    a.follow(MOVED);
    b.follow(MOVED);
    expect(b.stored(P0)).toEqual([id]);
  });

  test("P1: an offer of an attempt that is over does not cost the copy that a later one brought", () => {
    const { a, b, ids } = handedOver();
    b.receive("a", {
      type: "transfer-offer",
      transfer: { partition: P0, kind: "handoff", generation: 1, nonce: 1 },
      epoch: PLANNED.epoch,
    });
    expect(b.dropped).toEqual([]);
    a.follow(MOVED);
    b.follow(MOVED);
    expect(b.stored(P0)).toEqual(ids);
  });

  test.each(["transfer-wait", "transfer-abort"] as const)(
    "P3: a late %s does not wake a partition that was consented away",
    (type) => {
      const { a } = handedOver();
      const nonce = 101;
      for (let tried = nonce; tried < nonce + 20; tried++) {
        a.receive("b", {
          type,
          transfer: { partition: P0, kind: "handoff", generation: 1, nonce: tried },
          reason: "late",
        });
      }
      expect(a.hosting.serving(P0)).toBe(false);
      expect(a.outgoing.views()[0]?.phase).toBe("cut-over");
    },
  );

  test("a consent for an epoch that decided something else is given again for the next one", () => {
    const { a } = handedOver();
    a.follow({ ...PLANNED, epoch: 6 as typeof PLANNED.epoch });
    expect(a.consents.at(-1)).toEqual({ epoch: 7, partition: 0, to: "b" });
    expect(a.hosting.serving(P0)).toBe(false);
  });

  test("a plan that was cancelled brings the partition back into service", () => {
    const { a, b, ids } = handedOver();
    const cancelled = documentOf({ epoch: 6, owner: "a" });
    a.follow(cancelled);
    b.follow(cancelled);
    talk(a, b);
    expect(a.hosting.serving(P0)).toBe(true);
    expect(a.stored(P0)).toEqual(ids);
    expect(b.stored(P0)).toEqual([]);
  });

  test("P2: a copy that arrived whole is not used when the ring changed by force: the owner has gone on since", () => {
    const { b } = handedOver();
    const forced = documentOf({
      epoch: 6,
      owner: "b",
      generation: 2,
      stranded: [strandedOn("a", 1, { type: "adopter", adopter: "c" as NodeName })],
    });
    b.follow(forced);
    expect(b.stored(P0)).toEqual([]);
    expect(b.hosting.loaded(P0)).toBe(true);
  });

  test("P1: a copy that arrived whole is used after a restart", () => {
    const { b, ids } = handedOver();
    const again = new Parts("b", b.disk);
    again.follow(PLANNED);
    again.follow(MOVED);
    expect(again.hosting.serving(P0)).toBe(true);
    expect(again.stored(P0)).toEqual(ids);
  });

  test("P1: a copy that arrived whole goes when the ring gives its transfer up: the owner goes on without it", () => {
    const { b } = handedOver();
    const again = new Parts("b", b.disk);
    again.follow(PLANNED);
    expect(again.dropped).toEqual([]);
    again.follow(documentOf({ epoch: 6, owner: "a" }));
    expect(again.dropped).toEqual([0]);
    again.follow(documentOf({ epoch: 7, owner: "b", generation: 2 })); // a was removed by force, with what it had since
    expect(again.hosting.serving(P0)).toBe(true);
    expect(again.stored(P0)).toEqual([]);
  });

  test("P1: a copy listed as stranded stays where it is, whoever owns the partition", () => {
    const { a, ids } = handedOver();
    const again = new Parts("a", a.disk);
    again.follow(documentOf({ epoch: 6, owner: "c", generation: 1, stranded: [strandedOn("a", 1)] }));
    expect(again.dropped).toEqual([]);
    expect(again.stored(P0)).toEqual(ids);
  });

  test("P1: a copy that arrived whole stays when the ring made it this node's and took it away by force, unseen", () => {
    const a = new Parts("a");
    a.follow(documentOf({ epoch: 4 }));
    const id = a.submit(P0);
    const b = new Parts("b");
    for (const each of [b, a]) each.follow(PLANNED);
    talk(a, b);
    expect(a.consents).toHaveLength(1);
    a.follow(MOVED);
    expect(a.stored(P0)).toEqual([]);
    const taken = documentOf({ epoch: 7, owner: "a", generation: 3, stranded: [strandedOn("b", 2)] });
    for (const each of [a, b]) each.follow(taken);
    expect(b.dropped).toEqual([]);
    talk(b, a);
    expect(a.absorbed).toEqual([strandedOn("b", 2)]);
    expect(a.stored(P0)).toEqual([id]);
    b.follow(documentOf({ epoch: 8, owner: "a", generation: 3 }));
    expect(b.dropped).toEqual([P0]);
  });

  test("a partial copy is set aside when its partition becomes this node's own by force", () => {
    const a = new Parts("a");
    a.follow(documentOf({ epoch: 4 }));
    a.submit(P0);
    const b = new Parts("b");
    b.follow(PLANNED);
    a.follow(PLANNED);
    for (const { message } of a.taken()) if (message.type === "transfer-offer") b.receive("a", message);
    for (const { message } of b.taken()) if (message.type === "transfer-begin") a.receive("b", message);
    const first = a.taken().find(({ message }) => message.type === "transfer-chunk")?.message as TransferMessage;
    b.receive("a", first);
    expect(b.stored(P0)).toHaveLength(1);
    b.follow(documentOf({ epoch: 6, owner: "b", generation: 2 }));
    expect(b.stored(P0)).toEqual([]);
    expect(b.quarantined).toEqual([0]);
    expect(b.hosting.serving(P0)).toBe(true);
  });

  test("a transfer that breaks starts anew and ends well", () => {
    const a = new Parts("a");
    a.follow(documentOf({ epoch: 4 }));
    const id = a.submit(P0);
    const b = new Parts("b");
    b.follow(PLANNED);
    a.follow(PLANNED);
    for (const { message } of a.taken()) if (message.type === "transfer-offer") b.receive("a", message);
    b.taken();
    a.unlinked.add("b" as NodeName);
    a.outgoing.linkDown("b" as NodeName);
    a.tick(250);
    expect(a.outgoing.views()[0]?.reason).toBe("b cannot be reached");
    a.unlinked.clear();
    for (let turn = 0; turn < 4; turn++) {
      a.tick(250);
      talk(a, b);
    }
    expect(a.consents[0]).toEqual({ epoch: 6, partition: 0, to: "b" });
    expect(b.stored(P0)).toEqual([id]);
  });

  test("P8: an offer whose answer was lost is made again within seconds", () => {
    const a = new Parts("a");
    a.follow(documentOf({ epoch: 4 }));
    const id = a.submit(P0);
    const b = new Parts("b");
    b.follow(PLANNED);
    a.follow(PLANNED);
    for (const { message } of a.taken()) if (message.type === "transfer-offer") b.receive("a", message);
    b.taken();
    for (let turn = 0; turn < 20; turn++) {
      a.tick(250);
      talk(a, b);
    }
    expect(a.consents[0]).toEqual({ epoch: 6, partition: 0, to: "b" });
    expect(b.stored(P0)).toEqual([id]);
  });

  test("a stream that does not hash to what was sent is refused and sent anew", () => {
    const a = new Parts("a");
    a.follow(documentOf({ epoch: 4 }));
    a.submit(P0);
    const b = new Parts("b");
    b.follow(PLANNED);
    a.follow(PLANNED);
    let spoilt = false;
    for (let turn = 0; turn < 40; turn++) {
      for (const { message } of a.taken()) {
        const wrong = message.type === "transfer-chunk" && message.last !== undefined && !spoilt;
        if (wrong) spoilt = true;
        b.receive("a", (wrong ? { ...message, last: { ...message.last, hash: 1 } } : message) as TransferMessage);
      }
      for (const { message } of b.taken()) a.receive("b", message as TransferMessage);
      a.tick(100);
    }
    expect(b.notes.filter((note) => note.startsWith("transfer-mismatch"))).toHaveLength(1);
    expect(a.consents[0]).toEqual({ epoch: 6, partition: 0, to: "b" });
  });

  test("P5: when the receiver is slower than the load, what waits for it stays bounded: submits wait instead", () => {
    const a = new Parts("a");
    a.follow(documentOf({ epoch: 4 }));
    for (let count = 0; count < 6_000; count++) a.submit(P0);
    const b = new Parts("b");
    b.follow(PLANNED);
    a.follow(PLANNED);
    for (const { message } of a.taken()) if (message.type === "transfer-offer") b.receive("a", message);
    for (const { message } of b.taken()) if (message.type === "transfer-begin") a.receive("b", message);
    expect(a.hosting.serving(P0)).toBe(true);
    for (let count = 0; count < 40_000 && a.hosting.serving(P0); count++) a.submit(P0);
    expect(a.hosting.serving(P0)).toBe(false);
    expect(a.outgoing.views()[0]?.phase).toBe("cut-over");
  }, 60_000);
});

describe("seals", () => {
  test("P3: a partition sealed for the next epoch starts nothing after a restart, until that epoch is known", () => {
    const { a } = handedOver();
    const again = new Parts("a", a.disk);
    again.follow(PLANNED);
    expect(again.hosting.serving(P0)).toBe(false);
    expect(again.hosting.doubts()).toEqual([6]);
    again.follow({ ...PLANNED, epoch: 6 as typeof PLANNED.epoch });
    expect(again.hosting.serving(P0)).toBe(true);
    expect(again.hosting.doubts()).toEqual([]);
  });

  test("a seal whose epoch becomes known while the rows are read leaves no doubt behind", () => {
    const { a } = handedOver();
    const again = new Parts("a", a.disk);
    for (let count = 0; count < 1_200; count++) {
      a.disk.commit([
        {
          partition: P0,
          term: { history: 1, generation: 1, opens: 1 },
          changes: [{ key: Uint8Array.of(0xf0, count >> 8, count & 255), value: Uint8Array.of(1) }],
        },
      ]);
    }
    again.here.document = PLANNED;
    again.hosting.follow(PLANNED);
    again.delayed.add("read");
    again.run();
    again.release("read");
    expect(again.hosting.doubts()).toEqual([6]);
    const third = new Parts("a", a.disk);
    third.delayed.add("open");
    third.follow(PLANNED);
    third.delayed.add("read");
    third.release("open");
    third.here.document = PLANNED;
    // The first page is read at epoch 5, the last one at epoch 6.
    const later = { ...PLANNED, epoch: 6 as typeof PLANNED.epoch };
    third.releaseOne();
    third.follow(later);
    third.release("read");
    expect(third.hosting.serving(P0)).toBe(true);
  });
});

describe("commits", () => {
  test("changes of a partition that was closed and opened again do not enter under the new term", () => {
    const a = new Parts("a");
    a.follow(documentOf({ epoch: 4 }));
    a.delayed.add("flush");
    const refused = a.submit(P0);
    a.commits.add(P0, sealChange(99));
    // Away and back by force while nothing could be written.
    a.follow(documentOf({ epoch: 6, owner: "a", generation: 3, stranded: [strandedOn("a", 1)] }));
    a.release("flush");
    expect(a.stored(P0)).not.toContain(refused);
    expect(a.hosting.serving(P0)).toBe(true);
  });
});
