/**
 * One `ringctl start` as a child process that is kept running: started again when it dies, later each time.
 *
 * A restart needs no care for the dead process's directory: the new process waits by itself while a peer adopts it.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { NODE_FLAGS } from "../services/host/node-flags.ts";
import { EXIT } from "./exit-codes.ts";

export interface ReadyNode {
  readonly name: string;
  readonly grpc: string;
  readonly http: string;
  readonly gossip: string;
  readonly pid: number;
  readonly state: string;
}

export interface ChildNodeOptions {
  readonly name: string;
  /** Arguments of `ringctl start` for a start; asked each time, since what a node joins changes. */
  readonly args: (starts: number) => readonly string[];
  readonly onLog: (line: string) => void;
  readonly onReady: (node: ReadyNode) => void;
  /** It died and starts again after this time. */
  readonly onCrash: (how: string, againInMs: number) => void;
  /** It ended in a way that a restart cannot help: before it was ever ready, or for a usage error. */
  readonly onFailed: (code: number) => void;
}

export class ChildNode {
  readonly name: string;
  readonly #options: ChildNodeOptions;
  #child: ChildProcess | undefined;
  #timer: NodeJS.Timeout | undefined;
  #starts = 0;
  #crashes = 0;
  #readyOnce = false;
  #stopping = false;
  #gone: Promise<void> = Promise.resolve();

  constructor(options: ChildNodeOptions) {
    this.name = options.name;
    this.#options = options;
  }

  start(): void {
    const startedAt = performance.now();
    const args = [
      ...NODE_FLAGS,
      PROGRAM,
      "start",
      "--name",
      this.name,
      "--ready-json",
      "--stop-with-stdin",
      ...this.#options.args(this.#starts++),
    ];
    // Of its own group: Ctrl-C reaches the parent only, which then stops the nodes in order. Its stdin ends with the parent.
    const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "pipe"], detached: true });
    this.#child = child;
    createInterface({ input: child.stderr }).on("line", this.#options.onLog);
    createInterface({ input: child.stdout }).on("line", (line) => this.#heard(line));
    this.#gone = new Promise((resolve) => {
      child.once("error", (error) => {
        this.#options.onLog(`cannot be started: ${error.message}`);
        resolve();
      });
      child.once("exit", (code, signal) => {
        this.#child = undefined;
        resolve();
        if (!this.#stopping) this.#ended({ code, signal, ranMs: performance.now() - startedAt });
      });
    });
  }

  /** SIGTERM. Resolves when the process is gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    this.#child?.kill("SIGTERM");
    await this.#gone;
  }

  kill(): void {
    this.#stopping = true;
    clearTimeout(this.#timer);
    this.#child?.kill("SIGKILL");
  }

  #heard(line: string): void {
    const node = readyNode(line);
    if (node === undefined) {
      this.#options.onLog(line);
      return;
    }
    this.#readyOnce = true;
    this.#options.onReady(node);
  }

  #ended({
    code,
    signal,
    ranMs,
  }: {
    readonly code: number | null;
    readonly signal: string | null;
    readonly ranMs: number;
  }): void {
    if (!this.#readyOnce || code === EXIT.usage) {
      this.#options.onFailed(code ?? EXIT.failure);
      return;
    }
    if (ranMs > STEADY_MS) this.#crashes = 0;
    const againInMs = Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** this.#crashes++);
    this.#options.onCrash(signal === null ? `ended with exit code ${code}` : `was killed (${signal})`, againInMs);
    this.#timer = setTimeout(() => this.start(), againInMs);
  }
}

function readyNode(line: string): ReadyNode | undefined {
  if (!line.startsWith('{"ready":true')) return undefined;
  try {
    return JSON.parse(line) as ReadyNode;
  } catch {
    return undefined;
  }
}

const PROGRAM = fileURLToPath(new URL("./ringctl.js", import.meta.url));
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MOST_MS = 30_000;
/** Who ran this long starts afresh with the shortest wait. */
const STEADY_MS = 60_000;
