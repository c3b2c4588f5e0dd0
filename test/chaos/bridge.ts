/**
 * The bridge under kills: `npm run chaos:bridge -- [--jobs 100000] [--keys 1000] [--type bullmq|bull] [--complete
 * durable|executed] [--seed S] [--kill bridge,node,redis]`. A real producer fills a queue, two bridge processes drain it into a ring of three
 * nodes, and bridges and nodes (and Redis, where asked for, which then syncs always) are killed at random and started again.
 *
 * Judged at the end, from the files that handlers wrote and from the queue: every job was executed at least once, none was
 * completed without its task, none failed. While it runs, jobs that are completed are drawn at random and their tasks
 * asked for: a task that the ring does not know would have been completed before it was durable.
 * Seen to fail with a bridge that completes jobs before their submit has an outcome. Exit 1 if a promise was broken.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import Bull from "bull";
import { Queue } from "bullmq";
import { RingError } from "../../ring/errors.ts";
import { taskIdOfJob } from "../../services/bridge/drain.ts";
import { openJobs } from "../../services/bridge/jobs.ts";
import type { QueueAddress } from "../../services/bridge/queue.ts";
import { connect, type RingClient } from "../../services/client/ring-client.ts";
import { builtFile, Lab, waitUntil } from "../../services/lab/lab.ts";
import { RedisServer } from "../../services/lab/redis.ts";
import { seededRandom } from "../../services/testing/random.ts";
import type { Numbered } from "./bridge-apps.ts";
import type { BridgeSettings } from "./bridge-process.ts";

type Killed = "bridge" | "node" | "redis";

interface Options {
  readonly jobs: number;
  readonly keys: number;
  readonly type: "bullmq" | "bull";
  readonly completeWhen: "durable" | "executed";
  readonly seed: number;
  readonly kill: readonly Killed[];
}

/** The queue as its producer sees it. */
interface Producer {
  readonly address: QueueAddress;
  add(jobs: readonly Numbered[]): Promise<void>;
  left(): Promise<{ readonly open: number; readonly completed: number; readonly failed: number }>;
  completed(from: number, to: number): Promise<readonly { id: string; timestamp: number; data: Numbered }[]>;
  failures(): Promise<readonly string[]>;
  close(): Promise<void>;
}

