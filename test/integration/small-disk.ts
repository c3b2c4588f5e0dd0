/** A file system of a few MiB in memory, for tests that fill a disk. Needs Linux and root. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface SmallDisk {
  readonly path: string;
  readonly remove: () => void;
}

/** A disk, or the line that says why there is none. Where `CI=true` on Linux there has to be one. */
export function mountSmallDisk(sizeMiB: number): SmallDisk | string {
  const path = mkdtempSync(join(tmpdir(), "taskring-disk-"));
  const mount = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${sizeMiB}m`, "tmpfs", path], { encoding: "utf8" });
  if (mount.status === 0) {
    return {
      path,
      remove: () => {
        spawnSync("umount", ["--lazy", path]);
        rmdirSync(path);
      },
    };
  }
  rmdirSync(path);
  const why = `skipped: a small disk needs Linux and root (${(mount.stderr ?? String(mount.error)).trim()})`;
  if (process.env.CI === "true" && process.platform === "linux") throw new Error(why);
  console.log(why);
  return why;
}
