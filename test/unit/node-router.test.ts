/** The way of submitted tasks to their owners: order, one hop, and an outcome for each. */

import { beforeEach, describe, expect, test } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import type { AppName, NodeName } from "../../ring/ids.ts";
import { encodeMessage } from "../../ring/io/peer/frame.ts";
import type { Forward, NodeMessage } from "../../ring/node/messages.ts";
import { type Admission, type LocalOwner, type OutcomeSink, Router } from "../../ring/node/router.ts";
import { parseRecord } from "../../ring/tasks/record.ts";
import type { SubmitOutcome, TaskRecord } from "../../ring/tasks/task.ts";
import { documentOf, keyIn, taskRecord } from "./node-parts.ts";

let now: number;
let document: RingDocument;
/** How often the router asked for it. */
let looks: number;
let sent: { to: NodeName; message: Forward }[];
let links: Set<string>;
let admission: Admission;
/** Tokens that reached this node's own vnode, in order. */
let taken: number[];
let outcomes: Map<number, SubmitOutcome>;
let router: Router;
let token: number;

beforeEach(() => {
  now = 1_000;
  document = documentOf({ epoch: 5, owner: "b" });
  sent = [];
  links = new Set(["b", "c"]);
  admission = "serve";
  taken = [];
  outcomes = new Map();
  token = 0;
  const here = {
    self: "a" as NodeName,
    memberId: "id-a" as never,
    get now() {
      return now;
    },
    get document() {
      looks++;
      return document;
    },
    emit: () => {},
    send: (to: NodeName, message: NodeMessage) => {
      if (message.type === "forward") sent.push({ to, message });
    },
    linked: (name: NodeName) => name === "a" || links.has(name),
    note: () => {},
  };
  const local: LocalOwner = {
    admission: () => admission,
    submit: (_partition, _record, _sink, mine) => void taken.push(mine),
  };
  router = new Router(here, local, { numbersFrom: 0 });
});

function submit(fields: { forwarded?: boolean; partition?: number } = {}): number {
  const sink: OutcomeSink = {
    forwarded: fields.forwarded ?? false,
    origin: "client",
    settle: (of, outcome) => void outcomes.set(of, outcome),
  };
  router.submit(sink, [++token], [taskRecord(keyIn(fields.partition ?? 0), now)]);
  return token;
}

function answer(index: number, outcome: SubmitOutcome): void {
  const { to, message } = sent[index]!;
  const { forwardId, epoch, records } = message;
  router.forwarded(to, { type: "forwarded", forwardId, epoch, outcomes: records.map(() => outcome) });
}

function pass(ms: number): void {
  for (const end = now + ms; now < end; ) {
    now = Math.min(end, Math.max(now + 1, router.nextDeadline() ?? end));
    router.tick();
  }
}

const ACCEPTED: SubmitOutcome = { type: "accepted", id: "x" };
const REFUSED: SubmitOutcome = { type: "refused", code: "NOT_OWNER", detail: "the ring changed", retryAfterMs: 50 };

