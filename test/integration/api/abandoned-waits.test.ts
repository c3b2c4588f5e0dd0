/** P4, P5: an owner has room for so many waits, so one whose caller has gone must not stay for the time that was asked for. */

import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "vitest";
import { STREAM_PATH, serviceDefinition } from "../../../proto/load.ts";
import { encodeWaits } from "../../../proto/submit-stream.ts";
import type { NodeAnswer } from "../../../ring/node/requests.ts";
import { type Api, startApi } from "../../../services/api/server.ts";
import { doneTask, FakeNode, quiet, until } from "./fake-node.ts";

const ID = `${"0".repeat(28)}0000`;
const WAIT_MS = 600_000;
let node: FakeNode;
let api: Api;
let client: Client;
/** How long the node was asked to wait, and how it answers. */
let waits: { readonly timeoutMs: number; readonly answer: (answer: NodeAnswer) => void }[];

beforeEach(async () => {
  node = new FakeNode();
  waits = [];
  node.answer = (request) => {
    if (request.type !== "task" || request.request.type !== "wait") throw new Error(`not expected: ${request.type}`);
    const { timeoutMs } = request.request;
    return new Promise((answer) => waits.push({ timeoutMs, answer }));
  };
  api = await startApi({ node, bind: { host: "127.0.0.1", port: 0 }, log: quiet });
  client = new Client(api.address, credentials.createInsecure());
});

afterEach(async () => {
  client.close();
  await api.close({ graceMs: 0 });
});

function running(): NodeAnswer {
  const answer = doneTask(ID) as Extract<NodeAnswer, { type: "task" }>;
  const inner = answer.answer as Extract<typeof answer.answer, { type: "task" }>;
  return { ...answer, answer: { ...inner, status: { ...inner.status, state: "running" } } };
}

test.each(["call", "stream"])(
  "a wait by a %s is asked for a while at a time, and not again for nobody",
  async (way) => {
    const { path, requestSerialize } = serviceDefinition("taskring.v1.Tasks").Wait!;
    const pass = (bytes: Buffer): Buffer => bytes;
    let cancel: () => void;
    if (way === "call") {
      const request = { taskId: ID, timeoutMs: WAIT_MS };
      const call = client.makeUnaryRequest(path, requestSerialize, pass, request, new Metadata(), () => undefined);
      cancel = () => call.cancel();
    } else {
      const call = client.makeBidiStreamRequest(STREAM_PATH, pass, pass, new Metadata());
      call.on("error", () => undefined).on("data", () => undefined);
      call.write(encodeWaits([{ number: 1, taskId: ID, timeoutMs: WAIT_MS }]));
      cancel = () => call.cancel();
    }
    await until(() => waits.length === 1);
    expect(waits[0]!.timeoutMs).toBeLessThanOrEqual(15_000);
    waits[0]!.answer(running());
    await until(() => waits.length === 2);
    cancel();
    // The server has heard of it when it answers what was asked later.
    await new Promise((resolve) => setTimeout(resolve, 200));
    waits[1]!.answer(running());
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(waits.length).toBe(2);
  },
);

test("a wait goes on until the task has ended", async () => {
  const { path, requestSerialize, responseDeserialize } = serviceDefinition("taskring.v1.Tasks").Wait!;
  const ended = new Promise((resolve, reject) =>
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      { taskId: ID, timeoutMs: WAIT_MS },
      (error, task) => (error === null ? resolve(task) : reject(error)),
    ),
  );
  for (let at = 0; at < 3; at++) {
    await until(() => waits.length === at + 1);
    waits[at]!.answer(at < 2 ? running() : doneTask(ID));
  }
  expect(await ended).toMatchObject({ state: "DONE" });
});
