/** Peer frames: one of each message comes back as it was, and garbage is dropped and counted. */

import { describe, expect, test } from "vitest";
import { decodeFrame, encodeMessage, joinFrame } from "../../../ring/io/peer/frame.ts";
import { SendQueue } from "../../../ring/io/peer/send-queue.ts";
import type { NodeMessage } from "../../../ring/node/messages.ts";
import { parseRecord } from "../../../ring/tasks/record.ts";
import { encodeRecord } from "../../../ring/tasks/record-encode.ts";
import type { TaskRecord } from "../../../ring/tasks/task.ts";
import { mintId } from "../../../ring/tasks/task-id.ts";
import { fc } from "../../arbitrary.ts";
import { documentOf } from "../../integration/api/fake-node.ts";

const document = documentOf(["n1", "n2"], {
  owners: new Array(64).fill(undefined),
  staged: [
    {
      type: "join",
      member: { name: "n3" as never, id: "i" as never, weight: 100, zone: "z", machine: "m", directory: "/d" },
    },
    { type: "set-zone", name: "n1" as never },
  ],
  stranded: [
    { partition: 3 as never, member: "n2" as never, memberId: "x" as never, generation: 4, where: { type: "away" } },
  ],
});
const envelope = { ringId: "r" as never, history: 1, memberId: "m" as never, starts: 3, run: 123_456_789 };
const ballot = { round: 1, member: "n1" as never, starts: 3 };
const transfer = { partition: 5 as never, kind: "stranded" as const, generation: 2, nonce: 2 ** 47 + 1 };
const status = {
  id: "0".repeat(32),
  app: "acme",
  type: "t",
  key: "k",
  state: "dead" as const,
  attempts: 5,
  partition: 3 as never,
  acceptedAtMs: 1_700_000_000_000.5,
  error: { name: "Error", message: "no" },
  result: new Uint8Array([0, 1, 255]),
};

function record(key: string): TaskRecord {
  const wire = encodeRecord({
    app: "acme",
    type: "t",
    key,
    payload: new Uint8Array(50),
    id: mintId({ wallMs: 1, random: Math.random, app: "acme", key }),
  });
  return parseRecord(wire, 0, wire.length) as TaskRecord;
}

