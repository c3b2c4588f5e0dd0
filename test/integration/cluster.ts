/** A ring of real processes for one test, with its history and the checker's verdict on it. */

import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { connect, type RingClient } from "../../services/client/ring-client.ts";
import type { Verdict } from "../../services/history/check.ts";
import { monotonicNow } from "../../services/history/line.ts";
import { HistoryWriter } from "../../services/history/writer.ts";
import { builtFile, Lab, type LabNode, waitUntil } from "../../services/lab/lab.ts";
import { unrestOf, untilAtRest, wrongCounters } from "../chaos/rest.ts";

export interface ClusterOptions {
  readonly nodes: readonly string[];
  /** Each node says that it is on a machine of its own, so nobody adopts. */
  readonly apart?: boolean;
  /** Until all are at rest. Default 60,000. */
  readonly withinMs?: number;
  readonly flags?: readonly string[];
  /** By name; the others have none. */
  readonly zones?: Readonly<Record<string, string>>;
  /** Default 16. */
  readonly ringSize?: number;
  readonly flagsOf?: (name: string) => readonly string[];
}

/** What was submitted, by its id. */
export interface Sent {
  readonly id: string;
  readonly key: string;
}

export interface Load {
  stop(): Promise<{ readonly accepted: number; readonly refused: readonly string[] }>;
}

export class Cluster implements AsyncDisposable {
  readonly lab: Lab;
  readonly client: RingClient;
  readonly history: HistoryWriter;
  readonly #nextSeq = new Map<string, number>();

