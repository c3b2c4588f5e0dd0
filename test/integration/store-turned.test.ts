/** A store that is looked at from beside while its journal's files take turns, at the one moment that counts. */

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Partition } from "../../ring/ids.ts";
import { openEmbeddedStore } from "../../ring/io/store/embedded.ts";
import { openOnline } from "../../ring/io/store/online.ts";

test("P1: a look that meets two segments in one file is taken again: rows of the first would be missing", async () => {
  const folder = await mkdtemp(join(tmpdir(), "taskring-turned-"));
  try {
    const directory = join(folder, "store");
    await using store = await openEmbeddedStore({ directory });
    const partition = 1 as Partition;
    const term = await store.open(partition, { history: 1, generation: 1 });
    const put = async (rows: number, kind: number): Promise<void> => {
      for (let row = 0; row < rows; row++)
        await store.commit([
          { partition, term, changes: [{ key: Uint8Array.of(kind, row), value: new Uint8Array(5_000) }] },
        ]);
    };
    const newestIsFirst = async (): Promise<boolean> => {
      const heads = await Promise.all([0, 1].map((file) => readFile(join(directory, `journal-${file}`))));
      return heads[0]!.readUIntLE(8, 6) > heads[1]!.readUIntLE(8, 6);
    };
    await store.settle();
    await put(1, 1);
    if (await newestIsFirst()) {
      await store.settle();
      await put(1, 2);
    }
    expect(await newestIsFirst()).toBe(false);
    await put(40, 3);
    let wasTurned = false;
    /** Between the beginning of the second file and the rest of it, once. */
    const turning = async (file: string): Promise<Uint8Array> => {
      const before = await readFile(file);
      if (wasTurned || !file.endsWith("journal-1")) return before;
      wasTurned = true;
      await store.settle();
      await put(1, 4);
      await store.settle();
      await put(100, 5);
      return Buffer.concat([before.subarray(0, BEGINNING_BYTES), (await readFile(file)).subarray(BEGINNING_BYTES)]);
    };
    await using look = await openOnline(directory, turning);
    expect(wasTurned).toBe(true);
    const { rows } = await look.page({ partition, prefix: Uint8Array.of(3), rowLimit: 100, byteLimit: 10_000_000 });
    expect(rows).toHaveLength(40);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("P1: a look at a segment that was cut to the usual size meanwhile is taken again: its rows would be missing", async () => {
  const folder = await mkdtemp(join(tmpdir(), "taskring-cut-"));
  try {
    const directory = join(folder, "store");
    await using store = await openEmbeddedStore({ directory });
    const partition = 1 as Partition;
    const term = await store.open(partition, { history: 1, generation: 1 });
    await store.settle(); // the database counts on no batch of what follows
    // One batch, larger than a segment usually is.
    const changes = [0, 1, 2, 3].map((row) => ({ key: Uint8Array.of(2, row), value: new Uint8Array(3_500_000) }));
    await store.commit([{ partition, term, changes }]);
    let isCut = false;
    /** Between the beginning of the look's transaction and the reading of the first file. */
    const cutting = async (file: string): Promise<Uint8Array> => {
      if (!isCut) await store.settle();
      isCut = true;
      return readFile(file);
    };
    await using look = await openOnline(directory, cutting);
    const { rows } = await look.page({ partition, rowLimit: 100, byteLimit: 100_000_000 });
    expect(rows).toHaveLength(4);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

const BEGINNING_BYTES = 65_536;
