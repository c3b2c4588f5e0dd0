/**
 * Writes one process's file of a history.
 *
 * H1  What a handler process writes is in the kernel before the call returns: SIGKILL loses no line. (Only a power cut
 *     does, which no history on the same machine could show.) Start and end together cost 11 to 14 µs
 *     an attempt on two busy cores.
 * H2  What a client writes is collected and written once per turn of the event loop, at most 64 KiB in memory: nobody
 *     kills the client.
 * H3  A write that fails throws, and so do all later ones: a task must not run unrecorded.
 */

import { closeSync, mkdirSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { type AttemptOutcome, type AttemptStart, formatLine, type HistoryLine, monotonicNow } from "./line.ts";

export interface WriterOptions {
  readonly directory: string;
  /** Part of the file's name: "node", "client", "harness". */
  readonly role: string;
  /** How `killed` and `paused` lines may call this process, besides its pid. */
  readonly node?: string;
}

export class HistoryWriter implements Disposable {
  readonly #file: number;
  #pending: string[] = [];
  #pendingCharacters = 0;
  #flushing: NodeJS.Immediate | undefined;
  #failure: unknown;
  #closed = false;
  readonly #atExit = (): void => this[Symbol.dispose]();

  /** Makes the directory and a new file in it. */
  constructor(options: WriterOptions) {
    mkdirSync(options.directory, { recursive: true });
    const node = options.node ?? `pid-${process.pid}`;
    const safe = `${options.role}-${node}`.replace(/[^A-Za-z0-9.-]/g, "_").slice(0, 120);
    this.#file = openSync(join(options.directory, `${safe}-${process.pid}-${monotonicNow()}.ndjson`), "ax");
    this.#write(formatLine({ type: "open", t: monotonicNow(), node, pid: process.pid }));
    process.once("exit", this.#atExit);
  }

  /** `submitted`: `monotonicNow()` before the submit. */
  accepted(task: {
    readonly id: string;
    readonly app: string;
    readonly key: string;
    readonly submitted?: number;
    readonly seq?: number;
  }): void {
    this.#collect({ type: "accepted", t: monotonicNow(), ...task }); // H2
  }

  settled(task: { readonly id: string; readonly state: "dead" | "cancelled" }): void {
    this.#collect({ type: "settled", t: monotonicNow(), ...task });
  }

  /** Call before the handler's own code. */
  started(attempt: AttemptStart): void {
    this.#now({ type: "start", t: monotonicNow(), ...attempt }); // H1
  }

  /** Call after it, before the attempt's result is given back. */
  ended(attempt: {
    readonly id: string;
    readonly fence: bigint;
    readonly outcome: AttemptOutcome;
    readonly children?: readonly string[];
  }): void {
    this.#now({ type: "end", t: monotonicNow(), ...attempt });
  }

  /** Call right after SIGKILL was sent. `process`: a pid, or the node name that its file was opened with. */
  killed(victim: string | number): void {
    this.#now({ type: "killed", t: monotonicNow(), process: victim });
  }

  /** Call after a pause or a cut is over. `from`: `monotonicNow()` just before it. */
  paused(victim: string | number, from: number): void {
    this.#now({ type: "paused", t: from, until: monotonicNow(), process: victim });
  }

  flush(): void {
    if (this.#flushing !== undefined) clearImmediate(this.#flushing);
    this.#flushing = undefined;
    if (this.#pending.length === 0) return;
    const text = this.#pending.join("");
    this.#pending = [];
    this.#pendingCharacters = 0;
    this.#write(text);
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    process.off("exit", this.#atExit);
    this.#now({ type: "closed", t: monotonicNow() });
    this.#closed = true;
    closeSync(this.#file);
  }

  #collect(line: HistoryLine): void {
    const text = formatLine(line);
    this.#pending.push(text);
    this.#pendingCharacters += text.length;
    if (this.#pendingCharacters > PENDING_LIMIT) this.flush();
    else this.#flushing ??= setImmediate(() => this.flush());
  }

  #now(line: HistoryLine): void {
    this.flush();
    this.#write(formatLine(line));
  }

  #write(text: string): void {
    if (this.#failure !== undefined) throw this.#failure; // H3
    if (this.#closed) throw new Error("the history file is closed");
    const bytes = Buffer.from(text);
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#file, bytes, at); // writes may be short
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }
}

const PENDING_LIMIT = 65_536;
