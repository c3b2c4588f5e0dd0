/**
 * A ring of real node processes on this machine, with the verbs start, stop, kill, freeze, thaw and waitUntil: for the
 * demo, the benchmarks and the tests. Ports are the system's choice; everything lives in one folder.
 *
 * Every wait has a deadline; disposing kills what still runs and removes the folder if the lab made it.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, existsSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { RingError } from "../../ring/errors.ts";
import { NODE_FLAGS } from "../host/node-flags.ts";

export interface LabNode {
  readonly name: string;
  readonly pid: number;
  readonly grpc: string;
  readonly http: string;
  readonly gossip: string;
  /** Process start to the ready line, in ms. */
  readonly startMs: number;
}

export interface LabOptions {
  /** App files that every node loads. */
  readonly apps: readonly string[];
  /** Where data and logs go; made and removed by the lab if absent. */
  readonly folder?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Further flags of `ringctl start` for every node. */
  readonly flags?: readonly string[];
  readonly ringSize?: number;
}

interface Running {
  readonly child: ChildProcess;
  readonly node: LabNode;
  readonly exited: Promise<number>;
  readonly flags: readonly string[];
}

export class Lab implements AsyncDisposable {
  readonly folder: string;
  readonly #options: LabOptions;
  readonly #own: boolean;
  readonly #running = new Map<string, Running>();
  /** Every process that lives, those that are not ready yet included. */
  readonly #children = new Set<ChildProcess>();
  readonly #atExit = (): void => this.#killAll();
  readonly #known = new Map<string, readonly string[]>();

  static async open(options: LabOptions): Promise<Lab> {
    if (!existsSync(RINGCTL)) throw new RingError("NOT_FOUND", `${RINGCTL} is missing: run npm run build`);
    const folder = options.folder ?? (await mkdtemp(join(tmpdir(), "taskring-")));
    await mkdir(folder, { recursive: true });
    return new Lab(options, folder, options.folder === undefined);
  }

