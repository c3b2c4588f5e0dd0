/** What the pipe part of a node asks of the world: the time, turns, promises, links and the pipelines that are loaded. */

import type { NodeName } from "../ring/ids.ts";
import type { Pipeline } from "./fitting.ts";
import type { SpanHost } from "./span.ts";

/** What a settled promise is told to. */
export interface Settled {
  resolved(value: unknown): void;
  rejected(error: unknown): void;
}

export interface Pulled {
  /** Bound once for each call: an output costs no closure. */
  readonly onPulled: (result: IteratorResult<unknown>) => void;
  readonly onRejected: (error: unknown) => void;
}

export interface FittingOfRun {
  readonly pipeline: string;
  readonly fitting: string;
  readonly run: string;
}

export interface PipeHost {
  /** Monotonic ms. */
  now(): number;
  /** Unique in the ring: 1 to 2^52. */
  newSession(): number;
  /** There is work: call `runSome` and `flush` soon. */
  wake(): void;
  /** Nobody can go on before that: at once, if the event loop has had its turn. */
  hurry?(): void;
  send(to: NodeName, bytes: Uint8Array): boolean;
  settle(promise: PromiseLike<unknown>, call: Settled): void;
  pull(iterator: AsyncIterator<unknown>, call: Pulled): void;
  close(iterator: Iterator<unknown> | AsyncIterator<unknown>): void;
  /** The same call, made in the async context of whoever asks now: a fitting's code. */
  bound?(call: () => void): () => void;
  /** Looks at what the code of a fitting gave, in its context: getters and `toJSON` are its code, too. */
  look?<T>(of: FittingOfRun, look: () => T): T;
  find(pipeline: string): Pipeline | undefined;
  /** Absent: no spans are made here; contexts are passed on. */
  readonly spans?: SpanHost | undefined;
}

/** What the routes are made of. */
export interface Routes {
  readonly epoch: number;
  readonly ringSize: number;
  readonly owners: readonly (string | undefined)[];
  /** Members that may still be alive: not `down`. */
  readonly alive: ReadonlySet<string>;
}
