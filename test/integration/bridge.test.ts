/**
 * The BullMQ bridge on real processes: real producers and workers of BullMQ and Bull 4 on a real Redis, a real node, and
 * bridges that are killed.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import Bull from "bull";
import { Queue, Worker } from "bullmq";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Drain, type DrainOptions, drainQueue, taskIdOfJob } from "../../services/bridge/drain.ts";
import { openJobs } from "../../services/bridge/jobs.ts";
import type { QueueAddress } from "../../services/bridge/queue.ts";
import { connect, type RingClient } from "../../services/client/ring-client.ts";
import { builtFile, Lab, waitUntil } from "../../services/lab/lab.ts";
import { RedisServer } from "../../services/lab/redis.ts";
import type { Numbered } from "../chaos/bridge-apps.ts";
import type { BridgeSettings } from "../chaos/bridge-process.ts";
import { redisThere } from "../redis-there.ts";

const folder = mkdtempSync(join(tmpdir(), "taskring-bridge-"));
let redis: RedisServer | undefined;
let lab: Lab;
let client: RingClient;
let grpc: string;
let queues = 0;

beforeAll(async () => {
  if (!redisThere()) return;
  redis = await RedisServer.open();
  const out: QueueAddress = { type: "bullmq", queue: "out", connection: { port: redis.port } };
  lab = await Lab.open({
    apps: [builtFile("test/chaos/bridge-apps.ts")],
    ringSize: 8,
    flags: ["--log-level", "error"],
    env: { BRIDGE_DIR: folder, BRIDGE_QUEUE: JSON.stringify(out) },
  });
  ({ grpc } = await lab.start("n1"));
  client = connect({ addresses: [grpc] });
}, 60_000);

afterAll(async () => {
  client?.close();
  await lab?.[Symbol.asyncDispose]();
  await redis?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

describe.each(["bullmq", "bull"] as const)("a queue of %s", (type) => {
  test("is drained into tasks: each job runs once, in order per key, and is completed with its task's id", async (context) => {
    if (redis === undefined) return context.skip();
    await using queue = producer(type);
    await queue.add(...numbered(200, { keys: 8 }));
    await using drain = await drainFrom(queue.address, {});
    await waitUntil("all are completed", async () => (await queue.counts()).completed === 200, WAIT_MS);
    await waitUntil("all have run", () => executed(queue.first).length === 200, WAIT_MS);
    const runs = executed(queue.first);
    for (const key of new Set(runs.map((run) => run.key))) {
      const order = runs.filter((run) => run.key === key).map(({ n }) => n);
      expect(order).toEqual(order.toSorted((left, right) => left - right));
    }
    for (const { id, timestamp, data, returned } of await queue.completed()) {
      const taskId = taskIdOfJob(queue.address, { id, timestamp }, { app: "bridged", type: "job", key: data.key });
      expect(returned).toEqual({ taskId, duplicate: false });
      expect(runs.find(({ n }) => n === data.n)?.taskId).toBe(taskId);
    }
    expect(drain.counts).toMatchObject({ submitted: 200, duplicates: 0, refused: 0, errors: 0 });
  });

  test("keeps a job open until its task has ended, where that is asked for, and fails it with the task's error", async (context) => {
    if (redis === undefined) return context.skip();
    await using queue = producer(type);
    const [slow, dying] = numbered(2, { keys: 2 });
    await queue.add({ ...slow!, ms: 1_500 }, { ...dying!, dies: "no such mailbox" });
    await using _drain = await drainFrom(queue.address, { completeWhen: "executed" });
    await waitUntil("the task is durable", async () => (await running()) > 0, WAIT_MS);
    expect((await queue.counts()).completed).toBe(0);
    expect(executed(queue.first)).toEqual([]);
    await waitUntil("it is completed", async () => (await queue.counts()).completed === 1, WAIT_MS);
    expect(executed(queue.first)).toHaveLength(1);
    await waitUntil("the other has failed", async () => (await queue.counts()).failed === 1, WAIT_MS);
    expect((await queue.failures())[0]).toMatch(/is dead: .*no such mailbox/);
  });

  test("whose bridge is killed goes on with another one, and no job runs twice for it", async (context) => {
    if (redis === undefined) return context.skip();
    await using queue = producer(type);
    await queue.add(...numbered(40, { keys: 40 }).map((job) => ({ ...job, ms: 1_200 })));
    const settings = { from: queue.address, completeWhen: "executed", concurrency: 20, lockMs: 1_000 } as const;
    const first = await bridgeProcess({ addresses: [grpc], ...settings });
    await waitUntil("its jobs are in the ring", async () => (await running()) >= 20, WAIT_MS);
    first.kill("SIGKILL");
    await once(first, "exit");
    await using drain = await drainFrom(queue.address, settings);
    await waitUntil("all are completed", async () => (await queue.counts()).completed === 40, WAIT_MS);
    expect(executed(queue.first)).toHaveLength(40);
    expect(drain.counts.duplicates).toBeGreaterThanOrEqual(20);
    expect((await queue.counts()).failed).toBe(0);
  });

  test("loses no job while the ring is away: they are held, and none fails", async (context) => {
    if (redis === undefined) return context.skip();
    await using queue = producer(type);
    await using drain = await drainFrom(queue.address, {});
    await lab.kill("n1");
    await queue.add(...numbered(30, { keys: 30 }));
    await waitUntil("the ring is missed", () => drain.counts.errors > 0 || drain.counts.held === 30, WAIT_MS);
    await lab.start("n1", { extra: ["--grpc", grpc], seeds: [] });
    await waitUntil("all are completed", async () => (await queue.counts()).completed === 30, WAIT_MS);
    await waitUntil("all have run", () => executed(queue.first).length === 30, WAIT_MS);
    expect((await queue.counts()).failed).toBe(0);
  }, 90_000);

  test("fails the job that cannot be a task, for good, and goes on with the others", async (context) => {
    if (redis === undefined) return context.skip();
    await using queue = producer(type);
    const [keyless, fine] = numbered(2, { keys: 2 });
    await queue.add({ ...keyless!, key: "" }, fine!);
    await using drain = await drainFrom(queue.address, {});
    await waitUntil("both have an end", async () => (await queue.counts()).completed === 1, WAIT_MS);
    await waitUntil("one has failed", async () => (await queue.counts()).failed === 1, WAIT_MS);
    expect((await queue.failures())[0]).toMatch(/the task has no key/);
    expect(drain.counts.refused).toBe(1);
  });

  test("takes jobs that tasks and pipelines add, once each, for workers that have not moved", async (context) => {
    if (redis === undefined) return context.skip();
    await using queue = producer(type);
    await using jobs = openJobs(queue.address);
    const data = numbered(20, { keys: 20 });
    for (const job of data) {
      for (let attempt = 1; attempt <= 2; attempt++)
        await jobs.addFrom({ id: `0123456789abcdef-${job.n}` }, { name: "forwarded", data: job });
    }
    await jobs.sink<Numbered>((job) => ({ name: "sunk", data: job, id: `sunk-${job.n}` }))(data);
    expect(await queue.counts()).toMatchObject({ waiting: 40 });
    const seen: string[] = [];
    await using _worker = consumer(queue.address, (name, job) => void seen.push(`${name} ${job.n}`));
    await waitUntil("all are worked off", () => seen.length >= 40, WAIT_MS);
    expect(new Set(seen).size).toBe(40);
  });
});

test("a task that runs again adds its job once, and a pipeline's inputs are acknowledged when their jobs are in Redis", async (context) => {
  if (redis === undefined) return context.skip();
  const address: QueueAddress = { type: "bullmq", queue: "out", connection: { port: redis.port } };
  const data = numbered(10, { keys: 10 });
  for (const job of data) {
    const { taskId } = await client.submit({ app: "bridged", type: "forward", key: job.key, payload: job });
    expect(await client.wait(taskId)).toMatchObject({ state: "DONE", attempts: 2 });
  }
  const run = client.run("to-queue");
  for (const job of data) await run.send(job);
  run.end();
  expect(await run.report()).toMatchObject({ failed: 0 });
  const seen: string[] = [];
  await using _worker = consumer(address, (name, { n }) => void seen.push(`${name} ${n}`));
  await waitUntil("all are worked off", () => seen.length >= 20, WAIT_MS);
  expect(seen.toSorted()).toEqual(data.flatMap(({ n }) => [`forwarded ${n}`, `piped ${n}`]).toSorted());
});

test("the steps of examples/bullmq work as they are written", async (context) => {
  if (redis === undefined) return context.skip();
  await using children = new Children();
  const queue = new Queue("mail", { connection: { port: redis.port } });
  const worker = children.start([example("worker.mjs"), redis.url]);
  await queue.add("send", { to: "ann", subject: "before" });
  await waitUntil("the old worker sends", () => worker.said().includes("mail to ann: before"), WAIT_MS);
  await using shop = await Lab.open({ apps: [example("app.mjs")], ringSize: 8, env: { REDIS: redis.url } });
  const node = await shop.start("m1");
  const bridge = children.start([example("bridge.mjs"), node.grpc, redis.url]);
  await waitUntil("the bridge drains", () => bridge.said().includes("draining mail"), WAIT_MS);
  await worker.end("SIGTERM");
  for (const subject of ["one", "two", "three"]) await queue.add("send", { to: "ann", subject });
  await queue.add("send", { to: "", subject: "to nobody" });
  await waitUntil("three have moved", async () => (await queue.getCompletedCount()) === 4, WAIT_MS);
  expect((await queue.getFailed()).map(({ failedReason }) => failedReason)).toEqual([expect.stringMatching(/no key/)]);
  const audit = new Queue("audit", { connection: { port: redis.port } });
  await waitUntil("the queue that has not moved is told", async () => (await audit.getWaitingCount()) === 3, WAIT_MS);
  await audit.close();
  await queue.close();
  await bridge.end("SIGTERM");
  expect(JSON.parse(bridge.said().trim().split("\n").at(-1) ?? "")).toMatchObject({ submitted: 3, refused: 1 });
});

/** Programs of a test. */
class Children implements AsyncDisposable {
  readonly #children: ChildProcess[] = [];

