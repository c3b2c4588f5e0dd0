/**
 * Stock `serf` agents as processes on loopback, for the benchmark and the tests that run beside them.
 *
 * Every wait has a deadline; disposing kills the process. What it was asked to do fails with what it said.
 */

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

export interface SerfMember {
  readonly name: string;
  readonly addr: string;
  readonly port: number;
  readonly status: "alive" | "leaving" | "left" | "failed";
  readonly tags: Readonly<Record<string, string>>;
}

export interface SerfOptions {
  readonly name: string;
  readonly tags?: Readonly<Record<string, string>>;
  /** Base64; the ring is encrypted. */
  readonly key?: string;
  /** Default: on, as serf has it. */
  readonly compression?: boolean;
  /** Default: `lan`. */
  readonly profile?: string;
}

export class SerfAgent implements AsyncDisposable {
  readonly name: string;
  readonly gossip: { readonly host: string; readonly port: number };
  readonly #rpc: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  readonly #lines: { readonly line: string; readonly atMs: number }[] = [];
  readonly #seen = new Map<string, number>();
  #log = "";

  /** With other ports if somebody took one that was free a moment before. */
  static async start(options: SerfOptions): Promise<SerfAgent> {
    for (let start = 1; ; start++) {
      const agent = new SerfAgent(options, await freePort(), await freePort());
      try {
        await agent.#until("the agent does not answer", async () => (await agent.members()).length > 0);
        return agent;
      } catch (error) {
        if (start === STARTS || !agent.log.includes("address already in use")) throw error;
      }
    }
  }

  constructor({ name, tags = {}, key, compression = true, profile = "lan" }: SerfOptions, port: number, rpc: number) {
    this.name = name;
    this.gossip = { host: "127.0.0.1", port };
    this.#rpc = `127.0.0.1:${rpc}`;
    this.#child = spawn(
      "serf",
      [
        "agent",
        `-node=${name}`,
        `-bind=127.0.0.1:${port}`,
        `-rpc-addr=${this.#rpc}`,
        `-profile=${profile}`,
        "-log-level=debug",
        ...Object.entries(tags).map(([tag, value]) => `-tag=${tag}=${value}`),
        ...(key === undefined ? [] : [`-encrypt=${key}`]),
        ...(compression ? [] : ["-disable-compression"]),
      ],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    this.#exited = once(this.#child, "exit");
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      createInterface({ input: stream }).on("line", (line) => this.#heard(line));
  }

  /** The last of what it said. */
  get log(): string {
    return this.#log;
  }

  /** When it logged that this member joined, failed or left; by the clock of this process. */
  saw(event: "Join" | "Failed" | "Leave", member: string): number | undefined {
    return this.#seen.get(`${event} ${member}`);
  }

  /** When it first logged such a line. */
  loggedAt(pattern: RegExp): number | undefined {
    return this.#lines.find(({ line }) => pattern.test(line))?.atMs;
  }

  /** Its own count in the last full slice of ten seconds. */
  async telemetry(counter: string): Promise<{ readonly count: number; readonly sum: number }> {
    const from = this.#lines.length;
    this.signal("SIGUSR1");
    await new Promise((resolve) => setTimeout(resolve, DUMP_MS));
    const dumped = this.#lines.slice(from).filter(({ line }) => line.includes("][") && line.includes("+0000"));
    const slices = dumped.map(({ line }) => /^\[([^\]]*)\]/.exec(line)?.[1] ?? "");
    const last = slices.toSorted().at(-1);
    const found = dumped.find(({ line }) => line.startsWith(`[${last}]`) && line.includes(`${counter}'`));
    const [, count, sum] = /Count: (\d+).* Sum: ([\d.]+)/.exec(found?.line ?? "") ?? [];
    return { count: Number(count ?? 0), sum: Number(sum ?? 0) };
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  #heard(line: string): void {
    const atMs = performance.now();
    this.#log = `${this.#log}${line}\n`.slice(-LOG_CHARACTERS);
    this.#lines.push({ line, atMs });
    if (this.#lines.length > LINES) this.#lines.shift();
    const [, event, member] = /serf: EventMember(Join|Failed|Leave): (\S+)/.exec(line) ?? [];
    if (event !== undefined) this.#seen.set(`${event} ${member}`, atMs);
  }

  async members(): Promise<readonly SerfMember[]> {
    const text = await this.command("members", "-format=json");
    const { members } = JSON.parse(text) as { members: (Omit<SerfMember, "port"> & { port: number; addr: string })[] };
    return members;
  }

  async statusOf(name: string): Promise<SerfMember["status"] | undefined> {
    return (await this.members()).find((member) => member.name === name)?.status;
  }

  async aliveCount(): Promise<number> {
    return (await this.members()).filter(({ status }) => status === "alive").length;
  }

  join(address: { readonly host: string; readonly port: number }): Promise<string> {
    return this.command("join", `${address.host}:${address.port}`);
  }

  /** In order; resolves when the process has ended. */
  async leave(): Promise<void> {
    await this.command("leave");
    await this.#exited;
  }

  /** `serf COMMAND` at this agent. */
  async command(name: string, ...args: readonly string[]): Promise<string> {
    const { stdout } = await run("serf", [name, `-rpc-addr=${this.#rpc}`, ...args], { timeout: COMMAND_MS });
    return stdout;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.#exited;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }

  async #until(what: string, holds: () => Promise<boolean>): Promise<void> {
    const end = performance.now() + START_MS;
    for (;;) {
      if (await holds().catch(() => false)) return;
      if (performance.now() > end || this.#child.exitCode !== null) {
        await this.kill();
        throw new Error(`${what}:\n${this.#log}`);
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}

/** True if `serf` can be run; installed first where that is allowed (Debian, root). */
export async function serfIsThere(): Promise<boolean> {
  if (await canRun()) return true;
  if (process.getuid?.() !== 0) return false;
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const install = (): Promise<unknown> => run("apt-get", ["install", "-y", "-q", "serf"], { env, timeout: INSTALL_MS });
  await install()
    .catch(() => run("apt-get", ["update", "-q"], { env, timeout: INSTALL_MS }).then(install))
    .catch(() => undefined);
  return canRun();
}

function canRun(): Promise<boolean> {
  return run("serf", ["version"]).then(
    () => true,
    () => false,
  );
}

/** Free for TCP a moment ago, and most likely for UDP. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}

const run = promisify(execFile);
const START_MS = 15_000;
const STARTS = 5;
const COMMAND_MS = 20_000;
const INSTALL_MS = 120_000;
const POLL_MS = 50;
const LOG_CHARACTERS = 20_000;
const LINES = 5_000;
const DUMP_MS = 200;
