/** SubmitStream against a fake node over real sockets: ranges, credits, garbage, half-close. */

import { Client, type ClientDuplexStream, credentials, type ServiceError, status } from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DETAILS_KEY, parseErrorDetails } from "../../../proto/error-details.ts";
import { STREAM_PATH, serviceDefinition } from "../../../proto/load.ts";
import type * as messages from "../../../proto/messages.ts";
import {
  encodeBatch,
  encodeHello,
  encodeWaits,
  parseStreamReply,
  type StreamReply,
  type Waited,
} from "../../../proto/submit-stream.ts";
import type { Epoch } from "../../../ring/ids.ts";
import type { NodeAnswer } from "../../../ring/node/requests.ts";
import { encodeRecord } from "../../../ring/tasks/record-encode.ts";
import { mintId } from "../../../ring/tasks/task-id.ts";
import { type Api, startApi } from "../../../services/api/server.ts";
import { documentOf, doneTask, FakeNode, quiet, until } from "./fake-node.ts";

let node: FakeNode;
let api: Api;
let client: Client;

beforeEach(async () => {
  node = new FakeNode();
  api = await startApi({
    node,
    bind: { host: "127.0.0.1", port: 0 },
    log: quiet,
    limits: { creditTasks: 100, creditWaits: 4 },
  });
  client = new Client(api.address, credentials.createInsecure());
});

afterEach(async () => {
  client.close();
  await api.close({ graceMs: 0 });
});

interface Opened {
  readonly stream: ClientDuplexStream<Buffer, Buffer>;
  readonly replies: StreamReply[];
  readonly ended: Promise<ServiceError | undefined>;
  readonly acked: () => number;
}

function open(): Opened {
  const pass = (bytes: Buffer): Buffer => bytes;
  const stream = client.makeBidiStreamRequest(STREAM_PATH, pass, pass);
  const replies: StreamReply[] = [];
  stream.on("data", (bytes: Buffer) => replies.push(parseStreamReply(bytes)));
  const ended = new Promise<ServiceError | undefined>((resolve) => {
    stream.on("end", () => resolve(undefined));
    stream.on("error", (error: ServiceError) => resolve(error));
  });
  const acked = (): number => ranges(replies).reduce((sum, [first, last]) => sum + last - first + 1, 0);
  return { stream, replies, ended, acked };
}

function ranges(replies: readonly StreamReply[]): [number, number][] {
  const found: [number, number][] = [];
  for (const { acks } of replies) for (let at = 0; at < acks.length; at += 2) found.push([acks[at]!, acks[at + 1]!]);
  return found;
}

function task(key: string, changes: object = {}): Uint8Array {
  return encodeRecord({
    app: "acme",
    type: "t",
    key,
    id: mintId({ wallMs: 1, random: Math.random, app: "acme", key }),
    ...changes,
  });
}

test("the first frame tells credit and epoch; a batch is acknowledged as one range", async () => {
  const { stream, replies, acked } = open();
  stream.write(encodeBatch(1, [task("a"), task("b"), task("c")]));
  await until(() => acked() === 3);
  expect(replies[0]).toMatchObject({ credit: { tasks: 100, bytes: 4 * 1024 * 1024, waits: 4 }, ringEpoch: 7 });
  expect(ranges(replies)).toEqual([[1, 3]]);
  expect(node.accepted.map((record) => record.key)).toEqual(["a", "b", "c"]);
  stream.cancel();
});

test("refused tasks are single rejects between the ranges, duplicates name their id, minted ids are told", async () => {
  const { stream, replies } = open();
  const again = task("same");
  const without = encodeRecord({ app: "acme", type: "t", key: "k" });
  stream.write(encodeBatch(5, [task("a"), again, again, new Uint8Array([0xff]), task("b", { app: "NOT" }), without]));
  await until(() => replies.some((reply) => reply.rejects.length > 0));
  const reply = replies.find((one) => one.rejects.length > 0)!;
  expect(ranges([reply])).toEqual([
    [5, 6],
    [10, 10],
  ]);
  expect(reply.rejects.map((reject) => [reject.seq, reject.code])).toEqual([
    [8, "INVALID_ARGUMENT"],
    [9, "APP_NAME_INVALID"],
  ]);
  expect(reply.duplicates).toMatchObject([{ seq: 7, state: 1 }]);
  expect(reply.minted).toEqual([{ seq: 10, taskId: node.accepted.at(-1)?.id }]);
  stream.cancel();
});

test("half-close flushes every outcome, then the stream ends", async () => {
  node.holding = true;
  const { stream, ended, acked } = open();
  stream.write(encodeBatch(1, [task("a"), task("b")]));
  stream.end();
  await until(() => node.held === 2);
  node.release(1);
  await until(() => acked() === 1);
  node.release();
  expect(await ended).toBeUndefined();
  expect(acked()).toBe(2);
});

