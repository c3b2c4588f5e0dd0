/** Tasks of dead nodes' directories at their new owner: when they start, and what comes of them when they come again. */

import { expect, test } from "vitest";
import type { Stranded } from "../../ring/document.ts";
import type { Epoch, MemberId, NodeName } from "../../ring/ids.ts";
import { isModuleKey } from "../../ring/node/rows.ts";
import { hashChanges } from "../../ring/node/stream.ts";
import { KIND, stateKey } from "../../ring/tasks/rows.ts";
import type { AttemptEnd } from "../../ring/tasks/task.ts";
import { Disk } from "../../services/testing/disk.ts";
import { documentOf, keyIn, P0, Parts, strandedOn, talk } from "./node-parts.ts";

const [FIRST, SECOND] = [adopted("c", 1), adopted("d", 2)];
const FAILED: AttemptEnd["outcome"] = { type: "failed", error: { name: "E", message: "no" }, permanent: true };
const DONE: AttemptEnd["outcome"] = { type: "done", result: undefined };

test("P2, H6: they start when all of them are durable here, and not before", () => {
  const { disk, id } = diedWithTask();
  const b = owner(3, [FIRST, SECOND]);
  bring(b, SECOND, new Disk("d" as NodeName, "id-d" as MemberId), 1);
  expect(b.absorbed).toEqual([SECOND]);
  expect(b.started).toEqual([]);
  b.delayed.add("sync");
  bring(b, FIRST, disk, 2);
  expect(b.started).toEqual([]);
  b.release("sync");
  expect(b.absorbed).toEqual([SECOND, FIRST]);
  expect(idsOf(b)).toEqual([id]);
});

test("H6: tasks of an absent machine among them keep the others from starting before the ring says so", () => {
  const b = owner(3, [FIRST, strandedOn("d", 2)]);
  bring(b, FIRST, diedWithTask().disk, 1);
  expect(b.absorbed).toEqual([FIRST]);
  expect(b.started).toEqual([]);
});

test("P3, H6: they go on, and start once, whoever holds their directory by then", () => {
  const { disk, id } = diedWithTask();
  const b = owner(3, [FIRST]);
  bring(b, FIRST, disk, 1);
  expect(idsOf(b)).toEqual([id]);
  b.follow(documentOf({ epoch: 10, owner: "b", generation: 3, stranded: [strandedOn("c", 1)] }));
  expect(b.engine.inFlight(P0)).toHaveLength(1);
  bring(b, strandedOn("c", 1), disk, 2);
  expect(b.started).toHaveLength(1);
  b.end(b.started[0]!);
  b.follow(documentOf({ epoch: 11, owner: "b", generation: 3 }));
  expect(b.started).toHaveLength(1);
  expect(b.stored(P0)).toEqual([]);
});

test("P8: an owner that restarts before the ring has said so is sent them again", () => {
  const { disk, id } = diedWithTask();
  const document = documentOf({ epoch: 9, owner: "b", generation: 3, stranded: [FIRST] });
  const a = new Parts("a");
  a.adopted.set("c" as NodeName, disk);
  const b = owner(3, [FIRST]);
  a.follow(document);
  talk(a, b);
  expect(idsOf(b)).toEqual([id]);
  const again = new Parts("b", b.disk);
  again.allowStarts(true);
  again.follow(document);
  a.outgoing.linkDown("b" as NodeName);
  for (let turn = 0; turn < 5; turn++) {
    a.tick(1_000);
    talk(a, again);
  }
  expect(again.absorbed).toEqual([FIRST]);
  expect(idsOf(again)).toEqual([id]);
});

for (const [what, outcome] of [
  ["P2: a dead letter stays dead", FAILED],
  ["P1: state that was deleted stays deleted", DONE],
] as const)
  test(`${what} when its owner has died as well: the newest directory comes first (I6)`, () => {
    const { c, d, id } = twoDead(outcome);
    const stranded = [FIRST, SECOND];
    const a = new Parts("a");
    a.adopted.set("c" as NodeName, c);
    a.adopted.set("d" as NodeName, d.disk);
    const b = owner(3, stranded);
    a.follow(documentOf({ epoch: 9, owner: "b", generation: 3, stranded }));
    for (let turn = 0; turn < 4; turn++) {
      talk(a, b);
      a.tick(300);
    }
    expect(b.absorbed).toEqual([SECOND, FIRST]);
    expect(idsOf(b)).not.toContain(id);
    expect(rows(b.disk, Uint8Array.of(KIND.dead))).toHaveLength(outcome === FAILED ? 1 : 0);
    expect(rows(b.disk, stateKey("alpha", keyIn(0), "count"))).toHaveLength(outcome === FAILED ? 1 : 0);
  });