describe("a submitted task", () => {
  test("goes to its partition's owner, and the owner's outcome to its submitter", () => {
    const first = submit();
    expect(sent).toMatchObject([{ to: "b", message: { epoch: 5 } }]);
    answer(0, ACCEPTED);
    expect(outcomes.get(first)).toEqual(ACCEPTED);
  });

  test("that a peer forwarded is never forwarded again", () => {
    const late = submit({ forwarded: true });
    expect(sent).toEqual([]);
    expect(outcomes.get(late)).toMatchObject({ type: "refused", code: "NOT_OWNER" });
  });

  test("P3: waits while earlier ones of its partition are on their way to the former owner", () => {
    const first = submit();
    document = documentOf({ epoch: 6, owner: "c", generation: 2 });
    router.drain();
    const second = submit();
    expect(sent).toHaveLength(1);
    answer(0, ACCEPTED);
    expect(sent.at(-1)?.to).toBe("c");
    answer(1, ACCEPTED);
    expect([outcomes.get(first), outcomes.get(second)]).toEqual([ACCEPTED, ACCEPTED]);
  });

  test("P3: waits likewise when this node itself has become the owner", () => {
    submit();
    document = documentOf({ epoch: 6, owner: "a", generation: 2 });
    router.drain();
    const second = submit();
    answer(0, REFUSED);
    expect(taken).toEqual([1, second]);
  });

  test("that its owner refuses does not go back to it at once, but on to the next as soon as the ring is known", () => {
    const first = submit();
    answer(0, REFUSED);
    expect(sent).toHaveLength(1);
    document = documentOf({ epoch: 6, owner: "c", generation: 2 });
    router.drain();
    expect(sent.map(({ to }) => to)).toEqual(["b", "c"]);
    answer(1, ACCEPTED);
    expect(outcomes.get(first)).toEqual(ACCEPTED);
  });

  test("that its owner refuses before it knows its ring is sent again, ten times a second", () => {
    const first = submit();
    for (let tries = 1; tries <= 10; tries++) {
      answer(tries - 1, { type: "refused", code: "NO_OWNER", detail: "this node is not part of a ring yet" });
      expect(sent).toHaveLength(tries);
      pass(100);
    }
    answer(10, ACCEPTED);
    expect(outcomes.get(first)).toEqual(ACCEPTED);
  });

  test("P3: that comes back from a former owner goes before those that came later", () => {
    admission = "wait";
    document = documentOf({ epoch: 5, owner: "b" });
    const first = submit();
    links.delete("b");
    const second = submit();
    const third = submit();
    document = documentOf({ epoch: 6, owner: "a", generation: 2 });
    router.linkDown("b" as NodeName);
    admission = "serve";
    pass(200);
    expect(taken).toEqual([first, second, third]);
  });

  test("P2: that an owner may have taken is refused by nobody for certain", () => {
    const [first, second, third] = [submit(), submit(), submit()];
    router.linkDown("b" as NodeName);
    document = documentOf({ epoch: 6, owner: "c", generation: 2 });
    pass(100);
    const [full, left] = [
      { type: "refused", code: "QUEUE_FULL", detail: "no room", retryAfterMs: 500 },
      { type: "refused", code: "DRAINING", detail: "the node is stopping" },
    ] as const;
    const { forwardId, epoch } = sent.at(-1)!.message;
    router.forwarded("c" as NodeName, { type: "forwarded", forwardId, epoch, outcomes: [full, left, ACCEPTED] });
    const unsure = "an earlier try may have been accepted; the last one was refused with";
    expect(outcomes.get(first)).toEqual({ ...full, code: "DEADLINE", detail: `${unsure} QUEUE_FULL: no room` });
    expect(outcomes.get(second)).toEqual({
      ...left,
      code: "NO_OWNER",
      detail: `${unsure} DRAINING: the node is stopping`,
    });
    expect(outcomes.get(third)).toEqual(ACCEPTED);
  });

  test("P2: that moved before its owner knew it to be stored is refused by nobody for certain", () => {
    const first = submit();
    answer(0, { type: "refused", code: "NO_OWNER", detail: "partition 0 has moved" });
    pass(200);
    answer(1, { type: "refused", code: "QUEUE_FULL", detail: "no room" });
    expect(outcomes.get(first)).toMatchObject({ type: "refused", code: "DEADLINE" });
  });

  test("gets an answer when its owner cannot be reached until its deadline", () => {
    links.delete("b");
    const lost = submit();
    pass(4_900);
    expect(outcomes.size).toBe(0);
    pass(200);
    expect(outcomes.get(lost)).toMatchObject({ type: "refused", code: "NO_OWNER" });
  });

  test("P4: waits for its owner without costing the answers of another, and goes when it is there, however many those are", () => {
    document = { ...document, owners: document.owners.map((owner, at) => (at === 1 ? ("c" as NodeName) : owner)) };
    links.delete("c");
    for (let count = 0; count < 1_000; count++) submit({ partition: 1 });
    submit();
    looks = 0;
    answer(0, ACCEPTED);
    expect(looks).toBeLessThan(10);
    links.add("c");
    for (let passed = 0; passed < 110; passed += 10) {
      submit();
      answer(sent.length - 1, ACCEPTED);
      pass(10);
    }
    expect(sent.filter(({ to }) => to === "c").flatMap(({ message }) => message.records)).toHaveLength(1_000);
  });

  test("P4: waits for a peer that stands still without costing the answers of one that is full as well", () => {
    document = { ...document, owners: document.owners.map((owner, at) => (at === 1 ? ("c" as NodeName) : owner)) };
    submitAll(Array.from({ length: 51_000 }, () => taskRecord(keyIn(0), now)));
    const first = sent.length;
    submit({ partition: 1 });
    submitAll(Array.from({ length: 10_000 }, () => taskRecord(keyIn(1), now)));
    const last = sent.length;
    const toC = sent.slice(first).flatMap(({ message }) => message.records).length;
    expect(toC).toBeLessThan(10_001);
    looks = 0;
    answer(first, ACCEPTED);
    expect(looks).toBeLessThan(100);
    expect(sent.slice(last).map(({ to, message }) => [to, message.records.length])).toEqual([["c", 1]]);
  });

  test("P5: waits only in a bounded queue", () => {
    links.delete("b");
    for (let count = 0; count < 20_001; count++) submit();
    expect(outcomes.get(20_001)).toMatchObject({ type: "refused", code: "QUEUE_FULL" });
    expect(outcomes.size).toBe(1);
  });

  test("P5: on its way to a peer counts as well: more wait here", () => {
    submitAll(Array.from({ length: 50_000 }, () => taskRecord(keyIn(0), now)));
    const before = sent.length;
    expect(sent.flatMap(({ message }) => message.records)).toHaveLength(50_000);
    token = 50_000;
    submit();
    expect(sent).toHaveLength(before);
    answer(0, ACCEPTED);
    expect(sent).toHaveLength(before + 1);
  });

  test("P4: passes a peer that stands still with all that may be on its way to it", () => {
    document = { ...document, owners: document.owners.map((owner, at) => (at === 1 ? ("c" as NodeName) : owner)) };
    submitAll(largeRecords(50, 1_000_000));
    expect(sent.length).toBeLessThan(36);
    submit({ partition: 1 });
    expect(sent.at(-1)?.to).toBe("c");
    submitAll(Array.from({ length: 20_000 }, () => taskRecord(keyIn(1), now)));
    expect(sent.filter(({ to }) => to === "c").flatMap(({ message }) => message.records)).toHaveLength(20_001);
  });

  test("P5: waits for room on the way to its peer, and goes when an answer makes some", () => {
    submitAll(Array.from({ length: 50_000 }, () => taskRecord(keyIn(0), now)));
    const before = sent.length;
    document = { ...document, owners: document.owners.map((owner, at) => (at === 1 ? ("b" as NodeName) : owner)) };
    submit({ partition: 1 });
    expect(sent).toHaveLength(before);
    answer(0, ACCEPTED);
    expect(sent).toHaveLength(before + 1);
  });

  test("P4: finds room to wait though another app has all that one may have, which none of its tasks lose by that", () => {
    links.delete("b");
    submitAll(largeRecords(50, 1_000_000));
    const refused = outcomes.size;
    expect(50 - refused).toBeGreaterThan(30);
    expect(50 - refused).toBeLessThan(36);
    const { hash } = taskRecord(keyIn(1), now);
    submitAll(largeRecords(10, 600_000).map((record) => ({ ...record, hash, app: "beta" as AppName })));
    router.drain();
    expect(outcomes.size).toBe(refused);
  });

  test("P5: leaves room for as much again when it waits no longer", () => {
    for (let round = 0; round < 8; round++) {
      links.delete("b");
      const before = sent.length;
      submitAll(largeRecords(25, 1_000_000));
      expect(sent).toHaveLength(before);
      links.add("b");
      router.drain();
      expect(sent).toHaveLength(before + 25);
      for (let index = before; index < sent.length; index++) answer(index, ACCEPTED);
    }
  });

  test("P1: reaches its owner however many bytes waited for it: in messages that a link takes, in order", () => {
    links.delete("b");
    submitAll(largeRecords(20, 600_000));
    expect(sent).toEqual([]);
    links.add("b");
    router.drain();
    expect(sent.length).toBeGreaterThan(10);
    for (const { message } of sent) expect(encodeMessage(message).length).toBeLessThan(1_200_000);
    expect(sent.flatMap(({ message }) => message.records.map(({ wire }) => wire[0]))).toEqual(
      Array.from({ length: 20 }, (_, index) => index),
    );
    for (let index = 0; index < 20; index++) answer(index, ACCEPTED);
    expect([...outcomes.values()]).toEqual(new Array(20).fill(ACCEPTED));
  });

  test("P5: waits, and is on its way, only in bounded bytes", () => {
    submitAll(largeRecords(100, 1_000_000));
    const underWay = sent.length;
    expect(underWay).toBeGreaterThan(30);
    expect(underWay).toBeLessThan(36);
    const refused = [...outcomes.values()];
    expect(refused.length).toBeGreaterThan(100 - 2 * 36);
    for (const outcome of refused) expect(outcome).toMatchObject({ type: "refused", code: "QUEUE_FULL" });
    for (let index = 0; index < sent.length; index++) answer(index, ACCEPTED);
    expect([...outcomes.values()].filter(({ type }) => type === "accepted")).toHaveLength(100 - refused.length);
    for (let round = 0; round < 8; round++) {
      const before = sent.length;
      submitAll(largeRecords(25, 1_000_000)); // what has landed has left room for as many again
      expect(sent.length - before).toBe(25);
      for (let index = before; index < sent.length; index++) answer(index, ACCEPTED);
    }
  });

  test("P5: waits without the message that it came in", () => {
    links.delete("b");
    const { wire } = taskRecord(keyIn(0), now);
    const message = new Uint8Array(1_000_000); // the rest is for other owners
    message.set(wire);
    submitAll([parseRecord(message, 0, wire.length) as TaskRecord]);
    links.add("b");
    router.drain();
    const [record] = sent[0]!.message.records;
    expect(record?.wire).toEqual(wire);
    expect(record?.wire.buffer.byteLength).toBeLessThan(2 * wire.length);
  });

  test("P5: that the link did not take is refused at once, and nothing of it is left behind", () => {
    const first = submit();
    router.unsent("c" as NodeName, sent[0]!.message.forwardId);
    expect(outcomes.size).toBe(0);
    router.unsent("b" as NodeName, sent[0]!.message.forwardId);
    expect(outcomes.get(first)).toMatchObject({ type: "refused", code: "QUEUE_FULL", retryAfterMs: 500 });
    document = documentOf({ epoch: 6, owner: "a", generation: 2 });
    router.drain();
    const second = submit();
    expect(taken).toEqual([second]);
  });
});

function submitAll(records: readonly TaskRecord[]): void {
  const sink: OutcomeSink = {
    forwarded: false,
    origin: "client",
    settle: (of, outcome) => void outcomes.set(of, outcome),
  };
  router.submit(
    sink,
    records.map((_, index) => index),
    records,
  );
}

function wireOf(wire: Uint8Array): Pick<TaskRecord, "wire" | "bytes" | "start" | "end"> {
  return { wire, bytes: wire, start: 0, end: wire.length };
}

/** Numbered by the first byte; what else they say no router looks at. */
function largeRecords(count: number, bytes: number): TaskRecord[] {
  const record = taskRecord(keyIn(0), now);
  return Array.from({ length: count }, (_, index) => ({
    ...record,
    ...wireOf(new Uint8Array(bytes).fill(index, 0, 1)),
  }));
}
