/** Taking over the directory of a dead process: when, what is said of it, and when it is let go. */

import { beforeEach, describe, expect, test } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import type { MemberId, NodeName, Partition } from "../../ring/ids.ts";
import { Adoption } from "../../ring/node/adoption.ts";
import type { Copy, NodeEffect } from "../../ring/node/effects.ts";
import type { Giving } from "../../ring/node/messages.ts";
import type { RegisterState } from "../../ring/register/messages.ts";
import { documentOf, strandedOn } from "./node-parts.ts";

const C = "c" as NodeName;
const COPY: Copy = { partition: 0 as Partition, term: { history: 1, generation: 1, opens: 1 } };

let now: number;
let document: RingDocument;
let effects: NodeEffect[];
let consents: { name: NodeName; epoch: number; gives: Giving }[];
let restarting: Set<NodeName>;
let live: Set<NodeName>;
let learnt: RingDocument[];
let helds: number;
let notes: string[];
let adoption: Adoption;
let spoken: string[];
let isInStore: boolean;
let proofs: string[];

beforeEach(() => {
  now = 1_000;
  document = documentOf({ epoch: 5, owner: "c" });
  effects = [];
  consents = [];
  learnt = [];
  helds = 0;
  notes = [];
  spoken = [];
  proofs = [];
  isInStore = false;
  restarting = new Set();
  live = new Set(["a", "b"] as NodeName[]);
  const here = {
    self: "a" as NodeName,
    memberId: "id-a" as MemberId,
    get now() {
      return now;
    },
    get document() {
      return document;
    },
    emit: (effect: NodeEffect) => void effects.push(effect),
    send: () => {},
    linked: () => false,
    note: (what: string, detail: string) => void notes.push(`${what} ${detail}`),
  };
  adoption = new Adoption(here, {
    random: () => 0.5,
    leaseMs: 5_000,
    hooks: {
      consent: (name, epoch, gives) => void consents.push({ name, epoch, gives }),
      registerEffects: (_of, made) => void spoken.push(...made.map(({ type }) => type)),
      learn: (newer) => void learnt.push(newer),
      announce: () => {},
      isInStore: () => isInStore,
      proveDead: (id, isDead) => void proofs.push(`${id} ${isDead}`),
      held: () => void helds++,
      isRestarting: (name) => restarting.has(name),
      live: (name) => live.has(name),
    },
  });
});

function of<Type extends NodeEffect["type"]>(type: Type): Extract<NodeEffect, { type: Type }>[] {
  return effects.filter((effect): effect is Extract<NodeEffect, { type: Type }> => effect.type === type);
}

function pass(ms: number): void {
  for (const end = now + ms; now < end; ) {
    now = Math.min(end, Math.max(now + 1, adoption.nextDeadline() ?? end));
    adoption.tick();
  }
}

function lock(
  fields: { planned?: boolean; known?: RingDocument; copies?: readonly Copy[]; memberId?: string } = {},
): void {
  const { planned = false, known, copies = [COPY], memberId = "id-c" } = fields;
  const register: RegisterState | undefined =
    known === undefined
      ? undefined
      : {
          version: 1,
          member: C,
          memberId: memberId as MemberId,
          starts: 1,
          document: known,
          promised: undefined,
          accepted: undefined,
        };
  adoption.locked(C, { type: "held", memberId: memberId as MemberId, planned, register, copies });
}

function follow(next: RingDocument): void {
  document = next;
  adoption.follow(next);
}

/** Synced, whatever was to be written. */
function synced(): void {
  for (const { writeId } of of("commit-adopted")) adoption.committed(writeId);
}

const DOWN = ((): RingDocument => {
  const taken = documentOf({
    epoch: 6,
    owner: "b",
    generation: 2,
    stranded: [strandedOn("c", 1, { type: "adopter", adopter: "a" as NodeName })],
  });
  return {
    ...taken,
    members: taken.members.map((member) => (member.name === C ? { ...member, status: "down" as const } : member)),
  };
})();

