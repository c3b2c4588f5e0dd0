/**
 * A redis-server of one's own on a port that the system chose, with the verbs start, stop, kill, freeze and thaw: for the
 * demo, the benchmarks and the tests.
 *
 * Its data stays in its folder over `kill` and `start`; disposing kills it and removes the folder if it was made here.
 */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RingError } from "../../ring/errors.ts";
import { parseRedisAddress } from "../../ring/io/store/redis/address.ts";
import { type RedisArgument, RedisLink } from "../../ring/io/store/redis/link.ts";

export interface RedisServerOptions {
  /** How its append-only file is synced. Default everysec; `off`: it keeps none. */
  readonly sync?: "always" | "everysec" | "no" | "off";
  /** Further settings, such as `["--maxmemory", "64mb"]`. */
  readonly settings?: readonly string[];
}

export class RedisServer implements AsyncDisposable {
  readonly port: number;
  readonly folder: string;
  readonly #options: RedisServerOptions;
  #child: ChildProcess | undefined;
  readonly #atExit = (): void => void this.#child?.kill("SIGKILL");

  /** Throws `NOT_FOUND` when there is no redis-server and it cannot be installed. */
  static async open(options: RedisServerOptions = {}): Promise<RedisServer> {
    if (!hasRedis()) throw new RingError("NOT_FOUND", "redis-server is missing: apt-get install redis-server");
    const server = new RedisServer(await freePort(), await mkdtemp(join(tmpdir(), "taskring-redis-")), options);
    await server.start();
    return server;
  }

  constructor(port: number, folder: string, options: RedisServerOptions) {
    this.port = port;
    this.folder = folder;
    this.#options = options;
    process.on("exit", this.#atExit);
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  async start(): Promise<void> {
    const sync = this.#options.sync ?? "everysec";
    const args = ["--port", String(this.port), "--bind", "127.0.0.1", "--dir", this.folder, "--save", ""];
    if (sync !== "off") args.push("--appendonly", "yes", "--appendfsync", sync);
    args.push("--maxmemory-policy", "noeviction", ...(this.#options.settings ?? []));
    this.#child = spawn("redis-server", args, { stdio: "ignore" });
    await this.answers();
  }

  /** Resolves when it answers, its data loaded. */
  async answers(deadlineMs: number = START_MS): Promise<void> {
    const end = performance.now() + deadlineMs;
    for (;;) {
      try {
        if (String(await this.ask("ping")) === "PONG") return;
      } catch {
        // Not yet.
      }
      if (performance.now() > end) throw new RingError("DEADLINE", `redis-server on port ${this.port} does not answer`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async ask(command: string, ...args: readonly RedisArgument[]): Promise<unknown> {
    const link = new RedisLink(parseRedisAddress(this.url), "lab");
    try {
      return await link.call(command, args);
    } finally {
      link.close();
    }
  }

  /** One figure of INFO. */
  async info(section: string, name: string): Promise<string> {
    const text = String(await this.ask("info", section));
    return new RegExp(`^${name}:(.*)\r?$`, "m").exec(text)?.[1]?.trim() ?? "";
  }

  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  stop(): Promise<void> {
    return this.#end("SIGTERM");
  }

  freeze(): void {
    this.#child?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#child?.kill("SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off("exit", this.#atExit);
    await this.#end("SIGKILL");
    await rm(this.folder, { recursive: true, force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill(signal);
    await gone;
  }
}

/** True when there is a redis-server; as root on Debian it is installed. */
export function hasRedis(): boolean {
  if (runs("redis-server", ["--version"])) return true;
  return (
    process.getuid?.() === 0 &&
    runs("apt-get", ["install", "-y", "--no-install-recommends", "redis-server"]) &&
    runs("redis-server", ["--version"])
  );
}

function runs(command: string, args: readonly string[]): boolean {
  try {
    execFileSync(command, args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}

const START_MS = 15_000;
