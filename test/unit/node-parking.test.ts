/**
 * When partitions are parked, and what the receiver has ready by then: how long keys wait for a move (rules O4 to O6 of
 * `outgoing.ts`, X6 of `cut-over.ts`, A1 to A3 of `loading-ahead.ts`).
 */

import { describe, expect, test } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import type { Epoch, NodeName, Partition } from "../../ring/ids.ts";
import type { TransferMessage } from "../../ring/node/messages.ts";
import { fenceOf } from "../../ring/tasks/fence.ts";
import { documentOf, keyIn, P0, Parts, strandedOn, talk } from "./node-parts.ts";

const P1 = 1 as Partition;

interface Fields {
  readonly epoch: number;
  readonly owners?: readonly [string, string];
  readonly next?: readonly [string | undefined, string | undefined];
  readonly voters?: readonly string[];
}

/** Partitions 0 and 1 as said, a's without a word. */
function ring({
  epoch,
  owners = ["a", "a"],
  next = [undefined, undefined],
  voters = ["a", "b", "c"],
}: Fields): RingDocument {
  const document = documentOf({ epoch });
  const rest = document.owners.slice(2);
  return {
    ...document,
    voters: voters as NodeName[],
    owners: [...owners.map(named), ...rest],
    generations: [...owners.map((owner) => (owner === "a" ? 1 : 2)), ...document.generations.slice(2)],
    next: [...next.map(named), ...rest.map(() => undefined)],
  };
}

function named<T extends string | undefined>(name: T): T & NodeName {
  return name as T & NodeName;
}

/** Both partitions are to move from a to b; a holds a task of each. */
function both(fields: Partial<Fields> = {}): { a: Parts; b: Parts; plan: RingDocument } {
  const a = new Parts("a");
  a.follow(ring({ epoch: 4 }));
  a.submit(P0);
  a.submit(P1, keyIn(1));
  const b = new Parts("b");
  const plan = ring({ epoch: 5, next: ["b", "b"], ...fields });
  b.follow(plan);
  a.follow(plan);
  return { a, b, plan };
}

/** Gives b what a has said of the one partition, and a all that b has said. */
function only(a: Parts, b: Parts, partition: Partition): TransferMessage[] {
  const kept: TransferMessage[] = [];
  for (let turn = 0; turn < 9; turn++) {
    for (const { message } of a.taken()) {
      const transfer = message as TransferMessage;
      if (transfer.transfer.partition === partition) b.receive("a", transfer);
      else kept.push(transfer);
    }
    for (const { message } of b.taken()) a.receive("b", message as TransferMessage);
  }
  return kept;
}

function phaseOf(of: Parts, partition: Partition): string | undefined {
  return of.outgoing.views().find((view) => view.partition === partition)?.phase;
}

function reasonOf(of: Parts, partition: Partition): string | undefined {
  return of.outgoing.views().find((view) => view.partition === partition)?.reason;
}

