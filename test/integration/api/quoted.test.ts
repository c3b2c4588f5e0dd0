/** Refusals that quote what a client sent, or come before a stream is open: the call gets its typed error and the node goes on. */

import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { PipeEngine } from "../../../pipe/io/engine.ts";
import { DETAILS_KEY, parseErrorDetails } from "../../../proto/error-details.ts";
import { serviceDefinition } from "../../../proto/load.ts";
import { type Api, startApi } from "../../../services/api/server.ts";
import { FakeNode, quiet } from "./fake-node.ts";

let api: Api;
let client: Client;
const strays: unknown[] = [];
const stray = (error: unknown): void => void strays.push(error);

beforeEach(async () => {
  const pipes = {
    cancel: () => false,
    run: () => ({
      id: "r1",
      cancel: () => undefined,
      end: () => undefined,
      batches: (async function* () {})(),
      report: () => new Promise(() => undefined),
      sendMany: async () => undefined,
    }),
  } as unknown as PipeEngine;
  strays.length = 0;
  process.on("uncaughtException", stray);
  process.on("unhandledRejection", stray);
  api = await startApi({ node: new FakeNode(), bind: { host: "127.0.0.1", port: 0 }, log: quiet, pipes });
  client = new Client(api.address, credentials.createInsecure());
});

afterEach(async () => {
  process.off("uncaughtException", stray);
  process.off("unhandledRejection", stray);
  client.close();
  await api.close({ graceMs: 0 });
});

const SPLIT = `${"x".repeat(79)}😀`;

function reasonOf(error: ServiceError | null): string | undefined {
  const [details] = error?.metadata?.get(DETAILS_KEY) ?? [];
  return details instanceof Uint8Array ? parseErrorDetails(details).reason : error?.details;
}

test("a run id that is cut in the middle of a character", async () => {
  const { path, requestSerialize } = serviceDefinition("taskring.v1.Pipes").Cancel!;
  const reason = await new Promise((resolve) =>
    client.makeUnaryRequest(
      path,
      requestSerialize,
      (b: Buffer) => b,
      { run: SPLIT },
      new Metadata(),
      { deadline: Date.now() + 2_000 },
      (error) => resolve(reasonOf(error)),
    ),
  );
  expect(strays).toEqual([]);
  expect(reason).toBe("NOT_FOUND");
});

test("an input that is cut in the middle of a character", async () => {
  const reason = await run([{ open: { pipeline: "p" } }, { inputs: { values: [SPLIT] } }]);
  expect(strays).toEqual([]);
  expect(reason).toBe("INVALID_ARGUMENT");
});

test("a run that is opened while the node drains is told so", async () => {
  api.drain();
  expect(await run([{ open: { pipeline: "p" } }])).toBe("DRAINING");
});

function run(requests: readonly object[]): Promise<string | undefined> {
  const { path, requestSerialize } = serviceDefinition("taskring.v1.Pipes").Run!;
  return new Promise((resolve) => {
    const call = client.makeBidiStreamRequest(path, requestSerialize, (b: Buffer) => b, new Metadata(), {
      deadline: Date.now() + 2_000,
    });
    call.on("data", () => undefined);
    call.on("error", (error: ServiceError) => resolve(reasonOf(error)));
    for (const request of requests) call.write(request);
  });
}
