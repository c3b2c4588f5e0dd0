/** One `membership-node.ts` process, from its parent's side. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Address } from "../ring/membership/address.ts";
import type { MemberCommand, MemberReport } from "./membership-node.ts";
import type { SplitHost } from "./split-network.ts";

export class MemberProcess implements AsyncDisposable {
  readonly name: string;
  /** Others by their last state. */
  readonly view: Map<string, { readonly state: string; readonly atMs: number }> = new Map();
  /** Every report of a death, with the time. */
  readonly deaths: { readonly name: string; readonly atMs: number }[] = [];
  address: Address = { host: "", port: 0 };
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  #counted: ((counts: Extract<MemberReport, { type: "counted" }>) => void) | undefined;

  static async start(name: string, options: { readonly profile?: string } = {}): Promise<MemberProcess> {
    const member = new MemberProcess(name, options.profile ?? "lan");
    await member.ready;
    return member;
  }

  readonly ready: Promise<void>;

  constructor(
    name: string,
    profile: string,
    {
      port = 0,
      host = { command: [], address: "127.0.0.1" },
    }: { readonly port?: number; readonly host?: SplitHost } = {},
  ) {
    this.name = name;
    const [program, ...args] = [...host.command, process.execPath, PROGRAM, name, profile, String(port), host.address];
    this.#child = spawn(program!, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#exited = once(this.#child, "exit");
    this.ready = new Promise((resolve, reject) => {
      this.#child.once("exit", () => reject(new Error(`${name} ended before it was ready`)));
      createInterface({ input: this.#child.stdout! }).on("line", (line) => {
        const report = JSON.parse(line) as MemberReport;
        if (report.type === "ready") {
          this.address = report.address;
          resolve();
        } else this.#learn(report);
      });
    });
    // A process that is killed at work takes its pipe along.
    this.#child.stdin!.on("error", () => {});
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** How many others it holds alive. */
  get aliveOthers(): number {
    return [...this.view.values()].filter(({ state }) => state === "up" || state === "suspect").length;
  }

  send(command: MemberCommand): void {
    this.#child.stdin!.write(`${JSON.stringify(command)}\n`);
  }

  counts(): Promise<Extract<MemberReport, { type: "counted" }>> {
    return new Promise((resolve) => {
      this.#counted = resolve;
      this.send({ type: "count" });
    });
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async ended(): Promise<void> {
    await this.#exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.#exited;
  }

  #learn(report: MemberReport): void {
    if (report.type === "counted") return this.#counted?.(report);
    if (report.type === "ready" || report.type === "gone") return;
    const atMs = performance.now();
    if (report.type === "dead") this.deaths.push({ name: report.name, atMs });
    const state = report.type === "updated" ? "up" : report.type;
    this.view.set(report.name, { state, atMs });
  }
}

const PROGRAM = fileURLToPath(import.meta.resolve("./membership-node.js"));