const MESSAGES: readonly NodeMessage[] = [
  {
    type: "hello",
    protocol: { lowest: 1, highest: 1 },
    ringId: "r" as never,
    history: 1,
    name: "n1" as never,
    memberId: "m" as never,
  },
  {
    type: "apps",
    loaded: [{ match: "event-*", version: "2" }],
    overrides: [{ app: "acme" as never, version: 3, existence: "created", paused: true, limits: { queued: 5 } }],
  },
  { type: "forward", forwardId: 9, epoch: 7 as never, origin: "child", records: [record("a"), record("b")] },
  {
    type: "forwarded",
    forwardId: 9,
    epoch: 7 as never,
    outcomes: [
      { type: "accepted", id: "a".repeat(32) },
      { type: "duplicate", id: "b".repeat(32), state: "done" },
      { type: "refused", code: "QUEUE_FULL", detail: "full", retryAfterMs: 20 },
      { type: "accepted", id: "c".repeat(32) },
      { type: "refused", code: "NOT_OWNER", detail: "" },
    ],
  },
  {
    type: "ask",
    askId: 1,
    epoch: 7 as never,
    request: { type: "task", partition: 3 as never, request: { type: "list-dead", limit: 10 } },
  },
  {
    type: "ask",
    askId: 2,
    epoch: 7 as never,
    request: { type: "app", app: "acme" as never, action: { limits: { weight: 2 } } },
  },
  { type: "ask", askId: 2, epoch: 7 as never, request: { type: "list-apps", limit: 10, app: "acme" as never } },
  {
    type: "ask",
    askId: 3,
    epoch: 7 as never,
    request: { type: "stage", change: { type: "replace", name: "n1" as never, by: "n2" as never } },
  },
  {
    type: "ask",
    askId: 4,
    epoch: 7 as never,
    request: {
      type: "local-tasks",
      request: {
        type: "put-schedule",
        app: "acme" as never,
        spec: {
          name: "s",
          every: { type: "cron", expression: "* * * * *" },
          taskType: "t",
          key: "k",
          payload: new Uint8Array([1]),
          misfire: "skip",
        },
      },
    },
  },
  { type: "answer", askId: 1, answer: { type: "task", answer: { type: "tasks", statuses: [status], next: "c" } } },
  {
    type: "answer",
    askId: 2,
    answer: { type: "task", answer: { type: "state", values: new Map([["n", new Uint8Array([0, 49])]]) } },
  },
  {
    type: "answer",
    askId: 2,
    answer: {
      type: "task",
      answer: {
        type: "state",
        values: new Map(["__proto__", "constructor", "prototype"].map((name) => [name, new Uint8Array([0, 50])])),
      },
    },
  },
  { type: "answer", askId: 3, answer: { type: "refused", code: "DEADLINE", detail: "late" } },
  {
    type: "answer",
    askId: 4,
    answer: {
      type: "transfers",
      limit: 2,
      paused: false,
      transfers: [
        {
          partition: 1 as never,
          kind: "handoff",
          from: "n1" as never,
          to: "n2" as never,
          phase: "catch-up",
          reason: "",
          rows: 1,
          bytes: 2,
          sinceMs: 3.5,
        },
      ],
    },
  },
  {
    type: "answer",
    askId: 5,
    answer: {
      type: "node-status",
      status: {
        name: "n1" as never,
        version: "0.1.0",
        state: "serving",
        epoch: 7,
        history: 1,
        leaseMs: 4_000.25,
        partitions: [
          {
            partition: 0 as never,
            queued: 1,
            delayed: 0,
            running: 0,
            dead: 0,
            schedules: 0,
            lastCompletion: -1.5,
            runnable: true,
            oldestWaitMs: 0,
          },
        ],
        queued: 1,
        running: 0,
        dead: 0,
        children: 2,
        stranded: [],
        apps: [],
        warnings: [{ code: "NO_FAILOVER", detail: "one voter" }],
        store: { rows: 1, bytes: 2, commits: 3, syncs: 4, quarantined: 0 },
        adopting: [],
      },
    },
  },
  { type: "transfer-offer", transfer, epoch: 7 as never },
  { type: "transfer-wait", transfer, reason: "slots are full" },
  { type: "transfer-begin", transfer },
  {
    type: "transfer-chunk",
    transfer,
    sequence: 1,
    changes: [{ key: new Uint8Array([1]), value: new Uint8Array() }, { key: new Uint8Array([2]) }],
  },
  { type: "transfer-chunk", transfer, sequence: 2, changes: [], last: { changes: 2, hash: -5, epoch: 7 as never } },
  { type: "transfer-ack", transfer, sequence: 2, complete: true },
  { type: "transfer-abort", transfer, reason: "gone" },
  {
    type: "register",
    for: "n1" as never,
    as: "n2" as never,
    message: {
      ...envelope,
      type: "promise",
      epoch: 8 as never,
      ballot,
      accepted: {
        ballot,
        document,
        consents: [{ member: "n1" as never, epoch: 8 as never, partitions: [1 as never] }],
      },
    },
  },
  {
    type: "register",
    for: "n1" as never,
    as: "n2" as never,
    message: { ...envelope, type: "inquired", epoch: 7 as never, request: 1, waitsMs: [0, 12.5] },
  },
  { type: "document", document },
  { type: "pull-document", epoch: 3 },
  { type: "speaking-for", members: ["n9" as never] },
  { type: "store-lost", epoch: 7 },
  { type: "store-kept", epoch: 7 },
  {
    type: "consent",
    member: "n1" as never,
    epoch: 8 as never,
    gives: { type: "moves", moves: [{ partition: 1 as never, to: "n2" as never }] },
  },
  {
    type: "consent",
    member: "n9" as never,
    epoch: 8 as never,
    gives: { type: "all", partitions: [2 as never], adopter: "n1" as never },
  },
  {
    type: "candidate",
    member: { name: "n4" as never, id: "i4" as never, weight: 100, machine: "m", directory: "/d4" },
  },
  {
    type: "register",
    for: "n1" as never,
    as: "n2" as never,
    message: { ...envelope, type: "stale", seen: { memberId: "m" as never, starts: 4, run: 5 } },
  },
  { type: "absorbed", entries: document.stranded },
  {
    type: "absorbed",
    entries: document.stranded,
    generations: document.stranded.map(({ generation }) => generation + 1),
  },
  { type: "restarting", graceMs: 25_000 },
  { type: "refused", code: "WRONG_RING", detail: "no" },
];

