/** Archives: what bears the name is whole. */

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Partition } from "../../ring/ids.ts";
import { type ArchiveRecord, checkArchive, writeArchive } from "../../ring/io/store/archive.ts";

test("A1: of two backups to one file at once the later one gives its name to a whole archive, the earlier to none", async () => {
  const folder = await mkdtemp(join(tmpdir(), "taskring-archive-"));
  try {
    const path = join(folder, "archive");
    await writeArchive(path, records(1));
    let begun: () => void = () => undefined;
    let end: () => void = () => undefined;
    const laterBegins = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const laterEnds = new Promise<void>((resolve) => {
      end = resolve;
    });
    let later: Promise<unknown> | undefined;
    const earlier = writeArchive(
      path,
      records(3, async () => {
        later = writeArchive(
          path,
          records(2, () => {
            begun();
            return laterEnds;
          }),
        );
        await laterBegins;
      }),
    );
    expect(await earlier).toBeUndefined();
    expect(await checkArchive(path)).toMatchObject({ rows: 1 });
    end();
    await later;
    expect(await checkArchive(path)).toMatchObject({ rows: 2 });
    expect(await readdir(folder)).toEqual(["archive"]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("P5: a length that is damaged is refused as it is read, and the rest of the archive is not kept in memory", async () => {
  const folder = await mkdtemp(join(tmpdir(), "taskring-archive-"));
  try {
    const path = join(folder, "archive");
    await writeArchive(path, records(1));
    const bytes = await readFile(path);
    bytes.writeUInt32BE(3_000_000_000, 8 + 5); // of the first frame's value
    await writeFile(path, bytes);
    await expect(checkArchive(path)).rejects.toThrow(/a frame is too large/);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

async function* records(
  rows: number,
  last: () => Promise<void> = async () => undefined,
): AsyncGenerator<ArchiveRecord> {
  const value = Uint8Array.of(1);
  for (let row = 0; row < rows; row++)
    yield { type: "row", partition: 1 as Partition, key: Uint8Array.of(16, row), value };
  await last();
}
