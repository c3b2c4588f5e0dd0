/** P5: what a unary Submit leaves behind in a node, for ever. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Client, credentials } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { serviceDefinition } from "../../../proto/load.ts";
import { encodeRecord } from "../../../ring/tasks/record-encode.ts";
import { mintId } from "../../../ring/tasks/task-id.ts";
import { startApi } from "../../../services/api/server.ts";
import { connect } from "../../../services/client/index.ts";
import { defineApp, startNode, task } from "../../../services/index.ts";
import { FakeNode, quiet } from "./fake-node.ts";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

function record(payload: Uint8Array): Uint8Array {
  const key = "k";
  return encodeRecord({
    app: "shop",
    type: "nothing",
    key,
    payload,
    id: mintId({ wallMs: Date.now(), random: Math.random, app: "shop", key }),
  });
}

function submit(client: Client, bytes: Uint8Array): Promise<unknown> {
  const { path } = serviceDefinition("taskring.v1.Tasks").Submit!;
  return new Promise((resolve, reject) =>
    client.makeUnaryRequest(
      path,
      (b: Buffer) => b,
      (b: Buffer) => b,
      Buffer.from(bytes),
      (error, reply) => (error === null ? resolve(reply) : reject(error)),
    ),
  );
}

test("P5: a unary Submit that was answered is forgotten by the node", async () => {
  const node = new FakeNode();
  const api = await startApi({ node, bind: { host: "127.0.0.1", port: 0 }, log: quiet });
  const client = new Client(api.address, credentials.createInsecure());
  for (let count = 0; count < 5; count++) await submit(client, record(new Uint8Array(10)));
  client.close();
  await api.close({ graceMs: 100 });
  expect(node.accepted.length).toBe(5);
  expect(node.forgotten.length).toBe(5);
});

test("P5: memory of a whole node after unary submits of tasks that are done", async () => {
  const folder = mkdtempSync(join(tmpdir(), "leak-"));
  const apps = [defineApp("shop", { tasks: { nothing: task(() => undefined) } })];
  const node = await startNode({
    apps,
    name: "a1",
    data: join(folder, "a1"),
    grpc: "127.0.0.1:0",
    http: "127.0.0.1:0",
    gossip: "127.0.0.1:0",
    logLevel: "silent",
  });
  try {
    await node.whenServing();
    const ring = connect({ addresses: [node.grpc] });
    const client = new Client(node.grpc, credentials.createInsecure());
    const held = async (): Promise<number> => {
      for (let turn = 0; turn < 5; turn++) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        gc();
      }
      return process.memoryUsage().arrayBuffers / 2 ** 20;
    };
    const payload = new Uint8Array(500_000);
    const byStream = async (): Promise<void> => {
      for (let count = 0; count < 100; count++) {
        const { taskId } = await ring.submit({ app: "shop", type: "nothing", key: "k", payload });
        if (count % 20 === 19) await ring.wait(taskId);
      }
    };
    await byStream(); // warm: journal, slabs
    const before = await held();
    await byStream();
    const afterStream = await held();
    for (let count = 0; count < 100; count++) await submit(client, record(payload));
    await ring.wait((await ring.submit({ app: "shop", type: "nothing", key: "k" })).taskId);
    const afterUnary = await held();
    client.close();
    ring.close();
    expect(afterStream - before).toBeLessThan(15);
    expect(afterUnary - afterStream).toBeLessThan(15); // 100 tasks of 0.5 MB, all done
  } finally {
    await node.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}, 60_000);