describe("frames", () => {
  test("each message comes back as it was, in order", () => {
    const { messages, garbage } = decodeFrame(joinFrame(MESSAGES.map(encodeMessage)));
    expect(garbage).toBe(0);
    expect(messages.map((message) => message.type)).toEqual(MESSAGES.map((message) => message.type));
    for (const [index, message] of messages.entries()) expect(plain(message)).toEqual(plain(MESSAGES[index]));
  });

  test("a message of a wrong shape is dropped and counted; its neighbours arrive", () => {
    const wrong: readonly object[] = [
      { type: "no-such-message" },
      { type: "pull-document", epoch: -1 },
      { type: "pull-document", epoch: "7" },
      { type: "speaking-for", members: ["bad name!"] },
      { type: "document", document: { ...document, owners: [] } },
      { type: "register", for: "n1", as: "n2", message: { ...envelope, type: "prepare", epoch: 8 } },
      {
        type: "ask",
        askId: 1,
        epoch: 1,
        request: { type: "task", partition: 99_999, request: { type: "get", id: "x" } },
      },
    ];
    const good = encodeMessage({ type: "pull-document", epoch: 1 });
    const { messages, garbage } = decodeFrame(
      joinFrame([good, ...wrong.map((message) => encodeMessage(message as never)), good]),
    );
    expect(messages.length).toBe(2);
    expect(garbage).toBe(wrong.length);
  });

  test("P7: a document that no node could read back from its disk is dropped, wherever it stands", () => {
    const [first, second] = document.members;
    const wrong: readonly object[] = [
      { ...document, voters: [] },
      { ...document, voters: ["n9"] },
      { ...document, owners: document.owners.map(() => "n9") },
      { ...document, next: document.owners.map(() => "n1") },
      { ...document, members: [second, first] },
      { ...document, members: [first, { ...second, id: first?.id }] },
      { ...document, epoch: 0 },
      { ...document, generations: document.generations.map(() => 2 ** 40) },
      { ...document, stranded: [{ ...document.stranded[0], partition: 64 }] },
      { ...document, stranded: [{ ...document.stranded[0], member: "n9" }] },
    ];
    const accepted = { ballot, consents: [] };
    const register = { type: "register", for: "n1", as: "n2" };
    const carriers: readonly ((document: object) => object)[] = [
      (document) => ({ type: "document", document }),
      (document) => ({ ...register, message: { ...envelope, type: "document", document } }),
      (document) => ({
        ...register,
        message: { ...envelope, type: "accept", epoch: 8, vote: { ...accepted, document } },
      }),
      (document) => ({ type: "answer", askId: 1, answer: { type: "document", document } }),
    ];
    for (const carry of carriers) {
      const { messages, garbage } = decodeFrame(
        joinFrame([document, ...wrong].map((told) => encodeMessage(carry(told) as never))),
      );
      expect([messages.length, garbage]).toEqual([1, wrong.length]);
    }
  });

  test("cut-off, flipped and random bytes never throw", () => {
    const whole = joinFrame(MESSAGES.map(encodeMessage));
    fc.assert(
      fc.property(fc.nat(whole.length), (cut) => void decodeFrame(whole.subarray(0, cut))),
      { numRuns: 300 },
    );
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const bytes = Uint8Array.from(whole);
        bytes[at] = bytes[at]! ^ flip;
        decodeFrame(bytes);
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void decodeFrame(bytes)),
      { numRuns: 1_000 },
    );
  });
});

