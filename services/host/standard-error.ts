/**
 * Standard error as the log's destination. pino's own tries again for ever when its last lines find no room or no reader,
 * and the process that wanted to end never does.
 *
 * E1  A disk without room and a reader that is slow or away cost lines, beyond `WAITING_MOST`, and never the node's time.
 * E2  What waits is tried again with each line, and once more at the end, for half a second at most.
 */

import fs from "node:fs";
import type { DestinationStream } from "pino";

export class StandardError implements DestinationStream {
  #waiting: Buffer[] = [];
  /** Of all that waits. */
  #bytes = 0;
  #isWriting = false;

  write(line: string): void {
    const bytes = Buffer.from(line);
    if (this.#bytes + bytes.length > WAITING_MOST) return;
    this.#waiting.push(bytes);
    this.#bytes += bytes.length;
    if (!this.#isWriting) this.#next();
  }

  /** What waits, in so far as it is taken. What is under way is not waited for. */
  flushSync(): void {
    let tries = 0;
    for (let chunk = this.#take(); chunk.length > 0; chunk = this.#take()) {
      try {
        this.#putBack(chunk.subarray(fs.writeSync(STDERR, chunk)));
      } catch (error) {
        this.#putBack(chunk);
        if (!isSlow(error) || ++tries > TRIES_MOST) return;
        Atomics.wait(NOBODY, 0, 0, SLOW_MS);
      }
    }
  }

  #next(): void {
    const chunk = this.#take();
    if (chunk.length === 0) return;
    this.#isWriting = true;
    fs.write(STDERR, chunk, (error, written = 0) => {
      this.#putBack(chunk.subarray(written));
      if (isSlow(error)) setTimeout(() => this.#go(), SLOW_MS).unref();
      else if (error === null) this.#go();
      else this.#isWriting = false; // until the next line
    });
  }

  #go(): void {
    this.#isWriting = false;
    this.#next();
  }

  #take(): Buffer {
    let bytes = 0;
    let count = 0;
    while (count < this.#waiting.length && bytes < CHUNK_BYTES) bytes += this.#waiting[count++]!.length;
    this.#bytes -= bytes;
    return Buffer.concat(this.#waiting.splice(0, count), bytes);
  }

  #putBack(rest: Buffer): void {
    if (rest.length === 0) return;
    this.#waiting.unshift(rest);
    this.#bytes += rest.length;
  }
}

/** There is one; so all logs of the process share it. */
export function standardError(): StandardError {
  if (shared === undefined) {
    const made = new StandardError();
    process.on("exit", () => made.flushSync());
    shared = made;
  }
  return shared;
}

function isSlow(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "EAGAIN" || error.code === "EBUSY");
}

let shared: StandardError | undefined;
const STDERR = 2;
const WAITING_MOST: number = 16 * 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;
const SLOW_MS = 50;
const TRIES_MOST = 10;
const NOBODY: Int32Array = new Int32Array(new SharedArrayBuffer(4));