describe("parking", () => {
  test("those that begin together are parked together", () => {
    const { a, b } = both();
    const kept = only(a, b, P0);
    expect(phaseOf(a, P0)).toBe("catch-up");
    expect(reasonOf(a, P0)).toBe("waiting for others to cut over with");
    expect(a.hosting.serving(P0)).toBe(true);
    for (const message of kept) b.receive("a", message);
    talk(a, b);
    expect(a.consents.map(({ partition }) => partition)).toEqual([0, 1]);
  });

  test("P8: one that does not come is not waited for without end", () => {
    const { a, b } = both();
    only(a, b, P0);
    a.tick(199);
    expect(a.hosting.serving(P0)).toBe(true);
    a.tick(2);
    expect(a.hosting.serving(P0)).toBe(false);
    only(a, b, P0);
    expect(a.consents).toEqual([{ epoch: 6, partition: 0, to: "b" }]);
  });

  test("no other partition is parked while the ring decides over one", () => {
    const { a, b } = both();
    const kept = only(a, b, P0);
    a.tick(201);
    kept.push(...only(a, b, P0));
    expect(a.consents).toHaveLength(1);
    for (const message of kept) b.receive("a", message);
    talk(a, b);
    a.tick(300);
    expect(reasonOf(a, P1)).toBe("waiting for the ring");
    expect(a.hosting.serving(P1)).toBe(true);
    const after = ring({ epoch: 6, owners: ["b", "a"], next: [undefined, "b"] });
    b.follow(after);
    a.follow(after);
    talk(a, b);
    expect(a.consents.at(-1)).toEqual({ epoch: 7, partition: 1, to: "b" });
  });

  test("P8: a sender that owes nothing and waits for the ring does not begin again", () => {
    const { a, b } = both();
    const kept = only(a, b, P0);
    a.tick(201);
    kept.push(...only(a, b, P0));
    for (const message of kept) b.receive("a", message);
    talk(a, b);
    a.tick(11_000);
    expect(phaseOf(a, P1)).toBe("catch-up");
    expect(reasonOf(a, P1)).toBe("waiting for the ring");
  });

  test("nothing is parked while the voters are about to change, for a second", () => {
    const { a, b, plan } = both({ voters: ["a"] });
    talk(a, b);
    expect(reasonOf(a, P0)).toBe("waiting for the ring");
    a.follow({ ...plan, epoch: 6 as Epoch, voters: ["a", "b"] as NodeName[] });
    talk(a, b);
    a.tick(500);
    expect(a.hosting.serving(P0)).toBe(true);
    const settled = { ...plan, epoch: 7 as Epoch, voters: ["a", "b", "c"] as NodeName[] };
    b.follow(settled);
    a.follow(settled);
    talk(a, b);
    expect(a.consents.map(({ epoch }) => epoch)).toEqual([8, 8]);
  });

  test("P8: voters that do not change hold nothing up for longer", () => {
    const { a, b, plan } = both({ voters: ["a"] });
    talk(a, b);
    a.tick(600);
    a.follow({ ...plan, epoch: 6 as Epoch });
    a.tick(399);
    expect(a.hosting.serving(P0)).toBe(true);
    a.tick(2);
    talk(a, b);
    expect(a.consents).toHaveLength(2);
  });
});

describe("consents", () => {
  /** Both are parked; b has all of the first. */
  function oneReady(): { a: Parts; b: Parts; kept: TransferMessage[] } {
    const { a, b } = both();
    const kept = only(a, b, P0).filter(({ type }) => type === "transfer-offer");
    for (const message of kept.splice(0)) b.receive("a", message);
    for (let turn = 0; turn < 9; turn++) {
      for (const { message } of a.taken()) {
        const transfer = message as TransferMessage;
        const isLast = transfer.type === "transfer-chunk" && transfer.last !== undefined;
        if (isLast && transfer.transfer.partition === P1) kept.push(transfer);
        else b.receive("a", transfer);
      }
      for (const { message } of b.taken()) a.receive("b", message as TransferMessage);
    }
    return { a, b, kept };
  }

  test("those that are about to be ready are waited for", () => {
    const { a, b, kept } = oneReady();
    expect(a.consents).toEqual([]);
    expect(reasonOf(a, P0)).toBe("waiting for others to consent with");
    for (const message of kept) b.receive("a", message);
    talk(a, b);
    expect(a.consents.map(({ partition }) => partition)).toEqual([0, 1]);
  });

  test("P8: but for a moment only", () => {
    const { a } = oneReady();
    a.tick(41);
    expect(a.consents).toEqual([{ epoch: 6, partition: 0, to: "b" }]);
  });
});

