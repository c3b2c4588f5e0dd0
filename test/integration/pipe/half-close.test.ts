/** P6: a client of another make, which half-closes its stream where ours says that it has no more inputs. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { serviceDefinition } from "../../../proto/load.ts";
import { constant, defineApp, fitting, pipeline, startNode } from "../../../services/index.ts";

const INPUTS = 150;

interface Reply {
  readonly outputs?: { readonly values: readonly string[] };
  readonly report?: { readonly state: string; readonly errorCode: string };
}

test("every input that it sent is in a result that is complete", async () => {
  const data = await mkdtemp(join(tmpdir(), "taskring-half-"));
  const one = fitting<number, number>({
    name: "one",
    partition: constant(0),
    queueLimit: 2,
    process: async (n) => {
      await delay(20);
      return n;
    },
  });
  const slow = pipeline("slow", [one]);
  const free = "127.0.0.1:0";
  const apps = [defineApp("acme", { pipelines: [slow] })];
  const node = await startNode({ apps, name: "a", data, grpc: free, http: free, gossip: free, logLevel: "silent" });
  const client = new Client(node.grpc, credentials.createInsecure());
  try {
    await node.whenServing();
    const { path, requestSerialize, responseDeserialize } = serviceDefinition("taskring.v1.Pipes").Run!;
    const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize as never, new Metadata());
    call.write({ open: { pipeline: "slow" } } as never);
    for (let n = 0; n < INPUTS; n++) call.write({ inputs: { values: [`${n}`] } } as never);
    call.end();
    let outputs = 0;
    let report: Reply["report"];
    for await (const reply of call as AsyncIterable<Reply>) {
      outputs += reply.outputs?.values.length ?? 0;
      report ??= reply.report ?? undefined;
    }
    expect(report).toMatchObject({ errorCode: "" });
    expect(outputs).toBe(INPUTS);
  } finally {
    client.close();
    await node.stop();
    await rm(data, { recursive: true, force: true });
  }
}, 30_000);
