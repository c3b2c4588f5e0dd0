/** Directories of dead processes that a node holds: for how long their locks are kept. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { NodeName } from "../../ring/ids.ts";
import { AdoptedDirectories } from "../../ring/io/adopted.ts";
import { openDirectory, tryLockDirectory } from "../../ring/io/directory.ts";
import { quiet } from "./api/fake-node.ts";

test("P1: a node that ends gives every lock back, also the one that it was about to take", async () => {
  const path = mkdtempSync(join(tmpdir(), "taskring-adopted-"));
  try {
    const dead = await openDirectory(path, { name: "dead" as NodeName });
    await dead.release();
    const adopted = new AdoptedDirectories(quiet);
    const taking = adopted.tryLock({ name: dead.name, id: dead.id, path });
    await adopted[Symbol.asyncDispose]();
    await taking;
    await using free = await tryLockDirectory(path);
    expect(free?.name).toBe("dead");
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
});