  constructor(options: LabOptions, folder: string, own: boolean) {
    this.#options = options;
    this.folder = folder;
    this.#own = own;
    process.on("exit", this.#atExit);
  }

  /** gRPC addresses of the nodes that run. */
  get addresses(): string[] {
    return [...this.#running.values()].map(({ node }) => node.grpc);
  }

  node(name: string): LabNode {
    return this.#of(name).node;
  }

  names(): string[] {
    return [...this.#running.keys()];
  }

  logFile(name: string): string {
    return join(this.folder, `${name}.log`);
  }

  /** Starts a node and resolves when it says it is ready. The first one founds, the others join it and are committed at once unless `flags` say otherwise. */
  async start(
    name: string,
    options: {
      /** Kept for later starts of the node. */
      readonly flags?: readonly string[];
      /** For this start only; they win over all others. */
      readonly extra?: readonly string[];
      readonly autoJoin?: boolean;
      /** Gossip addresses to join by. Default: those of nodes that run. */
      readonly seeds?: readonly string[];
      readonly deadlineMs?: number;
    } = {},
  ): Promise<LabNode> {
    const flags = options.flags ?? this.#known.get(name) ?? [];
    this.#known.set(name, flags);
    const seeds = options.seeds ?? [...this.#running.values()].map(({ node }) => node.gossip);
    const args = [
      RINGCTL,
      "start",
      "--name",
      name,
      "--data",
      join(this.folder, name),
      "--grpc",
      "127.0.0.1:0",
      "--http",
      "127.0.0.1:0",
      "--gossip",
      "127.0.0.1:0",
      "--ready-json",
      "--stop-with-stdin",
      ...this.#options.apps.flatMap((app) => ["--app", app]),
      ...seeds.slice(0, 3).flatMap((seed) => ["--join", seed]),
      ...(this.#options.ringSize === undefined ? [] : ["--ring-size", String(this.#options.ringSize)]),
      ...(options.autoJoin === false || seeds.length === 0 ? [] : ["--auto-join"]),
      ...(this.#options.flags ?? []),
      ...flags,
      ...(options.extra ?? []),
    ];
    const startedAt = performance.now();
    // Its stdin ends with this process, however that ends: no node stays behind.
    const child = spawn(process.execPath, [...NODE_FLAGS, ...args], {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...this.#options.env, TASKRING_NODE: name },
    });
    this.#children.add(child);
    child.once("exit", () => this.#children.delete(child));
    const log = createWriteStream(this.logFile(name), { flags: "a" });
    child.stderr!.pipe(log);
    const exited = once(child, "exit").then(([code, signal]) =>
      typeof code === "number" ? code : signal === null ? 1 : 128,
    );
    const ready = new Promise<LabNode>((resolve, reject) => {
      const lines = createInterface({ input: child.stdout! });
      lines.on("line", (line) => {
        const said = readyLine(line);
        if (said !== undefined) resolve({ ...said, name, pid: child.pid!, startMs: performance.now() - startedAt });
      });
      void exited.then((code) =>
        reject(
          new RingError("INTERNAL", `${name} exited with ${code} before it was ready; its log: ${this.logFile(name)}`),
        ),
      );
    });
    const node = await within(
      ready,
      options.deadlineMs ?? READY_MS,
      `${name} is not ready; its log: ${this.logFile(name)}`,
    ).catch((error: unknown) => {
      child.kill("SIGKILL");
      throw error;
    });
    this.#running.set(name, { child, node, exited, flags });
    void exited.then(() => {
      if (this.#running.get(name)?.child === child) this.#running.delete(name);
    });
    return node;
  }

  /** SIGKILL, and resolves when the kernel has buried it; the time is that of the signal, in ns of the monotonic clock. */
  async kill(name: string): Promise<bigint> {
    const { child, exited } = this.#of(name);
    this.#running.delete(name);
    const at = process.hrtime.bigint();
    child.kill("SIGKILL");
    await exited;
    return at;
  }

  /** SIGTERM; its exit code. */
  async stop(name: string, deadlineMs: number = STOP_MS): Promise<number> {
    const { child, exited } = this.#of(name);
    child.kill("SIGTERM");
    const code = await within(exited, deadlineMs, `${name} did not stop`);
    this.#running.delete(name);
    return code;
  }

  freeze(name: string): void {
    this.#of(name).child.kill("SIGSTOP");
  }

  thaw(name: string): void {
    this.#of(name).child.kill("SIGCONT");
  }

  exited(name: string): Promise<number> {
    return this.#of(name).exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off("exit", this.#atExit);
    this.#running.clear();
    const gone = [...this.#children].map((child) => once(child, "exit"));
    this.#killAll();
    await Promise.all(gone);
    if (this.#own) await rm(this.folder, { recursive: true, force: true });
  }

  #killAll(): void {
    for (const child of this.#children) child.kill("SIGKILL");
  }

  #of(name: string): Running {
    const running = this.#running.get(name);
    if (running === undefined) throw new RingError("NOT_FOUND", `${name} does not run`);
    return running;
  }
}

/** Asks again until the answer is neither undefined nor false. Throws `DEADLINE` with `what`. */
export async function waitUntil<T>(
  what: string,
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  deadlineMs: number,
): Promise<T> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > end) throw new RingError("DEADLINE", `${what}: not within ${deadlineMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function within<T>(promise: Promise<T>, deadlineMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new RingError("DEADLINE", `${what} (${deadlineMs} ms)`)), deadlineMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function readyLine(line: string): Pick<LabNode, "grpc" | "http" | "gossip"> | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    const said = JSON.parse(line) as Record<string, unknown>;
    if (said.ready !== true) return undefined;
    return { grpc: String(said.grpc), http: String(said.http), gossip: String(said.gossip) };
  } catch {
    return undefined;
  }
}

/** A file of the build, by its path in the checkout: tests run this file from source, but nodes from the build. */
export function builtFile(path: string): string {
  const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
  const build = import.meta.url.endsWith(".ts") ? join(root, "dist") : root;
  return join(build, path.replace(/\.ts$/, ".js"));
}

const RINGCTL = builtFile("cli/ringctl.ts");
const READY_MS = 30_000;
const STOP_MS = 60_000;
const POLL_MS = 20;
