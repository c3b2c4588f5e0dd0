/** What one `Pipes.Run` stream may hold of its client's inputs, and when it gives its client up. */

import { EventEmitter } from "node:events";
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { PipeEngine } from "../../../pipe/io/engine.ts";
import { serviceDefinition } from "../../../proto/load.ts";
import { PipeSession } from "../../../services/api/pipe-session.ts";

const METHOD = serviceDefinition("taskring.v1.Pipes").Run!;
const HEARTBEAT_MS = 3_000;

class Call extends EventEmitter {
  paused = false;
  readonly cancelled = false;
  readonly errors: Error[] = [];

  constructor() {
    super();
    this.on("error", (error) => this.errors.push(error));
  }

  say(request: object): void {
    this.emit("data", METHOD.requestSerialize(request as never));
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  taken = true;

  write(): boolean {
    return this.taken;
  }

  end(): void {}
}

let call: Call;
/** Of the run: takes what waits for room. */
let takeAll: () => void;
let ended: boolean;

beforeEach(() => {
  vi.useFakeTimers();
  let waiting: (() => void)[] = [];
  let open = false;
  ended = false;
  takeAll = () => {
    open = true;
    for (const taken of waiting.splice(0)) taken();
  };
  waiting = [];
  const run = {
    id: "r1",
    cancel: () => undefined,
    end: () => {
      ended = true;
    },
    report: () => new Promise(() => undefined),
    sendMany: () => (open ? Promise.resolve() : new Promise<void>((resolve) => waiting.push(resolve))),
  };
  call = new Call();
  const stream = call as unknown as ServerDuplexStream<Buffer, Buffer>;
  new PipeSession(stream, { run: () => run } as unknown as PipeEngine);
});

afterEach(() => {
  vi.useRealTimers();
});

test("P5: inputs that wait for room are bounded by their bytes as well", async () => {
  call.say({ open: { pipeline: "p", drain: true } });
  const value = JSON.stringify("x".repeat(4_000_000));
  let taken = 0;
  while (!call.paused && taken < 20) {
    call.say({ inputs: { values: [value] } });
    taken += 1;
  }
  expect(taken).toBeLessThan(10);
  takeAll();
  await vi.advanceTimersByTimeAsync(0);
  expect(call.paused).toBe(false);
});

test("P5: a client that does not read what was accepted is not read either", async () => {
  takeAll();
  call.say({ open: { pipeline: "p", drain: true } });
  call.taken = false;
  call.say({ inputs: { values: ["1"] } });
  await vi.advanceTimersByTimeAsync(0);
  expect(call.paused).toBe(true);
  call.taken = true;
  call.emit("drain");
  expect(call.paused).toBe(false);
});

test("a client that is not read for want of room is not taken for one that has gone", async () => {
  call.say({ open: { pipeline: "p", drain: true, heartbeatMs: HEARTBEAT_MS } });
  const values = Array.from({ length: 9_000 }, () => "1");
  call.say({ inputs: { values } });
  expect(call.paused).toBe(true);
  await vi.advanceTimersByTimeAsync(10 * HEARTBEAT_MS);
  expect(call.errors).toEqual([]);
  takeAll();
  await vi.advanceTimersByTimeAsync(0);
  expect(call.paused).toBe(false);
  await vi.advanceTimersByTimeAsync(HEARTBEAT_MS);
  expect(call.errors).toMatchObject([{ details: expect.stringContaining("silent") }]);
});

test("P6: a client that half-closes has its run ended behind the inputs that still wait for room", async () => {
  call.say({ open: { pipeline: "p", drain: true } });
  for (let count = 0; count < 3; count++) call.say({ inputs: { values: ["1"] } });
  call.emit("end");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ended).toBe(false);
  takeAll();
  await vi.advanceTimersByTimeAsync(0);
  expect(ended).toBe(true);
});

test("a stream that ends before a run is open is ended, too", async () => {
  call.emit("end");
  await vi.advanceTimersByTimeAsync(2_000);
  expect(call.errors).toMatchObject([{ details: expect.stringContaining("INVALID_ARGUMENT") }]);
});

test("P6: a client that says it will be silent for weeks is waited for", async () => {
  call.say({ open: { pipeline: "p", drain: true, heartbeatMs: 4_000_000_000 } });
  await vi.advanceTimersByTimeAsync(86_400_000);
  expect(call.errors).toEqual([]);
});

test("P6: inputs behind the end end the stream with an error: the run would be called done without them", async () => {
  takeAll();
  call.say({ open: { pipeline: "p", drain: true } });
  call.say({ inputs: { values: ["1"] } });
  call.say({ end: {} });
  await vi.advanceTimersByTimeAsync(0);
  expect(call.errors).toEqual([]);
  call.say({ inputs: { values: ["2"] } });
  await vi.advanceTimersByTimeAsync(0);
  expect(call.errors).toMatchObject([{ details: expect.stringContaining("INVALID_ARGUMENT") }]);
});