describe("the lock", () => {
  test("is tried soon after the link broke, and again while somebody holds it", () => {
    adoption.suspect(C);
    pass(60);
    expect(of("try-lock")).toHaveLength(1);
    adoption.locked(C, { type: "refused", detail: "held" });
    pass(3_000);
    adoption.locked(C, { type: "refused", detail: "held" });
    pass(3_000);
    expect(of("try-lock")).toHaveLength(3);
  });

  test("is tried no more once the process answers again", () => {
    adoption.suspect(C);
    adoption.trust(C);
    pass(5_000);
    expect(of("try-lock")).toEqual([]);
    expect(adoption.nextDeadline()).toBeUndefined();
  });

  test("P1: is tried for as long as it takes: a process that stands still may be killed much later", () => {
    adoption.suspect(C);
    for (let minute = 0; minute < 60; minute++) {
      pass(60_000);
      adoption.locked(C, { type: "refused", detail: "held" });
    }
    const tries = of("try-lock").length;
    pass(20_000);
    expect(of("try-lock").length).toBeGreaterThan(tries);
    lock();
    expect(adoption.holding()).toEqual([C]);
  });

  test("is left alone while the member restarts on purpose", () => {
    restarting.add(C);
    adoption.suspect(C);
    pass(5_000);
    expect(of("try-lock")).toEqual([]);
  });

  test("of a process that stopped on purpose is given back, for 30 s", () => {
    adoption.suspect(C);
    pass(60);
    lock({ planned: true });
    expect(of("release-lock")).toHaveLength(1);
    expect(adoption.holding()).toEqual([]);
    pass(31_000);
    lock({ planned: true });
    expect(adoption.holding()).toEqual([C]);
  });

  test("of another directory under the same name is given back", () => {
    adoption.suspect(C);
    pass(60);
    lock({ memberId: "id-other" });
    expect(of("release-lock")).toHaveLength(1);
    expect(adoption.holding()).toEqual([]);
  });

  test("of a dead voter of which nothing is left is taken only when the others are no majority", () => {
    document = { ...DOWN, stranded: [], voters: ["a", "b", "c"] as NodeName[] };
    adoption.suspect(C);
    pass(10_000);
    expect(of("try-lock")).toEqual([]);
    live.delete("b" as NodeName);
    pass(3_000);
    expect(of("try-lock")).toHaveLength(1);
  });

  test("of a member on another machine is never tried", () => {
    document = {
      ...document,
      members: document.members.map((member) => (member.name === C ? { ...member, machine: "m2" } : member)),
    };
    adoption.suspect(C);
    pass(5_000);
    expect(of("try-lock")).toEqual([]);
  });
});

describe("an adoption", () => {
  beforeEach(() => {
    adoption.suspect(C);
    pass(60);
  });

  test("P3: seals everything on the dead disk before it consents", () => {
    lock();
    expect(of("commit-adopted")[0]?.groups.map((group) => group.partition)).toEqual([0]);
    expect(consents).toEqual([]);
    synced();
    expect(consents).toEqual([{ name: C, epoch: 6, gives: { type: "all", partitions: [0], adopter: "a" } }]);
  });

  test("P3: seals partitions that the dead process owned and never opened as well", () => {
    lock({ copies: [] });
    expect(of("commit-adopted")[0]?.groups).toMatchObject([{ partition: 0, term: { history: 1, generation: 1 } }]);
    synced();
    expect(consents[0]?.gives).toMatchObject({ partitions: [0] });
  });

  test("P7: runs no acceptor from the file of an only voter that speaks from the store; its lock is a proof while it is held", () => {
    lock({ known: document });
    expect(spoken).toContain("persist");
    expect(proofs).toEqual(["id-c true"]);
    adoption.failed(C, { passing: false, detail: "a bad disk" });
    expect(proofs).toEqual(["id-c true", "id-c false"]);
    spoken = [];
    isInStore = true;
    pass(20_000);
    lock({ known: document });
    expect(spoken).toEqual([]);
  });

  test("seals and consents anew when the epoch went to something else", () => {
    lock();
    synced();
    follow({ ...document, epoch: 6 as typeof document.epoch });
    expect(consents).toHaveLength(1);
    synced();
    expect(consents.at(-1)?.epoch).toBe(7);
  });

  test("says so again while nobody decides", () => {
    lock();
    synced();
    pass(2_000);
    expect(consents.length).toBeGreaterThan(3);
  });

  test("keeps the directory while the ring lists anything of it, then empties it and lets go", () => {
    lock();
    synced();
    follow(DOWN);
    pass(60_000);
    expect(of("drop")).toEqual([]);
    follow({ ...DOWN, epoch: 7 as typeof document.epoch, stranded: [] });
    expect(of("drop").map((effect) => effect.partition)).toEqual([0]);
    expect(of("release-lock")).toEqual([]);
    adoption.dropped(C, 0 as Partition);
    expect(of("release-lock")).toHaveLength(1);
    expect(adoption.holding()).toEqual([]);
  });

  test("P1: a directory held for its vote only is lent out again and again, to the process that may wait for it", () => {
    live.delete("b" as NodeName);
    lock();
    synced();
    follow({ ...DOWN, epoch: 7 as typeof document.epoch, stranded: [], voters: ["a", "b", "c"] as NodeName[] });
    pass(1_500);
    expect(of("drop")).toEqual([]);
    pass(1_000);
    expect(of("drop").map((effect) => effect.partition)).toEqual([0]);
    adoption.dropped(C, 0 as Partition);
    expect(of("release-lock")).toHaveLength(1);
    const before = of("try-lock").length;
    pass(400);
    expect(of("try-lock")).toHaveLength(before + 1);
    lock({ copies: [] });
    pass(3_000);
    expect(of("release-lock")).toHaveLength(1);
    pass(2_000);
    expect(of("release-lock")).toHaveLength(2);
    pass(400);
    adoption.locked(C, { type: "refused", detail: "its process has it" });
    adoption.trust(C);
    pass(5_000);
    expect(adoption.holding()).toEqual([]);
  });

  test("P1: a directory that another adopter had begun with is sent on at once, with no change of the ring", () => {
    document = DOWN;
    lock();
    expect(helds).toBe(1);
    expect(of("drop")).toEqual([]);
    expect(adoption.holds(DOWN.stranded[0]!)).toEqual({ type: "adopted", member: C });
  });

  test("P1: drops nothing by a document that is older than the one in the directory", () => {
    // This node still believes the member down and emptied; it has been back since, and was given a partition.
    document = { ...DOWN, epoch: 6 as typeof document.epoch, stranded: [], voters: ["a", "b", "c"] as NodeName[] };
    const newer = documentOf({ epoch: 9, owner: "c", generation: 3 });
    lock({ known: newer, copies: [{ partition: 0 as Partition, term: { history: 1, generation: 3, opens: 1 } }] });
    pass(5_000);
    expect(learnt).toEqual([newer]);
    expect(of("drop")).toEqual([]);
    follow(newer);
    synced();
    expect(consents.at(-1)).toMatchObject({ epoch: 10, gives: { type: "all", partitions: [0] } });
  });

  test("P7: never speaks for a new member of the same name", () => {
    lock();
    const renewed = {
      ...document,
      epoch: 8 as typeof document.epoch,
      members: document.members.map((member) => (member.name === C ? { ...member, id: "id-new" as MemberId } : member)),
    };
    consents = [];
    follow(renewed);
    synced();
    pass(3_000);
    synced();
    expect(consents).toEqual([]);
  });
});