async function run(options: Options): Promise<readonly string[]> {
  const began = performance.now();
  const say = (text: string): void => console.log(`${((performance.now() - began) / 1_000).toFixed(1)} s  ${text}`);
  await using redis = await RedisServer.open({ sync: options.kill.includes("redis") ? "always" : "everysec" });
  const executedIn = join(redis.folder, "executed");
  await mkdir(executedIn);
  await using lab = await Lab.open({
    apps: [builtFile("test/chaos/bridge-apps.ts")],
    flags: ["--log-level", "error"],
    env: { BRIDGE_DIR: executedIn },
  });
  for (const name of NODES) await lab.start(name);
  const grpcs = new Map(NODES.map((name) => [name, lab.node(name).grpc]));
  const client = connect({ addresses: [...grpcs.values()] });
  const producer = producerOf(options.type, redis.port);
  const { completeWhen } = options;
  const settings = { from: producer.address, completeWhen, concurrency: 1_000, lockMs: LOCK_MS };
  const bridges = [0, 1].map(() => new Bridge({ addresses: [...grpcs.values()], ...settings }));
  const random = seededRandom(options.seed);
  const kills: Record<string, number> = { bridge: 0, node: 0, redis: 0 };
  let over = false;
  const again = async (kind: Killed, act: () => Promise<unknown>): Promise<void> => {
    for (;;) {
      await delay(random.between(1_000, 6_000) * (kind === "redis" ? 3 : 1));
      if (over) return;
      kills[kind] = (kills[kind] ?? 0) + 1;
      await act();
    }
  };
  const acts = {
    bridge: () => random.pick(bridges).again(random.between(0, 1_000)),
    node: async () => {
      const name = random.pick(NODES);
      await lab.kill(name);
      await delay(random.between(0, 2_000));
      await lab.start(name, { autoJoin: false, deadlineMs: 60_000, extra: ["--grpc", grpcs.get(name)!] });
    },
    redis: async () => {
      await redis.kill();
      await delay(random.between(0, 1_000));
      await redis.start();
    },
  };
  const killing = options.kill.map((kind) => again(kind, acts[kind]));
  const unknown: string[] = [];
  let asked = 0;
  const asking = (async () => {
    for (; !over; await delay(100)) {
      // Of the newest: what ended is forgotten in time, but for its id.
      const at = random.below(NEWEST);
      for (const job of await producer.completed(at, at + 4).catch(() => [])) {
        const taskId = taskIdOfJob(producer.address, job, { app: "bridged", type: "job", key: job.data.key });
        asked++;
        if ((await isKnown(client, taskId)) || (await executions(executedIn)).has(job.data.n)) continue;
        unknown.push(`job ${job.id} is completed, and its task ${taskId} has neither run nor is it known`);
      }
    }
  })();
  for (let first = 0; first < options.jobs; first += BULK) {
    const count = Math.min(BULK, options.jobs - first);
    const jobs = Array.from({ length: count }, (_, at) => ({
      n: first + at,
      key: `key-${(first + at) % options.keys}`,
    }));
    await insist(() => producer.add(jobs));
  }
  say(`${options.jobs} jobs are added`);
  const broken: string[] = [];
  try {
    await untilDone(producer, options.jobs, say);
  } catch (error) {
    broken.push(String(error));
  }
  over = true;
  await Promise.all([...killing, asking]);
  await waitUntil("all have run", async () => (await executions(executedIn)).size >= options.jobs, REST_MS).catch(
    () => undefined,
  );
  const runs = await executions(executedIn);
  const { completed, failed } = await producer.left();
  const reruns = [...runs.values()].reduce((sum, count) => sum + count - 1, 0);
  say(
    `killed: ${Object.entries(kills)
      .map(([kind, count]) => `${kind} ${count}`)
      .join(", ")}`,
  );
  say(
    `completed ${completed}, failed ${failed}, executed ${runs.size} of ${options.jobs}, ${reruns} of them again; ${asked} tasks of completed jobs asked for`,
  );
  const crashes = bridges.reduce((sum, bridge) => sum + bridge.crashes, 0);
  if (crashes > 0) broken.push(`bridges ended by themselves ${crashes} times`);
  if (runs.size < options.jobs) broken.push(`${options.jobs - runs.size} jobs were never executed`);
  if (failed > 0) broken.push(`${failed} jobs failed: ${(await producer.failures()).slice(0, 3).join("; ")}`);
  broken.push(...unknown.slice(0, 10));
  await Promise.all(bridges.map((bridge) => bridge.end()));
  await producer.close();
  client.close();
  return broken;
}

/** A bridge process that is started again when it was killed. */
class Bridge {
  readonly #settings: BridgeSettings;
  #child: ChildProcess;
  /** Ends that nobody asked for. */
  crashes = 0;

  constructor(settings: BridgeSettings) {
    this.#settings = settings;
    this.#child = this.#start();
  }

  async again(afterMs: number): Promise<void> {
    const gone = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await gone;
    await delay(afterMs);
    this.#child = this.#start();
  }