/** Views into the frame, Buffers and absent fields compared by what they hold. */
/** What holds of it wherever its bytes lie. */
function isRecord(value: unknown): value is TaskRecord {
  return typeof value === "object" && value !== null && "payloadOffset" in value && "bytes" in value;
}

function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (value instanceof Map) return [...value].map(plain);
  if (Array.isArray(value)) return value.map(plain);
  if (isRecord(value)) {
    const { bytes, start, end, ...rest } = value;
    return plain({ ...rest, wire: bytes.subarray(start, end) });
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([key, item]) => [key, plain(item)]),
  );
}

describe("the send queue", () => {
  test("P5: it is bounded by bytes, and urgent messages go first and may use a reserve", () => {
    const queue = new SendQueue(100);
    const bytes = (fill: number, length: number): Buffer => Buffer.alloc(length, fill);
    expect(queue.push({ bytes: bytes(1, 60), urgent: false })).toBe(true);
    expect(queue.push({ bytes: bytes(2, 60), urgent: false })).toBe(false);
    expect(queue.push({ bytes: bytes(3, 45), urgent: true })).toBe(true);
    expect(queue.push({ bytes: bytes(4, 45), urgent: true })).toBe(false);
    expect(queue.bytes).toBe(105);
    expect(queue.take({ byteTarget: 50, byteMost: 1_000 }).map((taken) => taken[0])).toEqual([3]);
    expect(queue.take({ byteTarget: 50, byteMost: 1_000 }).map((taken) => taken[0])).toEqual([1]);
    expect(queue.empty).toBe(true);
    expect(queue.bytes).toBe(0);
  });

  test("Q2, Q3: rows leave last but some with each frame, transfers by turns and each in its order", () => {
    const queue = new SendQueue(10_000);
    const push = (fill: number, bulk?: number): boolean =>
      queue.push({ bytes: Buffer.alloc(40, fill), urgent: false, bulk });
    for (const fill of [11, 12, 13]) push(fill, 1);
    for (const fill of [21, 22]) push(fill, 2);
    for (const fill of [1, 2, 3, 4]) push(fill);
    push(31, 3);
    queue.push({ bytes: Buffer.alloc(20, 9), urgent: true });
    const frames: (number | undefined)[][] = [];
    while (!queue.empty) frames.push(queue.take({ byteTarget: 200, byteMost: 1_000 }).map((taken) => taken[0]));
    expect(frames).toEqual([
      [9, 1, 2, 11, 21, 31],
      [3, 4, 12, 22, 13],
    ]);
    expect(queue.bytes).toBe(0);
  });

  test("a frame is never larger than what a peer takes, whatever the ranks of its messages", () => {
    const queue = new SendQueue(10_000);
    const push = (fill: number, length: number, rank: { urgent?: boolean; bulk?: number }): boolean =>
      queue.push({ bytes: Buffer.alloc(length, fill), urgent: rank.urgent ?? false, bulk: rank.bulk });
    for (const fill of [1, 2]) push(fill, 600, { urgent: true });
    push(3, 900, {});
    for (const fill of [4, 5]) push(fill, 300, { bulk: 1 });
    const frames: (number | undefined)[][] = [];
    while (!queue.empty) frames.push(queue.take({ byteTarget: 500, byteMost: 1_000 }).map((taken) => taken[0]));
    expect(frames).toEqual([[1], [2, 4], [3], [5]]);
  });

  test("P8, Q2: large messages before them hold rows up in no frame", () => {
    for (const urgent of [false, true]) {
      const queue = new SendQueue(10_000);
      queue.push({ bytes: Buffer.alloc(10, 1), urgent: false, bulk: 1 });
      queue.push({ bytes: Buffer.alloc(900, 2), urgent });
      expect(queue.take({ byteTarget: 200, byteMost: 1_000 }).map((taken) => taken[0])).toEqual([2, 1]);
    }
  });
});
