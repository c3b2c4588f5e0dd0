/** What a client's run makes of its own sink, over a stream that a test writes. */

import { EventEmitter } from "node:events";
import type { Client, Metadata } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { openRemoteRun, type RemoteRunOptions } from "../../../services/client/pipe-run.ts";

class Stream extends EventEmitter {
  readonly written: object[] = [];
  cancelled = 0;

  write(message: object): boolean {
    this.written.push(message);
    return true;
  }

  cancel(): void {
    this.cancelled += 1;
  }

  pause(): void {}
  resume(): void {}
  end(): void {}
}

async function opened(options: RemoteRunOptions): Promise<{
  readonly run: ReturnType<typeof openRemoteRun>;
  readonly stream: Stream;
}> {
  const stream = new Stream();
  const client = { makeBidiStreamRequest: () => stream } as unknown as Client;
  const reached = Promise.resolve(client);
  const run = openRemoteRun(reached, {} as Metadata, "line", options);
  await reached;
  return { run, stream };
}

test("P6: what a client's sink throws, whatever it is, is what its run has failed with", async () => {
  for (const [thrown, text] of [
    [new Error("full"), "the sink: Error: full"],
    [Object.create(null), "the sink: something that has no text form"],
  ] as const) {
    const { run, stream } = await opened({
      sink: () => {
        throw thrown;
      },
    });
    stream.emit("data", { opened: { run: "one" } });
    stream.emit("data", { outputs: { values: ["1", "2"] } });
    await expect(run.report()).rejects.toMatchObject({ code: "RUN_FAILED", message: expect.stringContaining(text) });
    expect(stream.cancelled).toBe(1);
  }
});

test("P5: inputs that the run has not taken are bounded by their bytes as well", async () => {
  const { run, stream } = await opened({ sink: "drain" });
  const inputs = Array.from({ length: 40 }, () => "x".repeat(1_000_000));
  const sending = run.sendMany(inputs);
  const sent = (): number => stream.written.filter((message) => "inputs" in message).length;
  const settled = async (): Promise<number> => {
    for (let before = -1; before < sent(); ) {
      before = sent();
      await new Promise((resolve) => setImmediate(resolve));
    }
    return sent();
  };
  const first = await settled();
  expect(first).toBeLessThan(20);
  stream.emit("data", { accepted: { inputs: 5 } });
  expect(await settled()).toBe(first + 5);
  for (let taken = first + 5; taken < inputs.length; taken = await settled())
    stream.emit("data", { accepted: { inputs: taken } });
  await sending;
  expect(sent()).toBe(inputs.length);
  run.cancel();
});

const DONE = { run: "one", pipeline: "line", state: "done", errorCode: "", errorDetail: "" };

test("P6: a run is done when its client's sink has taken all outputs, and not when they have left the node", async () => {
  let take: () => void = () => undefined;
  const taken: unknown[] = [];
  const { run, stream } = await opened({
    sink: async (outputs) => {
      await new Promise<void>((resolve) => {
        take = resolve;
      });
      taken.push(...outputs);
    },
  });
  let isDone = false;
  const report = run.report().then(({ state }) => {
    isDone = true;
    return state;
  });
  stream.emit("data", { outputs: { values: ["1"] } });
  stream.emit("data", { outputs: { values: ["2"] } });
  stream.emit("data", { report: DONE });
  stream.emit("end");
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  await turn();
  expect(isDone).toBe(false);
  take();
  await turn();
  expect(isDone).toBe(false);
  take();
  expect(await report).toBe("done");
  expect(taken).toEqual([1, 2]);
});

test("P6: what a client's sink throws behind the node's report is what its run has failed with", async () => {
  const { run, stream } = await opened({ sink: () => Promise.reject(new Error("full")) });
  stream.emit("data", { outputs: { values: ["1"] } });
  stream.emit("data", { report: DONE });
  stream.emit("end");
  await expect(run.report()).rejects.toMatchObject({ code: "RUN_FAILED" });
});

test("a run that is cancelled while its sink takes what the node has sent is cancelled", async () => {
  const given = new AbortController();
  const { run, stream } = await opened({ sink: () => new Promise<void>(() => undefined), signal: given.signal });
  stream.emit("data", { outputs: { values: ["1"] } });
  stream.emit("data", { report: DONE });
  given.abort();
  await expect(run.report()).rejects.toMatchObject({ code: "CANCELLED" });
});

test("P6: the end that a client gives while it still sends comes behind all of it", async () => {
  const { run, stream } = await opened({ sink: "drain" });
  const sending = run.sendMany(Array.from({ length: 1_000 }, (_, at) => at));
  run.end();
  await sending;
  const inputs = stream.written.flatMap((message) => ("inputs" in message ? [message.inputs] : []));
  expect((inputs as { readonly values: readonly string[] }[]).flatMap(({ values }) => values)).toHaveLength(1_000);
  expect(stream.written.at(-1)).toEqual({ end: {} });
  expect(stream.written.filter((message) => "end" in message)).toHaveLength(1);
  run.cancel();
});

test("P6: what a client sends behind the end is refused, and not lost without a word", async () => {
  const { run } = await opened({ sink: "drain" });
  await run.send(1);
  run.end();
  await expect(run.send(2)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  run.cancel();
});