  async end(): Promise<void> {
    const gone = once(this.#child, "exit");
    this.#child.stdin?.end();
    await gone;
  }

  #start(): ChildProcess {
    const args = [builtFile("test/chaos/bridge-process.ts"), JSON.stringify(this.#settings)];
    const child = spawn(process.execPath, args, { stdio: ["pipe", "ignore", "inherit"] });
    child.once("exit", (code) => {
      if (code === 0 || code === null) return;
      this.crashes++;
      this.#child = this.#start();
    });
    return child;
  }
}

/** As long as something moves. */
async function untilDone(producer: Producer, jobs: number, say: (text: string) => void): Promise<void> {
  let best = -1;
  let movedAt = performance.now();
  let saidAt = 0;
  for (;;) {
    const { open, completed, failed } = await insist(() => producer.left());
    if (completed + failed > best) {
      best = completed + failed;
      movedAt = performance.now();
    }
    if (performance.now() - saidAt > SAY_MS) {
      saidAt = performance.now();
      say(`completed ${completed}, failed ${failed}, open ${open}`);
    }
    if (completed + failed >= jobs && open === 0) return;
    if (performance.now() - movedAt > STUCK_MS)
      throw new Error(`stuck: ${open} jobs are open, ${completed} completed, nothing moved for ${STUCK_MS / 1_000} s`);
    await delay(250);
  }
}

function producerOf(type: Options["type"], port: number): Producer {
  if (type === "bullmq") {
    const queue = new Queue<Numbered>("bridged", { connection: { port } });
    queue.on("error", () => {});
    return {
      address: { type, queue: "bridged", connection: { port } },
      add: async (jobs) =>
        void (await queue.addBulk(jobs.map((data) => ({ name: "send", data, opts: { jobId: `job-${data.n}` } })))),
      left: async () => {
        const {
          completed = 0,
          failed = 0,
          ...rest
        } = await queue.getJobCounts("waiting", "active", "delayed", "completed", "failed");
        return { open: Object.values(rest).reduce((sum, count) => sum + count, 0), completed, failed };
      },
      completed: async (from, to) =>
        (await queue.getCompleted(from, to)).flatMap((job) =>
          job === undefined ? [] : [{ id: job.id ?? "", timestamp: job.timestamp, data: job.data }],
        ),
      failures: async () => (await queue.getFailed(0, 9)).map(({ failedReason = "" }) => failedReason),
      close: () => queue.close(),
    };
  }
  const queue = new Bull<Numbered>("bridged", { redis: { port } });
  queue.on("error", () => {});
  const target = openJobs({ type, queue: "bridged", redis: { port } });
  return {
    address: { type, queue: "bridged", redis: { port } },
    // Bull itself says nothing of jobs that Redis did not take.
    add: (jobs) => target.add(...jobs.map((data) => ({ name: "send", data, id: `job-${data.n}` }))),
    left: async () => {
      const { waiting, active, delayed, completed, failed } = await queue.getJobCounts();
      return { open: waiting + active + delayed, completed, failed };
    },
    completed: async (from, to) =>
      (await queue.getCompleted(from, to)).map(({ id, timestamp, data }) => ({ id: String(id), timestamp, data })),
    failures: async () => (await queue.getFailed(0, 9)).map(({ failedReason = "" }) => failedReason),
    close: async () => {
      await target.close();
      await queue.close();
    },
  };
}

/** False only if the ring says so, not if it cannot be reached. */
async function isKnown(client: RingClient, taskId: string): Promise<boolean> {
  try {
    await client.get(taskId, { deadlineMs: 5_000 });
    return true;
  } catch (error) {
    return !(error instanceof RingError && error.code === "TASK_NOT_FOUND");
  }
}

/** How often each number ran. */
async function executions(folder: string): Promise<ReadonlyMap<number, number>> {
  const counts = new Map<number, number>();
  for (const name of await readdir(folder)) {
    for (const line of (await readFile(join(folder, name), "utf8")).split("\n").slice(0, -1)) {
      const n = Number(line.slice(0, line.indexOf(" ")));
      counts.set(n, (counts.get(n) ?? 0) + 1);
    }
  }
  return counts;
}

/** Redis may be down for a moment. */
async function insist<T>(act: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await act();
    } catch (error) {
      if (tries > 300) throw error;
      await delay(200);
    }
  }
}

const KILLED = ["bridge", "node", "redis"] as const;
const NODES = ["n1", "n2", "n3"] as const;
const BULK = 1_000;
/** Bounds what a bridge holds as well. */
const LOCK_MS = 6_000;
const NEWEST = 1_000;
const STUCK_MS = 60_000;
const REST_MS = 60_000;
const SAY_MS = 5_000;

const { values } = parseArgs({
  options: {
    jobs: { type: "string", default: "100000" },
    keys: { type: "string", default: "1000" },
    type: { type: "string", default: "bullmq" },
    complete: { type: "string", default: "durable" },
    seed: { type: "string", default: String(Date.now() % 100_000) },
    kill: { type: "string", default: "bridge,node" },
  },
});
const options: Options = {
  jobs: Number(values.jobs),
  keys: Number(values.keys),
  type: values.type === "bull" ? "bull" : "bullmq",
  completeWhen: values.complete === "executed" ? "executed" : "durable",
  seed: Number(values.seed),
  kill: KILLED.filter((kind) => values.kill.split(",").includes(kind)),
};
console.log(`bridge, ${JSON.stringify(options)}`);
const broken = await run(options);
for (const line of broken) console.log(`BROKEN: ${line}`);
console.log(broken.length === 0 ? "every promise held" : "a promise was broken");
process.exitCode = broken.length === 0 ? 0 : 1;
