/** The batch frame that is being filled for one node. */

import { BATCH_HEADER_BYTES } from "../../proto/submit-stream.ts";
import { putVarint } from "../../proto/wire.ts";
import type { Entry } from "./entry.ts";
import { fieldBytes } from "./submit-task.ts";

/** Complete but for its numbers, which it gets when it is sent. */
export interface Frame {
  readonly id: number;
  readonly buffer: Buffer;
  readonly end: number;
  readonly entries: readonly Entry[];
}

export class FrameBuilder {
  readonly id: number;
  readonly #entries: Entry[] = [];
  readonly #taskLimit: number;
  readonly #mostBytes: number;
  #buffer: Buffer;
  #end = BATCH_HEADER_BYTES;

  /**
   * A task larger than a frame, as `first` may be, gets a frame of its own. `creditTasks` is 0 while it is not known.
   * `likelyBytes`: what the frame before took.
   */
  constructor({
    id,
    first,
    creditTasks,
    likelyBytes,
  }: { readonly id: number; readonly first: Entry; readonly creditTasks: number; readonly likelyBytes: number }) {
    this.id = id;
    this.#taskLimit = Math.min(FRAME_TASKS, creditTasks === 0 ? FIRST_TASKS : creditTasks);
    this.#mostBytes = Math.max(FRAME_BYTES, frameBytes(first));
    this.#buffer = Buffer.allocUnsafe(Math.min(this.#mostBytes, Math.max(likelyBytes, frameBytes(first))));
  }

  get full(): boolean {
    return this.#entries.length >= this.#taskLimit;
  }

  fits(entry: Entry): boolean {
    return !this.full && this.#end + fieldBytes(entry) <= this.#mostBytes;
  }

  /** False: no room; then seal this frame and begin another. */
  add(entry: Entry): boolean {
    if (!this.fits(entry)) return false;
    const buffer = this.#reserve(this.#end + fieldBytes(entry));
    buffer[this.#end] = TASK_TAG;
    const at = putVarint(buffer, this.#end + 1, entry.end - entry.start);
    entry.buffer.copy(buffer, at, entry.start, entry.end);
    this.#end = at + entry.end - entry.start;
    this.#entries.push(entry);
    return true;
  }

  /** Small frames cost what is in them: 64 KiB for each task of a slow sender were 32 MB of garbage a second. */
  #reserve(bytes: number): Buffer {
    if (bytes > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.min(this.#mostBytes, Math.max(bytes, 2 * this.#buffer.length)));
      this.#buffer.copy(larger, 0, 0, this.#end);
      this.#buffer = larger;
    }
    return this.#buffer;
  }

  seal(): Frame {
    return { id: this.id, buffer: this.#buffer, end: this.#end, entries: this.#entries };
  }
}

/** Of a frame that holds this task alone. */
export function frameBytes(entry: Entry): number {
  return BATCH_HEADER_BYTES + fieldBytes(entry);
}

const FRAME_BYTES = 64 * 1024;
const FRAME_TASKS = 256;
/** Before the node has told its credit. */
const FIRST_TASKS = 64;
/** Field 2 of TaskBatch. */
const TASK_TAG = 0x12;