test("P2: a dead letter that was dropped since does not come again as a task", () => {
  const { c, d, id } = twoDead(FAILED);
  d.engine.request(d.here.now, P0, { type: "drop-dead", ids: [id] }, 77);
  d.run();
  bring(d, FIRST, c, 9);
  expect(d.started).toHaveLength(1);
  expect(d.stored(P0)).toEqual([]);
});

test("a key that was paused there and has been resumed here is not paused again", () => {
  const { disk } = diedWithTask("pause");
  const d = owner(2, [FIRST]);
  const resume = (): void => {
    d.engine.request(d.here.now, P0, { type: "key", app: "alpha" as never, key: keyIn(0), action: "resume" }, 8);
    d.run();
  };
  bring(d, FIRST, disk, 1);
  expect(d.started).toHaveLength(0);
  resume();
  expect(d.started).toHaveLength(1);
  bring(d, FIRST, disk, 2);
  d.end(d.started[0]!);
  d.submit(P0);
  expect(d.started).toHaveLength(2);
});

function adopted(member: string, generation: number): Stranded {
  return strandedOn(member, generation, { type: "adopter", adopter: "a" as NodeName });
}

/** c has died with a task of its own. */
function diedWithTask(action?: "pause"): { disk: Disk; id: string } {
  const disk = new Disk("c" as NodeName, "id-c" as MemberId);
  const c = new Parts("c", disk);
  c.follow(documentOf({ epoch: 1, owner: "c" }));
  const id = c.submit(P0);
  if (action !== undefined)
    c.engine.request(c.here.now, P0, { type: "key", app: "alpha" as never, key: keyIn(0), action }, 7);
  c.run();
  return { disk, id };
}

/** c has died while a task ran, and d, which absorbed it, after that task ended there like this. */
function twoDead(outcome: AttemptEnd["outcome"]): { c: Disk; d: Parts; id: string } {
  const disk = new Disk("c" as NodeName, "id-c" as MemberId);
  const c = new Parts("c", disk);
  c.allowStarts(true);
  c.follow(documentOf({ epoch: 1, owner: "c" }));
  c.submit(P0);
  c.end(c.started[0]!); // leaves state
  const id = c.submit(P0);
  const d = owner(2, [FIRST]);
  bring(d, FIRST, disk, 1);
  expect(idsOf(d)).toEqual([id]);
  const { attemptId } = d.started[0]!;
  const stateChanges = outcome.type === "done" ? [{ name: "count", value: undefined }] : [];
  d.engine.ended(d.here.now, [{ attemptId, stateChanges, children: [], outcome }]);
  d.run();
  return { c: disk, d, id };
}

/** An owner that may start tasks. */
function owner(generation: number, stranded: readonly Stranded[]): Parts {
  const name = generation === 2 ? "d" : "b";
  const parts = new Parts(name);
  parts.allowStarts(true);
  parts.follow(documentOf({ epoch: 9, owner: name, generation, stranded }));
  return parts;
}

/** The adopter's stream of one entry: all rows of the disk. */
function bring(to: Parts, entry: Stranded, from: Disk, nonce: number): void {
  const transfer = { partition: P0, kind: "stranded", generation: entry.generation, nonce } as const;
  to.receive("a", { type: "transfer-offer", transfer, epoch: 9 as Epoch, stranded: entry });
  const changes = rows(from).filter(({ key }) => isModuleKey(key));
  to.receive("a", {
    type: "transfer-chunk",
    transfer,
    sequence: 1,
    changes,
    last: { changes: changes.length, hash: hashChanges(0, changes), epoch: 9 as Epoch },
  });
}

function rows(disk: Disk, prefix?: Uint8Array): ReturnType<Disk["page"]>["rows"] {
  return disk.page({ partition: P0, rowLimit: 900, byteLimit: 1e6, ...(prefix && { prefix }) }).rows;
}

function idsOf(parts: Parts): string[] {
  return parts.started.map(({ record }) => record.id);
}