  /** Nodes that are members, serve, and have nothing to do. */
  static async open(options: ClusterOptions): Promise<Cluster> {
    const folder = await mkdtemp(join(tmpdir(), "taskring-cluster-"));
    const lab = await Lab.open({
      apps: [builtFile("test/chaos/apps.ts")],
      folder,
      env: { TASKRING_HISTORY_DIR: join(folder, "history") },
      ringSize: options.ringSize ?? 16,
      ...(options.flags === undefined ? {} : { flags: options.flags }),
    });
    try {
      for (const name of options.nodes) {
        const zone = options.zones?.[name];
        await lab.start(name, {
          flags: [
            ...(options.apart === true ? ["--machine", `machine-of-${name}`] : []),
            ...(zone === undefined ? [] : ["--zone", zone]),
            ...(options.flagsOf?.(name) ?? []),
          ],
        });
      }
      const cluster = new Cluster(lab);
      await waitUntil(
        "all are members at rest",
        async () =>
          (await cluster.client.cluster.members()).members.length === options.nodes.length &&
          (await unrestOf(cluster.client)) === undefined,
        options.withinMs ?? START_MS,
      );
      return cluster;
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  constructor(lab: Lab) {
    this.lab = lab;
    this.client = connect({ addresses: lab.addresses });
    this.history = new HistoryWriter({ directory: this.historyDirectory, role: "test" });
  }

  get historyDirectory(): string {
    return join(this.lab.folder, "history");
  }

  /** Numbers the task in its key, and notes the acknowledgement. Throws the refusal. */
  async submit(
    type: "work" | "hold",
    key: string,
    ms: number,
    options: { readonly children?: number; readonly fails?: boolean } = {},
  ): Promise<Sent> {
    const app = type === "work" ? "chaos" : "slow";
    const seq = this.#nextSeq.get(key) ?? 0;
    this.#nextSeq.set(key, seq + 1);
    const submitted = monotonicNow();
    const { taskId: id } = await this.client.submit(
      { app, type, key, payload: { seq, ms, children: options.children ?? 0, fails: options.fails ?? false } },
      { deadlineMs: SUBMIT_MS },
    );
    this.history.accepted({ id, app, key, submitted, seq });
    return { id, key };
  }

  /** How many partitions each node has; of one that has none, nothing. */
  async owned(): Promise<Record<string, number>> {
    const { owners, nodes } = await this.client.cluster.ring();
    const counts: Record<string, number> = {};
    for (const owner of owners) {
      const name = nodes[owner]?.name;
      if (name !== undefined) counts[name] = (counts[name] ?? 0) + 1;
    }
    return counts;
  }

  /** A load of `work` at a steady rate, until it is stopped; then how many were acknowledged. */
  load(options: { readonly keys: number; readonly perSecond: number }): Load {
    let over = false;
    let accepted = 0;
    const refused: string[] = [];
    const under: Promise<void>[] = [];
    const run = async (): Promise<void> => {
      const began = performance.now();
      for (let count = 0; !over; count++) {
        const due = began + (count * 1_000) / options.perSecond;
        while (performance.now() < due && !over)
          await new Promise((resolve) => setTimeout(resolve, Math.max(1, due - performance.now())));
        under.push(
          this.submit("work", `key-${count % options.keys}`, count % 5, { children: count % 20 === 0 ? 1 : 0 }).then(
            () => {
              accepted += 1;
            },
            (error: unknown) => {
              refused.push(String(error));
            },
          ),
        );
      }
    };
    const running = run();
    return {
      stop: async () => {
        over = true;
        await running;
        await Promise.all(under);
        return { accepted, refused };
      },
    };
  }

  /** SIGKILL, noted in the history. */
  async kill(name: string): Promise<void> {
    const { pid } = this.lab.node(name);
    const dying = this.lab.kill(name);
    this.history.killed(pid);
    await dying;
  }

  /** SIGSTOP; the answer is SIGCONT, which notes the pause in the history. */
  freeze(name: string): () => void {
    const { pid } = this.lab.node(name);
    const from = monotonicNow();
    this.lab.freeze(name);
    return () => {
      this.lab.thaw(name);
      this.history.paused(pid, from);
    };
  }

  /** Starts a node again, at the address that it had. */
  restart(was: LabNode): Promise<LabNode> {
    return this.lab.start(was.name, { deadlineMs: 60_000, autoJoin: false, extra: ["--grpc", was.grpc] });
  }

  /** Tasks of the app that ended. */
  async ended(app: string, names: readonly string[] = this.lab.names()): Promise<number> {
    let count = 0;
    for (const { http } of names.map((name) => this.lab.node(name))) {
      const text = await (await fetch(`http://${http}/metrics`)).text();
      for (const [, value] of text.matchAll(
        new RegExp(`^taskring_tasks_completed_total\\{[^}]*app="${app}"[^}]*\\} (\\d+)`, "gm"),
      ))
        count += Number(value);
    }
    return count;
  }

  /** Keys of which that node is the owner. */
  async keysOf(name: string, count: number, app = "slow"): Promise<readonly string[]> {
    const keys: string[] = [];
    for (let index = 0; keys.length < count && index < KEYS_TRIED; index++) {
      const key = `k${index}`;
      if ((await this.client.cluster.locate({ app, key })).owner === name) keys.push(key);
    }
    expect(keys).toHaveLength(count);
    return keys;
  }

  /** Members that are `without` may be away. */
  atRest(options: { readonly without?: readonly string[] } = {}): Promise<void> {
    return untilAtRest(this.client, REST_MS, new Set(options.without));
  }

  /** Every promise of the checker, and the counters. Only when at rest. */
  async verdict(): Promise<Verdict> {
    expect(await wrongCounters(this.client, this.historyDirectory)).toEqual([]);
    const verdict = await this.#check();
    expect(brokenIn(verdict)).toEqual([]);
    return verdict;
  }

  #check(): Promise<Verdict> {
    this.history.flush();
    return new Promise<Verdict>((resolve, reject) => {
      execFile(
        process.execPath,
        [builtFile("services/history/check.ts"), this.historyDirectory, "--json"],
        (error, stdout) => {
          if (stdout.startsWith("{")) resolve(JSON.parse(stdout) as Verdict);
          else reject(error ?? new Error("the checker said nothing"));
        },
      );
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close();
    this.history[Symbol.dispose]();
    await this.lab[Symbol.asyncDispose]();
    await rm(this.lab.folder, { recursive: true, force: true });
  }
}

function brokenIn({ rules }: Verdict): Verdict["rules"] {
  return rules.filter(({ counts, violations }) => counts && violations > 0);
}

const START_MS = 60_000;
const REST_MS = 45_000;
const SUBMIT_MS = 30_000;
const KEYS_TRIED = 1_000;