  start(args: readonly string[]): { said(): string; end(signal: NodeJS.Signals): Promise<void> } {
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    this.#children.push(child);
    let said = "";
    child.stdout.on("data", (bytes: Buffer) => {
      said += bytes.toString();
    });
    return {
      said: () => said,
      end: async (signal) => {
        const gone = once(child, "exit");
        child.kill(signal);
        await gone;
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
    }
  }
}

/** A real producer's queue. Its jobs have numbers from `first` on. */
interface Producer extends AsyncDisposable {
  readonly address: QueueAddress;
  readonly first: number;
  add(...jobs: readonly Numbered[]): Promise<void>;
  counts(): Promise<{ readonly waiting: number; readonly completed: number; readonly failed: number }>;
  completed(): Promise<
    readonly { readonly id: string; readonly timestamp: number; readonly data: Numbered; readonly returned: unknown }[]
  >;
  failures(): Promise<readonly string[]>;
}

function producer(type: "bullmq" | "bull"): Producer {
  const name = `${type}-${++queues}`;
  const first = queues * 1_000;
  const { port } = redis!;
  if (type === "bullmq") {
    const queue = new Queue<Numbered>(name, { connection: { port } });
    return {
      address: { type, queue: name, connection: { port } },
      first,
      add: async (...jobs) =>
        void (await queue.addBulk(jobs.map((data) => ({ name: "send", data, opts: { attempts: 3 } })))),
      counts: async () => {
        const { waiting = 0, completed = 0, failed = 0 } = await queue.getJobCounts("waiting", "completed", "failed");
        return { waiting, completed, failed };
      },
      completed: async () =>
        (await queue.getCompleted()).map(({ id = "", timestamp, data, returnvalue }) => ({
          ...{ id, timestamp, data },
          returned: returnvalue as unknown,
        })),
      failures: async () => (await queue.getFailed()).map(({ failedReason = "" }) => failedReason),
      [Symbol.asyncDispose]: () => queue.close(),
    };
  }
  const queue = new Bull<Numbered>(name, { redis: { port } });
  return {
    address: { type, queue: name, redis: { port } },
    first,
    add: async (...jobs) =>
      void (await queue.addBulk(jobs.map((data) => ({ name: "send", data, opts: { attempts: 3 } })))),
    counts: async () => await queue.getJobCounts(),
    completed: async () =>
      (await queue.getCompleted()).map(({ id, timestamp, data, returnvalue }) => ({
        ...{ id: String(id), timestamp, data },
        returned: returnvalue as unknown,
      })),
    failures: async () => (await queue.getFailed()).map(({ failedReason = "" }) => failedReason),
    [Symbol.asyncDispose]: () => queue.close(),
  };
}

/** A real worker that knows nothing of rings. */
function consumer(address: QueueAddress, see: (name: string, job: Numbered) => void): AsyncDisposable {
  if (address.type === "bullmq") {
    const connection = { ...address.connection, maxRetriesPerRequest: null };
    const worker = new Worker<Numbered>(address.queue, async ({ name, data }) => see(name, data), { connection });
    return { [Symbol.asyncDispose]: () => worker.close() };
  }
  const queue = new Bull<Numbered>(address.queue, { redis: { port: redis!.port } });
  void queue.process("*", async ({ name, data }) => see(name, data));
  return { [Symbol.asyncDispose]: () => queue.close() };
}

function drainFrom(from: QueueAddress, options: Partial<DrainOptions<Numbered>>): Promise<Drain> {
  return drainQueue<Numbered>({
    client,
    from,
    task: ({ data }) => ({ app: "bridged", type: "job", key: data.key }),
    ...options,
  });
}

async function bridgeProcess(settings: BridgeSettings): Promise<ChildProcess> {
  const child = spawn(process.execPath, [builtFile("test/chaos/bridge-process.ts"), JSON.stringify(settings)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(child.stdout!, "data");
  return child;
}

/** Numbered from the start of the queue that was made last. */
function numbered(count: number, { keys }: { readonly keys: number }): readonly Numbered[] {
  return Array.from({ length: count }, (_, at) => ({ n: queues * 1_000 + at, key: `key-${queues}-${at % keys}` }));
}

/** What ran of a queue's thousand numbers, in order. */
function executed(first: number): readonly { readonly n: number; readonly key: string; readonly taskId: string }[] {
  return readdirSync(folder)
    .flatMap((name) => readFileSync(join(folder, name), "utf8").split("\n").slice(0, -1))
    .map((line) => line.split(" ") as [string, string, string])
    .map(([n, key, taskId]) => ({ n: Number(n), key, taskId }))
    .filter(({ n }) => n >= first && n < first + 1_000);
}

/** Attempts under way in the ring. */
async function running(): Promise<number> {
  const { nodes } = await client.cluster.status();
  return nodes.reduce((sum, node) => sum + node.running, 0);
}

function example(name: string): string {
  return fileURLToPath(new URL(`../../examples/bullmq/${name}`, import.meta.url));
}

const WAIT_MS = 20_000;
