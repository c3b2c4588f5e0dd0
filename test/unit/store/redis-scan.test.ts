/** Pages of partitions in Redis, of which a node that takes many over reads many at once. */

import { expect, test } from "vitest";
import type { Partition } from "../../../ring/ids.ts";
import type { RedisLink } from "../../../ring/io/store/redis/link.ts";
import { Scans } from "../../../ring/io/store/redis/scan.ts";

const [PARTITIONS, ROWS, PAGE] = [24, 400, 20];

/** A Redis with so many rows in each partition; `reads`: how often one was read from its beginning. */
function scansOf(): { readonly scans: Scans; readonly reads: () => number; readonly held: () => number } {
  let [reads, reading, heldMost] = [0, 0, 0];
  const rows = Array.from({ length: ROWS }, (_, number) => [Buffer.from([0x10, number >> 8, number & 255]), BYTES]);
  const call = async (_command: string, [, cursor]: readonly unknown[]): Promise<unknown> => {
    const from = Number(cursor);
    if (from === 0) {
      reads++;
      reading++;
      heldMost = Math.max(heldMost, reading);
    }
    await new Promise((resolve) => setImmediate(resolve));
    const to = from + ROWS / 2;
    if (to === ROWS) reading--;
    return [Buffer.from(to === ROWS ? "0" : String(to)), rows.slice(from, to).flat()];
  };
  const scans = new Scans({ call } as unknown as RedisLink, (partition) => [`p${partition}`, `p${partition}:index`]);
  return { scans, reads: () => reads, held: () => heldMost };
}

async function load(scans: Scans, partition: Partition): Promise<number> {
  let rows = 0;
  for (let after: Uint8Array | undefined, isOver = false; !isOver; ) {
    const page = await scans.page({ partition, rowLimit: PAGE, byteLimit: 1e9, ...(after && { after }) });
    rows += page.rows.length;
    after = page.next;
    isOver = after === undefined;
    await new Promise((resolve) => setImmediate(resolve)); // others have their turn
  }
  return rows;
}

test("P5: each of many partitions that are loaded at once is read from Redis once, a few at a time", async () => {
  const { scans, reads, held } = scansOf();
  const loads = Array.from({ length: PARTITIONS }, (_, partition) => load(scans, partition as Partition));
  expect(new Set(await Promise.all(loads))).toEqual(new Set([ROWS]));
  expect(reads()).toBe(PARTITIONS);
  expect(held()).toBeLessThanOrEqual(4);
});

test("those that nobody asks for any more hold up the others for a moment only", async () => {
  const { scans, reads } = scansOf();
  for (let partition = 0; partition < 4; partition++)
    await scans.page({ partition: partition as Partition, rowLimit: PAGE, byteLimit: 1e9 });
  expect(await load(scans, 9 as Partition)).toBe(ROWS);
  expect(reads()).toBe(5);
});

const BYTES = Buffer.alloc(10);
