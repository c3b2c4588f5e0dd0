/**
 * The append-only file of a Redis as a history of every write that it accepted: asked of the file, not of a node.
 *
 * Each write to a partition leaves its owner's term and sequence there (`scripts.ts`). Terms that go back are stale
 * writes that were accepted; sequences that do not go up by one are groups that are missing or were applied twice.
 * Seen to fail: with the fence taken out of the script, and on files made by hand (`redis-log.test.ts`).
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Term } from "../../ring/store.ts";

export interface RedisLog {
  /** Groups that were accepted, openings among them. */
  readonly writes: number;
  /** Times that a partition got another owner, or was opened again. */
  readonly openings: number;
  /** Empty: nothing stale was accepted, nothing is missing, nothing was removed. */
  readonly wrong: readonly string[];
}

/** Reads the parts that hold commands; the base part, which a rewrite makes, is none of them. */
export function readRedisLog(folder: string): RedisLog {
  const directory = join(folder, "appendonlydir");
  const parts = readdirSync(directory)
    .filter((name) => name.endsWith(".incr.aof"))
    .sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const reader = new LogReader();
  for (const part of parts) for (const command of commandsOf(readFileSync(join(directory, part)))) reader.take(command);
  return reader;
}

interface Seen {
  readonly term: Term;
  readonly sequence: number;
}

class LogReader implements RedisLog {
  readonly wrong: string[] = [];
  readonly #last = new Map<string, Seen>();
  writes = 0;
  openings = 0;

  take([name, key, ...rest]: readonly Buffer[]): void {
    if (name === undefined || key === undefined) return;
    const partition = /^[\w.-]+:\{(\d+)\}$/.exec(key.toString("latin1"))?.[1];
    if (partition === undefined) return;
    const command = name.toString("latin1").toLowerCase();
    if (REMOVES.has(command)) this.wrong.push(`partition ${partition}: ${command}`);
    if (command !== "hset") return;
    for (let at = 0; at + 1 < rest.length; at += 2) if (rest[at]!.length === 0) this.#meta(partition, rest[at + 1]!);
  }

  #meta(partition: string, meta: Buffer): void {
    const term: Term = { history: meta.readUInt32BE(0), generation: meta.readUInt32BE(4), opens: meta.readUInt32BE(8) };
    const sequence = Number(meta.subarray(12).toString("latin1"));
    const last = this.#last.get(partition);
    this.#last.set(partition, { term, sequence });
    this.writes++;
    if (last === undefined) return void this.openings++;
    const order =
      term.history - last.term.history || term.generation - last.term.generation || term.opens - last.term.opens;
    if (order > 0) this.openings++;
    if (order < 0) this.wrong.push(`partition ${partition}: ${show(term)} wrote after ${show(last.term)}`);
    else if (sequence !== (order > 0 ? 0 : last.sequence + 1))
      this.wrong.push(`partition ${partition}: ${show(term)} wrote ${sequence} after ${last.sequence}`);
  }
}

/** Whole commands; one cut off at the end, as by a kill, is none. */
function* commandsOf(bytes: Buffer): Generator<readonly Buffer[], void, undefined> {
  let at = 0;
  const number = (mark: number): number | undefined => {
    const end = bytes.indexOf("\r\n", at, "latin1");
    if (bytes[at] !== mark || end < 0) return undefined;
    const value = Number(bytes.toString("latin1", at + 1, end));
    at = end + 2;
    return Number.isInteger(value) && value >= 0 ? value : undefined;
  };
  for (;;) {
    const count = number(ARRAY);
    if (count === undefined) return;
    const parts: Buffer[] = [];
    for (let part = 0; part < count; part++) {
      const length = number(BULK);
      if (length === undefined || at + length + 2 > bytes.length) return;
      parts.push(bytes.subarray(at, at + length));
      at += length + 2;
    }
    yield parts;
  }
}

function show({ history, generation, opens }: Term): string {
  return `term ${history}.${generation}.${opens}`;
}

const REMOVES: ReadonlySet<string> = new Set(["del", "unlink", "rename", "flushdb", "flushall"]);
const ARRAY = 0x2a;
const BULK = 0x24;
