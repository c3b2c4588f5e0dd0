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
  | { readonly type: "no" }
  | { readonly type: "draining"; readonly deadline: Instant }
  | { readonly type: "aborted"; readonly deadline: Instant }
  | { readonly type: "marking" };

export class Stopping {
  readonly #here: Here;
  readonly #parts: StoppingParts;
  #phase: Phase = { type: "no" };

  constructor(here: Here, parts: StoppingParts) {
    this.#here = here;
    this.#parts = parts;
  }

  get begun(): boolean {
    return this.#phase.type !== "no";
  }

  nextDeadline(): Instant | undefined {
    return this.#phase.type === "draining" || this.#phase.type === "aborted" ? this.#phase.deadline : undefined;
  }

  begin(graceMs: number): void {
    if (this.begun) return;
    this.#phase = { type: "draining", deadline: this.#here.now + graceMs };
    this.#parts.holdAll();
    this.#parts.toAll({ type: "restarting", graceMs: graceMs + RESTART_GRACE_MS });
    this.progress();
  }

  /** Something ended, or time passed. */
  progress(): void {
    const { now } = this.#here;
    const phase = this.#phase;
    if (phase.type === "no" || phase.type === "marking") return;
    const running = this.#parts.running();
    if (running > 0 && now < phase.deadline) return;
    if (running > 0 && phase.type === "draining") {
      this.#parts.abortAll();
      this.#phase = { type: "aborted", deadline: now + ABORT_GRACE_MS };
      return;
    }
    this.#phase = { type: "marking" };
    this.#parts.toAll({ type: "restarting", graceMs: RESTART_GRACE_MS });
    this.#parts.whenSynced(() => this.#here.emit({ type: "mark-stopping" }));
  }
}

const ABORT_GRACE_MS = 500;
