/**
 * Rows per second of the embedded store: groups of 1,000 changes with 200-byte values, half of them puts and half
 * deletes of older rows, over 64 partitions, with several calls waiting at any time. Prints commits and syncs.
 *
 * Run: `npm run build && node dist/bench/store.js [seconds] [callsInFlight]`
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Partition } from "../ring/ids.ts";
import { openEmbeddedStore } from "../ring/io/store/embedded.ts";
import type { RowChange, Term } from "../ring/store.ts";

const GROUP_PUTS = 500;
const seconds = Number(process.argv[2] ?? 3);
const callsInFlight = Number(process.argv[3] ?? 8);
const directory = mkdtempSync(join(process.env.TASKRING_BENCH_DIRECTORY ?? tmpdir(), "taskring-store-"));
const store = await openEmbeddedStore({ directory });
const terms: Term[] = [];
for (let partition = 0; partition < 64; partition += 1) {
  terms.push(await store.open(partition as Partition, { history: 1, generation: 1 }));
}

let sequence = 0;
let changed = 0;
const value = new Uint8Array(200).fill(7);
const begin = performance.now();
const cpu = process.cpuUsage();
await Promise.all(Array.from({ length: callsInFlight }, () => load()));
const elapsed = (performance.now() - begin) / 1000;
const { user, system } = process.cpuUsage(cpu);
const { commits, syncs, rows, bytes } = store.stats();
await store[Symbol.asyncDispose]();
rmSync(directory, { recursive: true });
console.log(
  JSON.stringify({
    changesPerSecond: Math.round(changed / elapsed),
    changes: changed,
    commits,
    syncs,
    changesPerCommit: Math.round(changed / commits),
    commitMs: Number(((elapsed * 1000) / commits).toFixed(2)),
    cpuMicrosPerChange: Number(((user + system) / changed).toFixed(2)),
    rowsLeft: rows,
    storeMiB: Math.round(bytes / 1024 / 1024),
    rssMiB: Math.round(process.memoryUsage().rss / 1024 / 1024),
  }),
);

/** Puts 500 rows, then deletes them while it puts the next 500, as tasks come and are acknowledged. */
async function load(): Promise<void> {
  let older: readonly { readonly partition: number; readonly key: Uint8Array }[] = [];
  while (performance.now() - begin < seconds * 1000) {
    const changes: RowChange[][] = Array.from({ length: 64 }, () => []);
    for (const { partition, key } of older) changes[partition]!.push({ key });
    older = Array.from({ length: GROUP_PUTS }, () => {
      sequence += 1;
      return { partition: Math.floor(sequence / 8) % 64, key: keyOf(sequence) };
    });
    for (const { partition, key } of older) changes[partition]!.push({ key, value });
    const groups = changes.flatMap((list, partition) =>
      list.length === 0 ? [] : [{ partition: partition as Partition, term: terms[partition]!, changes: list }],
    );
    await store.commit(groups);
    changed += groups.reduce((sum, group) => sum + group.changes.length, 0);
  }
}

function keyOf(at: number): Uint8Array {
  const key = new Uint8Array(17);
  key[0] = 1;
  new DataView(key.buffer).setFloat64(9, at);
  return key;
}
