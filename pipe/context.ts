/** What fitting code sees of its call. One for each worker when calls come one at a time, else one for each call. */

import { RingError } from "../ring/errors.ts";
import type { Call } from "./call.ts";
import type { FittingContext } from "./fitting.ts";
import type { Token } from "./token.ts";
import type { Worker } from "./worker.ts";

export class Context implements FittingContext {
  readonly worker: Worker;
  attempt = 1;
  cursor: unknown = undefined;
  /** Of the input being processed. */
  token: Token | undefined = undefined;
  call: Call | undefined = undefined;

  constructor(worker: Worker) {
    this.worker = worker;
  }

  get run(): string {
    return this.worker.stage.run.id;
  }

  get pipeline(): string {
    return this.worker.stage.run.pipeline.name;
  }

  get fitting(): string {
    return this.worker.stage.fitting.name;
  }

  get partition(): number {
    return this.worker.partition;
  }

  get signal(): AbortSignal {
    return this.worker.signal();
  }

  get state(): unknown {
    return this.worker.state;
  }

  set state(state: unknown) {
    this.worker.state = state;
  }

  get checkpoint(): (cursor: unknown) => Promise<void> {
    return (cursor) => {
      const kept = this.#checkpoint(cursor);
      kept.catch(() => undefined); // Who does not wait for it does not stop the node.
      return kept;
    };
  }

  get recurse(): (input: unknown) => void {
    return (input) => {
      if (this.token === undefined) throw new RingError("CANCELLED", "the call is over");
      this.worker.recurse(input, this.token);
    };
  }

  get traceparent(): string | undefined {
    return this.token?.trace?.traceparent;
  }

  get trace(): (text: string) => void {
    return (text) => this.worker.stage.run.note(this.worker, "log", text);
  }

  async #checkpoint(cursor: unknown): Promise<void> {
    if (this.call === undefined)
      throw new RingError("INVALID_ARGUMENT", `${this.fitting}: checkpoint is for generators, which emit as they go`);
    await this.call.checkpoint(cursor);
  }
}