describe("what has arrived", () => {
  const PLANNED = documentOf({ epoch: 5, owner: "a", next: "b" });
  const MOVED = documentOf({ epoch: 6, owner: "b", generation: 2 });

  /** b has all of it, two tasks, and the ring has not decided. */
  function whole(): { a: Parts; b: Parts } {
    const a = new Parts("a");
    a.follow(documentOf({ epoch: 4 }));
    a.submit(P0);
    a.submit(P0);
    const b = new Parts("b");
    b.allowStarts(true);
    b.follow(PLANNED);
    a.follow(PLANNED);
    talk(a, b);
    return { a, b };
  }

  test("P3: is loaded before the ring decides, and starts nothing", () => {
    const { b } = whole();
    expect(b.engine.view(P0)?.queued).toBe(2);
    expect(b.hosting.hosts(P0)).toBe(false);
    b.tick(60_000);
    expect(b.started).toEqual([]);
  });

  test("P2: is served with the decision, without being read again, and each task once", () => {
    const { b } = whole();
    b.delayed.add("read");
    b.follow(MOVED);
    expect(b.hosting.serving(P0)).toBe(true);
    expect(b.started).toHaveLength(1);
    b.end(b.started[0]!);
    b.end(b.started[1]!);
    expect(b.stored(P0)).toEqual([]);
    expect(b.started).toHaveLength(2);
  });

  test("P1: is forgotten when the plan is given up, and comes again with another one", () => {
    const { a, b } = whole();
    const given = { ...documentOf({ epoch: 6 }), owners: PLANNED.owners };
    a.follow(given);
    b.follow(given);
    talk(a, b);
    expect(b.engine.view(P0)).toBeUndefined();
    expect(b.dropped).toEqual([P0]);
    a.submit(P0);
    const again = { ...PLANNED, epoch: 7 as Epoch };
    b.follow(again);
    a.follow(again);
    talk(a, b);
    expect(b.engine.view(P0)?.queued).toBe(3);
    b.follow({ ...MOVED, epoch: 8 as Epoch });
    expect(b.started).toHaveLength(1);
    expect(b.engine.view(P0)?.queued).toBe(3);
  });

  test("P2: is not used when the partition was taken by force", () => {
    const before = [strandedOn("c", 0)];
    const a = new Parts("a");
    const b = new Parts("b");
    for (const each of [a, b]) each.unlinked.add("c" as NodeName);
    a.follow(documentOf({ epoch: 4, stranded: before }));
    a.submit(P0);
    b.allowStarts(true);
    b.follow({ ...PLANNED, stranded: before });
    a.follow({ ...PLANNED, stranded: before });
    talk(a, b);
    expect(b.engine.view(P0)?.queued).toBe(1);
    b.follow({ ...MOVED, stranded: [...before, strandedOn("a", 1)] });
    expect(b.stored(P0)).toEqual([]);
    expect(b.engine.view(P0)?.queued).toBe(0);
    expect(b.started).toEqual([]);
  });

  test("P3: is read from the disk when the ring knows of other older tasks by then", () => {
    const { b } = whole();
    b.follow({ ...MOVED, stranded: [strandedOn("c", 0, { type: "adopter", adopter: "c" as NodeName })] });
    expect(b.engine.view(P0)?.queued).toBe(2);
    expect(b.started).toEqual([]);
  });

  test("P1: is read from the disk when the store opens it under another term", () => {
    const { b } = whole();
    b.disk.open(P0, { history: 1, generation: 2 });
    b.follow(MOVED);
    expect(b.started).toHaveLength(1);
    expect(b.started[0]!.fence).toBe(fenceOf({ history: 1, generation: 2, opens: 2 }, 1));
    expect(b.stored(P0)).toHaveLength(2);
  });

  test("P1: goes when its sender breaks off, though the plan stands", () => {
    const a = new Parts("a");
    a.follow(documentOf({ epoch: 4 }));
    a.submit(P0);
    const b = new Parts("b");
    b.follow(PLANNED);
    a.follow(PLANNED);
    const { transfer } = a.said("transfer-offer")[0] as TransferMessage;
    talk(a, b);
    expect(b.engine.view(P0)?.queued).toBe(1);
    b.receive("a", { type: "transfer-abort", transfer, reason: "a test" });
    expect(b.engine.view(P0)).toBeUndefined();
    expect(b.dropped).toEqual([P0]);
  });

  test("P1: is nothing that is served while some of it is missing", () => {
    const { a, b } = both();
    for (let turn = 0; turn < 9; turn++) {
      for (const { message } of a.taken()) if (!("last" in message)) b.receive("a", message as TransferMessage);
      for (const { message } of b.taken()) a.receive("b", message as TransferMessage);
    }
    b.follow(ring({ epoch: 6, owners: ["b", "b"] }));
    expect(b.engine.view(P0)?.queued).toBe(0);
    expect(b.quarantined).toContain(P0);
  });

  test("P1: does not count before all of it is on the disk", () => {
    const a = new Parts("a");
    a.follow(documentOf({ epoch: 4 }));
    a.submit(P0);
    const b = new Parts("b");
    b.allowStarts(true);
    b.follow(PLANNED);
    a.follow(PLANNED);
    b.delayed.add("sync");
    talk(a, b);
    expect(b.engine.view(P0)?.queued).toBe(0);
    b.release("sync");
    talk(a, b);
    expect(b.engine.view(P0)?.queued).toBe(1);
  });
});
