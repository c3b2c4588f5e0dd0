/** What the client says of a task that an earlier try may have brought to a disk, and what waiting tasks hold in memory. */

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, expect, test } from "vitest";
import type { RingError } from "../../../ring/errors.ts";
import type { NodeStream } from "../../../services/client/node-stream.ts";
import { TaskEncoder } from "../../../services/client/submit-task.ts";
import { Submitter } from "../../../services/client/submitter.ts";
import { until } from "../api/fake-node.ts";
import { client, closeAll, cluster } from "./scripted-cluster.ts";

afterEach(closeAll);

test("P1: a task that was on disk when its node died is not said to be refused for certain", async () => {
  const [first, second] = await cluster(["n1", "n2"]);
  const ring = client([first!], { addresses: [first!.api.address, second!.api.address] });
  await ring.ready();
  // n1 owns the key: it has the task, and dies before its outcome is told. n2, which takes over, has its own full queue.
  let key = "";
  for (let index = 0; key === ""; index++)
    if (new TaskEncoder().encode({ app: "acme", type: "t", key: `k${index}` }).hash >>> 26 === 0) key = `k${index}`;
  first!.node.holding = true;
  second!.node.known = new Map(); // embedded stores: each has its own
  second!.node.judge = () => ({ type: "refused", code: "QUEUE_FULL", detail: "acme has 10 tasks queued" });
  const submitted = ring.submit({ app: "acme", type: "t", key }).then(
    () => "accepted",
    (error: RingError) => error.code,
  );
  await until(() => first!.node.held === 1);
  await first!.api.close({ graceMs: 0 });
  first!.node.release(); // durable at n1: its outcome reaches nobody
  expect(first!.node.accepted).toHaveLength(1);
  // By `RingClient.submit`, these say that it is not known whether the task was accepted.
  expect(["NO_OWNER", "DEADLINE", "CANCELLED", "accepted"]).toContain(await submitted);
});

test("P5: tasks that wait for an owner hold their own bytes, not those of all that was sent meanwhile", async () => {
  let elsewhere: number | undefined;
  const settle: (() => void)[] = [];
  let frame = 0;
  const stream = {
    openFrame: 0,
    fits: () => false,
    add: (entry: never) => {
      settle.push(() => submitter.streamCallbacks().onOutcome(entry, undefined));
      return ++frame;
    },
  } as unknown as NodeStream;
  const submitter: Submitter = new Submitter({
    streamFor: (hash) => (hash === elsewhere ? undefined : stream),
    refresh: async () => undefined,
    tasksMost: 16_384,
    bytesMost: 32 * 1024 * 1024,
  });
  const stuck = { app: "acme", type: "t", key: "stuck" };
  elsewhere = new TaskEncoder().encode(stuck).hash;
  const at = { index: 0, deadline: performance.now() + 60_000 };
  const target = { settled: () => undefined };
  const payload = Buffer.alloc(16_000);
  collect();
  const before = process.memoryUsage().arrayBuffers;
  // 1,000 waiting tasks of about 60 bytes, while 16,000 others of 16 KB pass, each accepted at once.
  for (let round = 0; round < 1_000; round++) {
    submitter.push(stuck, target, at);
    for (let other = 0; other < 16; other++)
      submitter.push({ app: "acme", type: "t", key: `k${other}`, payload }, target, at);
    for (const accept of settle.splice(0)) accept();
  }
  expect(submitter.pending).toBe(1_000);
  let held = Number.POSITIVE_INFINITY;
  await until(() => {
    collect(); // some sweeps, and the collector frees buffers when it likes
    held = process.memoryUsage().arrayBuffers - before;
    return held < 32 * 1024 * 1024;
  }).catch(() => undefined);
  submitter.close();
  expect(held).toBeLessThan(32 * 1024 * 1024);
});

function collect(): void {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
}