test("P5: a client that overruns its credit is not read any further", async () => {
  node.holding = true;
  const { stream, acked } = open();
  const frames = 400;
  for (let at = 0; at < frames; at++)
    stream.write(
      encodeBatch(
        at * 10 + 1,
        Array.from({ length: 10 }, (_, index) => task(`k${at}-${index}`)),
      ),
    );
  await until(() => node.held > 100);
  const turns = 200;
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
  // The credit, and at most the transport's read-ahead of 16 frames.
  expect(node.heldMost).toBeLessThanOrEqual(100 + 10 * 17);
  node.holding = false;
  node.release();
  await until(() => acked() === frames * 10);
  expect(node.accepted.length).toBe(frames * 10);
  stream.cancel();
});

test("P5: a client that does not read its outcomes is not read either", async () => {
  const pass = (bytes: Buffer): Buffer => bytes;
  const stream = client.makeBidiStreamRequest(STREAM_PATH, pass, pass);
  stream.on("error", () => undefined);
  node.judge = () => ({ type: "refused", code: "QUEUE_FULL", detail: "x".repeat(20_000) });
  let submitted = 0;
  const inner = node.submit.bind(node);
  node.submit = (origin, tokens, records) => {
    submitted += records.length;
    inner(origin, tokens, records);
  };
  const frames = 300;
  for (let at = 0; at < frames; at++)
    stream.write(
      encodeBatch(
        at * 10 + 1,
        Array.from({ length: 10 }, (_, index) => task(`k${at}-${index}`)),
      ),
    );
  await until(() => submitted > 0);
  for (let turn = 0; turn < 300; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(submitted).toBeLessThan(frames * 10);
  let rejects = 0;
  stream.on("data", (bytes: Buffer) => {
    rejects += parseStreamReply(bytes).rejects.length;
  });
  await until(() => rejects === frames * 10);
  stream.cancel();
});

test.each([
  ["garbage", Buffer.from([0x12, 0xff, 0xff, 0xff, 0x0f])],
  ["a number that goes back", encodeBatch(1, [task("x")])],
  ["a late hello", encodeHello({ clientId: "c", lastAckedSeq: 1 })],
])("%s ends the stream with INVALID_ARGUMENT; the connection survives", async (_title, frame) => {
  const { stream, ended, acked } = open();
  stream.write(encodeBatch(1, [task("a")]));
  await until(() => acked() === 1);
  stream.write(frame);
  const error = await ended;
  expect(error?.code).toBe(status.INVALID_ARGUMENT);
  expect(parseErrorDetails(error!.metadata.get(DETAILS_KEY)[0] as Buffer).reason).toBe("INVALID_ARGUMENT");
  const next = open();
  next.stream.write(encodeBatch(1, [task("b")]));
  await until(() => next.acked() === 1);
  expect(api.connections.open).toBe(1);
  next.stream.cancel();
});

test("after hello the numbers go on from the last acknowledged one", async () => {
  const { stream, acked } = open();
  stream.write(encodeHello({ clientId: "c", lastAckedSeq: 40 }));
  stream.write(encodeBatch(41, [task("a")]));
  await until(() => acked() === 1);
  stream.cancel();
});

test("a reset forgets the origin; the tasks stay", async () => {
  node.holding = true;
  const { stream } = open();
  stream.write(encodeBatch(1, [task("a")]));
  await until(() => node.held === 1);
  stream.cancel();
  await until(() => node.forgotten.length === 1);
  node.release();
  expect(node.accepted.length).toBe(1);
});

test("a new ring is told to every stream", async () => {
  const { stream, replies } = open();
  await until(() => replies.length === 1);
  node.learn(documentOf(["n1"], { epoch: 8 as Epoch }));
  await until(() => replies.length === 2);
  expect(replies[1]?.ringEpoch).toBe(8);
  stream.cancel();
});

test("a draining node rejects new tasks with a delay and ends the stream when the old ones are answered", async () => {
  node.holding = true;
  const { stream, replies, ended, acked } = open();
  stream.write(encodeBatch(1, [task("a")]));
  await until(() => node.held === 1);
  api.drain();
  stream.write(encodeBatch(2, [task("b")]));
  await until(() => replies.some((reply) => reply.rejects.length > 0));
  expect(replies.flatMap((reply) => reply.rejects)).toMatchObject([{ seq: 2, code: "DRAINING", retryAfterMs: 250 }]);
  const closed = api.close({ graceMs: 5_000 });
  node.release();
  expect((await ended)?.code).toBe(status.UNAVAILABLE);
  expect(acked()).toBe(1);
  client.close();
  await closed;
});

test("waits are answered with the task when it ends, or with the refusal", async () => {
  const ends = new Ends(node);
  const { stream, replies } = open();
  const [first, second, unknown] = [idOf("a"), idOf("b"), idOf("c")];
  stream.write(encodeWaits([wait(1, first), wait(2, second), wait(3, unknown), wait(4, "no id")]));
  await until(() => ends.waiting === 3 && waited(replies).length === 1);
  expect(waited(replies)).toMatchObject([{ number: 4, refused: { code: "INVALID_ARGUMENT", retryAfterMs: 0 } }]);
  ends.refuse(unknown);
  ends.end(second, new Uint8Array([1, 2, 3]));
  await until(() => waited(replies).length === 3);
  expect(waited(replies)[1]).toMatchObject({ number: 3, refused: { code: "TASK_NOT_FOUND" } });
  expect(taskOf(waited(replies)[2])).toMatchObject({ taskId: second, state: "DONE" });
  ends.end(first);
  await until(() => waited(replies).length === 4);
  expect(taskOf(waited(replies)[3])).toMatchObject({ taskId: first, state: "DONE" });
  stream.cancel();
});

test("more waits than the credit are refused one by one; an answer makes room", async () => {
  const ends = new Ends(node);
  const { stream, replies } = open();
  const ids = ["a", "b", "c", "d", "e"].map(idOf);
  stream.write(encodeWaits(ids.map((id, index) => wait(index + 1, id))));
  await until(() => waited(replies).length === 1);
  expect(waited(replies)).toMatchObject([{ number: 5, refused: { code: "QUEUE_FULL" } }]);
  ends.end(ids[0]!);
  await until(() => waited(replies).length === 2);
  stream.write(encodeWaits([wait(5, ids[4]!)]));
  await until(() => ends.waiting === 4);
  stream.cancel();
});

test.each([
  ["of an open wait", 1],
  ["zero", 0],
])("the number %s ends the stream with INVALID_ARGUMENT", async (_title, number) => {
  const ends = new Ends(node);
  const { stream, ended } = open();
  stream.write(encodeWaits([wait(1, idOf("a"))]));
  await until(() => ends.waiting === 1);
  stream.write(encodeWaits([wait(number, idOf("b"))]));
  expect((await ended)?.code).toBe(status.INVALID_ARGUMENT);
});

test("half-close waits for the answers of waits too; a node that stops does not", async () => {
  const ends = new Ends(node);
  const half = open();
  half.stream.write(encodeWaits([wait(1, idOf("a"))]));
  half.stream.end();
  await until(() => ends.waiting === 1);
  ends.end(idOf("a"));
  expect(await half.ended).toBeUndefined();
  expect(waited(half.replies).length).toBe(1);

  const stays = open();
  stays.stream.write(encodeWaits([wait(1, idOf("b"))]));
  await until(() => ends.waiting === 1);
  const closed = api.close({ graceMs: 5_000 });
  expect((await stays.ended)?.code).toBe(status.UNAVAILABLE);
  client.close();
  await closed;
});

test("large results are answered in frames of a few each, and none is lost", async () => {
  const ends = new Ends(node);
  const { stream, replies } = open();
  const ids = ["a", "b", "c", "d"].map(idOf);
  stream.write(encodeWaits(ids.map((id, index) => wait(index + 1, id))));
  await until(() => ends.waiting === 4);
  for (const id of ids) ends.end(id, new Uint8Array(150 * 1024));
  await until(() => waited(replies).length === 4);
  expect(replies.filter((reply) => reply.waited.length > 0).map((reply) => reply.waited.length)).toEqual([2, 2]);
  for (const answer of waited(replies)) expect(taskOf(answer).result).toHaveLength(150 * 1024);
  stream.cancel();
});

/** Answers waits when the test says so. */
class Ends {
  readonly #open = new Map<string, (answer: NodeAnswer) => void>();

  constructor(fake: FakeNode) {
    fake.answer = (request) => {
      if (request.type !== "task" || request.request.type !== "wait") throw new Error(request.type);
      const { id } = request.request;
      return new Promise((resolve) => {
        this.#open.set(id, resolve);
      });
    };
  }

  get waiting(): number {
    return this.#open.size;
  }

  end(id: string, result?: Uint8Array): void {
    this.#answer(id, doneTask(id, result));
  }

  refuse(id: string): void {
    this.#answer(id, { type: "task", answer: { type: "refused", code: "TASK_NOT_FOUND", detail: "unknown" } });
  }

  #answer(id: string, answer: NodeAnswer): void {
    const open = this.#open.get(id);
    this.#open.delete(id);
    open?.(answer);
  }
}

function idOf(letter: string): string {
  return letter.repeat(32);
}

function wait(number: number, taskId: string) {
  return { number, taskId, timeoutMs: 10_000 };
}

function waited(replies: readonly StreamReply[]): readonly Waited[] {
  return replies.flatMap((reply) => reply.waited);
}

function taskOf(answer: Waited | undefined): messages.Task {
  if (answer === undefined || !("task" in answer)) throw new Error("not a task");
  return serviceDefinition("taskring.v1.Tasks").Wait!.responseDeserialize(Buffer.from(answer.task)) as messages.Task;
}
