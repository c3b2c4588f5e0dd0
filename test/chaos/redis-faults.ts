/**
 * What befalls a ring that shares a Redis: one fault a run, each kind in its turn, and each at a seeded moment.
 *
 * The nodes are on machines of their own, so nothing is adopted; n1 reaches Redis through a gate that can be cut. Of three
 * nodes it is n2 that dies or stands still, of two it is n1, their only voter.
 */

import { monotonicNow } from "../../services/history/line.ts";
import { Gate } from "../../services/lab/gate.ts";
import { RedisServer } from "../../services/lab/redis.ts";
import type { Fault, Scene } from "./faults.ts";
import { type RedisLog, readRedisLog } from "./redis-log.ts";

export interface RedisScene extends AsyncDisposable {
  readonly name: string;
  /** Of each node's start. */
  flagsOf(node: string): readonly string[];
  plan(scene: Scene): readonly Fault[];
  /** Once the nodes have ended: what the server wrote down of every write that it accepted. */
  judge(): RedisLog;
}

export async function openRedisScene(kind: number, nodes: number): Promise<RedisScene> {
  const fault = KINDS[kind % KINDS.length]!;
  // Never rewritten, so that its log holds every write.
  const redis = await RedisServer.open({ sync: fault.sync, settings: ["--auto-aof-rewrite-percentage", "0"] });
  const gate = await Gate.open({ host: "127.0.0.1", port: redis.port });
  return {
    name: fault.name,
    flagsOf: (node) => [
      "--machine",
      `machine-of-${node}`,
      "--store",
      node === "n1" ? `redis://127.0.0.1:${gate.port}` : redis.url,
    ],
    plan: (scene) => [
      {
        name: fault.name,
        atMs: scene.random.between(0.15, 0.4) * scene.spanMs,
        run: () => fault.run({ scene, redis, gate, owner: nodes === 2 ? "n1" : "n2" }),
      },
    ],
    judge: () => readRedisLog(redis.folder),
    async [Symbol.asyncDispose]() {
      await gate[Symbol.asyncDispose]();
      await redis[Symbol.asyncDispose]();
    },
  };
}

interface Stage {
  readonly scene: Scene;
  readonly redis: RedisServer;
  readonly gate: Gate;
  readonly owner: string;
}

interface Kind {
  readonly name: string;
  readonly sync: "always" | "everysec";
  readonly run: (stage: Stage) => Promise<void>;
}

const KINDS: readonly Kind[] = [
  {
    name: "an owner is killed",
    sync: "everysec",
    run: async ({ scene: { lab, history }, owner }) => {
      const { pid } = lab.node(owner);
      const dying = lab.kill(owner);
      history.killed(pid);
      await dying;
      await passed(10_000);
      await lab.start(owner, { autoJoin: false, deadlineMs: 60_000 });
    },
  },
  {
    name: "an owner stands still past its lease",
    sync: "everysec",
    run: async ({ scene: { lab, history }, owner }) => {
      const { pid } = lab.node(owner);
      const from = monotonicNow();
      lab.freeze(owner);
      await passed(9_000);
      lab.thaw(owner);
      history.paused(pid, from);
    },
  },
  {
    name: "Redis is killed, with appendfsync always",
    sync: "always",
    run: async ({ redis }) => {
      await redis.kill();
      await passed(2_000);
      await redis.start();
    },
  },
  {
    name: "Redis stands still for 10 s",
    sync: "everysec",
    run: async ({ redis }) => {
      redis.freeze();
      await passed(10_000);
      redis.thaw();
    },
  },
  {
    name: "n1 alone is cut off from Redis",
    sync: "everysec",
    run: async ({ gate }) => {
      gate.cut();
      await passed(15_000);
      gate.heal();
    },
  },
];

/** The fault's own length. */
function passed(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
