/**
 * When partitions are parked, and what the receiver has ready by then: how long keys wait for a move (rules O4 to O6 of
 * `outgoing.ts`, X6 of `cut-over.ts`, A1 to A3 of `loading-ahead.ts`).
 */

import { describe, expect, test } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import type { Epoch, NodeName, Partition } from "../../ring/ids.ts";
import type { NodeEvent } from "../../ring/node/effects.ts";
import type { TransferMessage } from "../../ring/node/messages.ts";
import { TransferLimit } from "../../ring/node/transfer.ts";
import { fenceOf } from "../../ring/tasks/fence.ts";
import { KIND, stateKey } from "../../ring/tasks/rows.ts";
import { Scene } from "../simulation/scene.ts";
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

/** The ring decides over the first; b has all of the second. */
function deciding(): { a: Parts; b: Parts } {
  const { a, b } = both();
  const offers = only(a, b, P0);
  a.tick(201);
  only(a, b, P0);
  expect(a.consents).toEqual([{ epoch: 6, partition: 0, to: "b" }]);
  for (const message of offers) b.receive("a", message);
  talk(a, b);
  return { a, b };
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
    const { a, b } = deciding();
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
    const { a } = deciding();
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
    const kept: TransferMessage[] = [];
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

  /** b has what there is to have before the ring decides. */
  function arrived(fill: (a: Parts) => void): { a: Parts; b: Parts } {
    const a = new Parts("a");
    a.follow(documentOf({ epoch: 4 }));
    fill(a);
    const b = new Parts("b");
    b.allowStarts(true);
    b.follow(PLANNED);
    a.follow(PLANNED);
    talk(a, b);
    return { a, b };
  }

  /** All of it: two tasks. */
  function whole(): { a: Parts; b: Parts } {
    return arrived((a) => void [a.submit(P0), a.submit(P0)]);
  }

  test("P3: is kept in the engine until the ring decides, and starts nothing, nor takes anybody's room", () => {
    const { b } = whole();
    expect(b.engine.view(P0)?.queued).toBe(0);
    expect(b.engine.stats().queuedTasks).toBe(0);
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
    expect(b.engine.view(P0)).toBeDefined();
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
    expect(b.engine.view(P0)).toBeDefined();
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

  test("P1: goes when something comes after it: that is read from the disk", () => {
    const { a, b } = arrived((of) => void [of.allowStarts(true), of.submit(P0), of.submit(P0)]);
    expect(a.outgoing.force(P0)).toBe(true);
    a.run();
    talk(a, b);
    expect(a.consents).toHaveLength(1);
    a.end(a.started[0]!);
    talk(a, b);
    expect(b.stored(P0)).toHaveLength(1);
    a.follow(MOVED);
    b.follow(MOVED);
    expect(b.engine.view(P0)?.queued).toBe(1);
    expect(b.started.map(({ record }) => record.id)).toEqual(b.stored(P0));
    expect(b.started[0]?.state.get("count")?.[0]).toBe(1);
  });

  test("P1: stranded tasks that come while the ring decides run once, at the new owner", () => {
    const away = strandedOn("c", 1);
    const planned = documentOf({ epoch: 5, generation: 2, next: "b", stranded: [away] });
    const c = new Parts("c");
    c.follow(documentOf({ epoch: 1, owner: "c" }));
    const id = c.submit(P0);
    const a = new Parts("a");
    a.unlinked.add("c" as NodeName);
    a.follow(documentOf({ epoch: 4, generation: 2, stranded: [away] }));
    const b = new Parts("b");
    b.allowStarts(true);
    b.follow(planned);
    a.follow(planned);
    talk(a, b);
    expect(a.consents).toHaveLength(1);
    a.unlinked.delete("c" as NodeName);
    c.follow(planned);
    for (let turn = 0; turn < 6; turn++) {
      for (const { to, message } of c.taken()) if (to === "a") a.receive("c", message as TransferMessage);
      for (const { to, message } of a.taken()) (to === "b" ? b : c).receive("a", message as TransferMessage);
      for (const { message } of b.taken()) a.receive("b", message as TransferMessage);
    }
    expect(a.absorbed).toEqual([]);
    for (const stranded of [[away], []]) {
      const epoch = stranded.length > 0 ? 6 : 7;
      for (const each of [a, b, c]) each.follow(documentOf({ epoch, owner: "b", generation: 3, stranded }));
      talk(c, b);
    }
    expect(b.absorbed).toEqual([away]);
    expect(b.started.map(({ record }) => record.id)).toEqual([id]);
  });

  test("P5: keeps no values of state, and is read from the disk when it is too much", () => {
    const { b } = whole();
    b.engine.open(0, P1, { history: 1, generation: 2, opens: 1 }, "none");
    const value = new Uint8Array(1024 * 1024);
    const state = Array.from({ length: 32 }, (_, at) => ({ key: stateKey("alpha", `k${at}`, "v"), value }));
    expect(b.engine.arrive(P1, state)).toBe(true);
    const results = Array.from({ length: 17 }, (_, at) => ({ key: Uint8Array.of(KIND.result, at), value }));
    expect(b.engine.arrive(P1, results.slice(0, 15))).toBe(true);
    expect(b.engine.arrive(P1, results.slice(0, 15))).toBe(true);
    expect(b.engine.arrive(P1, results)).toBe(false);
  });
});

describe("submits that wait at the new owner", () => {
  test("go on when the partition is opened, however long the disk took", () => {
    const scene = new Scene({ nodes: 3, apart: true });
    scene.begin();
    const waits: number[] = [];
    for (const host of scene.hosts) {
      const { step } = host;
      const seen = new Set<string>();
      host.step = (event: NodeEvent): void => {
        if (event.type !== "opened" || seen.has(`${event.partition} ${event.term.generation}`))
          return step.call(host, event);
        seen.add(`${event.partition} ${event.term.generation}`);
        scene.agenda.after(150, () => {
          if (host.machine?.document?.owners[event.partition] !== host.name) return step.call(host, event); // it waits for that
          const { now } = scene.agenda;
          const before = scene.accepted();
          scene.submit(host, 1, () => keyIn(event.partition));
          step.call(host, event);
          const look = (): void => {
            if (scene.accepted() > before) waits.push(scene.agenda.now - now);
            else scene.agenda.after(1, look);
          };
          look();
        });
      };
    }
    scene.ask(scene.host(1), { type: "drain", name: scene.host(3).name, drain: true });
    scene.pass(15_000);
    expect(waits.length).toBeGreaterThan(1);
    expect(Math.max(...waits)).toBeLessThan(40);
  });
});

test("P8: a handoff whose sender waits for a handler lets one more go past it", () => {
  const { a, plan } = both();
  const b = new Parts("b", undefined, new TransferLimit());
  b.follow(plan);
  const [first, second] = a.said("transfer-offer") as TransferMessage[];
  const said = (): string[] => b.taken().map(({ message }) => message.type);
  b.receive("a", first!);
  b.receive("a", second!);
  expect(said()).toEqual(["transfer-begin", "transfer-wait"]);
  b.tick(900);
  b.receive("a", second!);
  expect(said()).toEqual(["transfer-wait"]);
  b.tick(100);
  b.receive("a", second!);
  expect(said()).toEqual(["transfer-begin"]);
});