describe("work on the directory that fails", () => {
  beforeEach(() => {
    adoption.suspect(C);
    pass(60);
    effects = [];
  });

  test("P8: a seal that found no room is written again, ever more rarely, and says why", () => {
    lock();
    const failing = (): void => adoption.failed(C, { passing: true, detail: "the disk is full" });
    failing();
    expect(notes.at(-1)).toBe("adoption-waits c: the disk is full; tried again in 0.5 s");
    expect(adoption.warnings()).toEqual([{ code: "ADOPTION_WAITS", detail: "directory of c: the disk is full" }]);
    follow({ ...document });
    expect(of("commit-adopted")).toHaveLength(1);
    pass(600);
    expect(of("commit-adopted")).toHaveLength(2);
    for (let tries = 0; tries < 100; tries++) {
      failing();
      pass(10_000);
    }
    expect(of("commit-adopted")).toHaveLength(102);
    expect(notes.filter((note) => note.startsWith("adoption-waits"))).toHaveLength(7);
    synced();
    expect(consents).toMatchObject([{ name: C, epoch: 6, gives: { type: "all", partitions: [0] } }]);
    expect(adoption.warnings()).toEqual([]);
  });

  test("P8: what could not be dropped for want of room is dropped later, the rest not again, and then the lock is free", () => {
    const copies = [0, 1, 2].map((partition) => ({ ...COPY, partition: partition as Partition }));
    lock({ copies });
    synced();
    follow({ ...DOWN, stranded: [] });
    expect(of("drop")).toHaveLength(3);
    adoption.dropped(C, 0 as Partition);
    adoption.failed(C, { passing: true, detail: "the disk is full" });
    adoption.failed(C, { passing: true, detail: "the disk is full" });
    expect(of("release-lock")).toEqual([]);
    pass(600);
    expect(of("drop").map(({ partition }) => partition)).toEqual([0, 1, 2, 1, 2]);
    adoption.dropped(C, 1 as Partition);
    adoption.dropped(C, 2 as Partition);
    expect(of("release-lock")).toHaveLength(1);
    expect(adoption.holding()).toEqual([]);
  });

  test("P8: a directory with which something is wrong is given back, and tried again after a while that doubles", () => {
    lock();
    adoption.failed(C, { passing: false, detail: "EIO" });
    expect(of("release-lock")).toHaveLength(1);
    expect(adoption.holding()).toEqual([]);
    expect(notes.at(-1)).toMatch(/^adoption-failed c: EIO; .* 15 s/);
    // What else had failed by then is heard of later.
    adoption.failed(C, { passing: false, detail: "EIO" });
    expect(of("release-lock")).toHaveLength(1);
    pass(14_000);
    expect(of("try-lock")).toEqual([]);
    pass(2_000);
    expect(of("try-lock")).toHaveLength(1);
    lock();
    adoption.failed(C, { passing: false, detail: "EIO" });
    pass(28_000);
    expect(of("try-lock")).toHaveLength(1);
    pass(3_000);
    expect(of("try-lock")).toHaveLength(2);
  });
});
