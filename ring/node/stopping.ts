/**
 * A planned stop: no new attempts, those under way end or run out of their grace, everything is on disk, the directory is
 * marked as stopped on purpose, and the process ends. Peers are told, so that nobody adopts it meanwhile.
 */

import type { Instant } from "../machine.ts";
import { RESTART_GRACE_MS } from "./adoption.ts";
import type { Here } from "./here.ts";
import type { NodeMessage } from "./messages.ts";

export interface StoppingParts {
  /** Starts nothing more; residents end. */
  holdAll(): void;
  running(): number;
  abortAll(): void;
  whenSynced(run: () => void): void;
  toAll(message: NodeMessage): void;
}

type Phase =
  | { readonly type: "no" | "marking" }
  | { readonly type: "draining" | "aborted"; readonly deadline: Instant };

export class Stopping {
  readonly #here: Here;
  readonly #parts: StoppingParts;
  #phase: Phase = { type: "no" };
  #tellAt: Instant = 0;

  constructor(here: Here, parts: StoppingParts) {
    this.#here = here;
    this.#parts = parts;
  }

  get begun(): boolean {
    return this.#phase.type !== "no";
  }

  nextDeadline(): Instant | undefined {
    const phase = this.#phase;
    return "deadline" in phase ? Math.min(phase.deadline, this.#tellAt) : undefined;
  }

  begin(graceMs: number): void {
    if (this.begun) return;
    this.#phase = { type: "draining", deadline: this.#here.now + graceMs };
    this.#parts.holdAll();
    this.progress();
  }

  /** Something ended, or time passed. */
  progress(): void {
    const { now } = this.#here;
    const phase = this.#phase;
    if (!("deadline" in phase)) return;
    if (now >= this.#tellAt) this.#tell(TELL_EVERY_MS + RESTART_GRACE_MS);
    const running = this.#parts.running();
    if (running > 0 && now < phase.deadline) return;
    if (running > 0 && phase.type === "draining") {
      this.#parts.abortAll();
      this.#phase = { type: "aborted", deadline: now + ABORT_GRACE_MS };
      return;
    }
    this.#phase = { type: "marking" };
    this.#tell(RESTART_GRACE_MS);
    this.#parts.whenSynced(() => this.#here.emit({ type: "mark-stopping" }));
  }

  /** Again and again while handlers run, however long they may: if this node dies meanwhile, nobody waits for it for so long. */
  #tell(graceMs: number): void {
    this.#tellAt = this.#here.now + TELL_EVERY_MS;
    this.#parts.toAll({ type: "restarting", graceMs });
  }
}

const ABORT_GRACE_MS = 500;
const TELL_EVERY_MS = 10_000;
