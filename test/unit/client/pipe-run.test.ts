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
