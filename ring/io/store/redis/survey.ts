/** Which partitions have anything in Redis: their terms, row counts and what was set aside of them. */

import type { Partition } from "../../../ids.ts";
import type { Term } from "../../../store.ts";
import { PARTITION_LIMIT } from "../limits.ts";
import { type RedisLink, scriptOf } from "./link.ts";

export interface Surveyed {
  readonly partition: Partition;
  /** Undefined when nothing but set-aside rows is left. */
  readonly term: Term | undefined;
  readonly rows: number;
  readonly asideRows: number;
}

export async function survey(
  link: RedisLink,
  options: { readonly keyOf: (partition: Partition) => string; readonly together: boolean },
): Promise<readonly Surveyed[]> {
  const found: Surveyed[] = [];
  const step = options.together ? CHUNK : 1;
  const read = async (from: number): Promise<void> => {
    const keys: string[] = [];
    for (let index = from; index < Math.min(from + step, PARTITION_LIMIT); index++)
      keys.push(options.keyOf(index as Partition), `${options.keyOf(index as Partition)}:aside`);
    const reply = (await link.script(SCRIPT, keys, [])) as readonly (Buffer | number | readonly Buffer[])[];
    for (let at = 0; at < reply.length; at += 4) {
      const meta = reply[at + 1] as Buffer;
      const asides = reply[at + 3] as readonly Buffer[];
      found.push({
        partition: (from + (reply[at] as number)) as Partition,
        term: meta.length === 0 ? undefined : termOf(meta),
        rows: Math.max(0, (reply[at + 2] as number) - 1),
        asideRows: asides.reduce((sum, why) => sum + asideRows(why), 0),
      });
    }
  };
  for (let from = 0; from < PARTITION_LIMIT; ) {
    const calls: Promise<void>[] = [];
    for (; from < PARTITION_LIMIT && calls.length < CALLS_AT_ONCE; from += step) calls.push(read(from));
    await Promise.all(calls);
  }
  return found.sort((a, b) => a.partition - b.partition);
}

export function termBytes(term: Term): Buffer {
  const bytes = Buffer.allocUnsafe(TERM_BYTES);
  bytes.writeUInt32BE(term.history, 0);
  bytes.writeUInt32BE(term.generation, 4);
  bytes.writeUInt32BE(term.opens, 8);
  return bytes;
}

function termOf(meta: Buffer): Term {
  return { history: meta.readUInt32BE(0), generation: meta.readUInt32BE(4), opens: meta.readUInt32BE(8) };
}

function asideRows(why: Buffer): number {
  try {
    const { rows } = JSON.parse(why.toString()) as { readonly rows?: unknown };
    return typeof rows === "number" ? rows : 0;
  } catch {
    return 0;
  }
}

/** KEYS: rows hash and aside of each partition. Answers index, term, length and asides of those that have anything. */
const SCRIPT = scriptOf(`
local out = {}
for at = 1, #KEYS, 2 do
  local meta = redis.call('HGET', KEYS[at], '')
  local asides = redis.call('HVALS', KEYS[at + 1])
  if meta or #asides > 0 then
    out[#out + 1] = (at - 1) / 2
    out[#out + 1] = meta or ''
    out[#out + 1] = redis.call('HLEN', KEYS[at])
    out[#out + 1] = asides
  end
end
return out
`);
const CHUNK = 512;
const CALLS_AT_ONCE = 64;
const TERM_BYTES = 12;
