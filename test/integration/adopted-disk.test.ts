/** An adopted directory whose disk does not answer: its own process is dead, and those that live are not to stand still for it. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import type { NodeName, Partition } from "../../ring/ids.ts";
import { AdoptedDirectories } from "../../ring/io/adopted.ts";
import { openDirectory, tryLockDirectory } from "../../ring/io/directory.ts";
import { EmbeddedStore } from "../../ring/io/store/embedded.ts";

test("P4: is given back once a transaction under way has ended: lmdb would hold up the whole process that opens it next", {
  timeout: 30_000,
}, async () => {
  await using broken = await brokenByItsDisk();
  const { adopted, member } = broken;
  let isReleased = false;
  const released = adopted.release(member.name).then(() => {
    isReleased = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(isReleased).toBe(false);
  expect(await tryLockDirectory(member.path)).toBeUndefined();
  broken.answer();
  await released;
  expect(await adopted.tryLock(member)).toMatchObject({ type: "held", copies: [{ partition: 1 }] });
});

test("P1: stays locked until then at the end of a node as well, which does not wait for it", {
  timeout: 30_000,
}, async () => {
  await using broken = await brokenByItsDisk();
  const { adopted, member } = broken;
  await adopted[Symbol.asyncDispose]();
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(await tryLockDirectory(member.path)).toBeUndefined();
  broken.answer();
  await vi.waitFor(async () => {
    await using locked = await tryLockDirectory(member.path);
    expect(locked).toBeDefined();
  }, 10_000);
});

test("is given back at the end of a node also when its files cannot be closed", async () => {
  const folder = await mkdtemp(join(tmpdir(), "taskring-adopted-"));
  const name = "n1" as NodeName;
  const path = join(folder, name);
  const made = await openDirectory(path, { name });
  await made.release();
  const adopted = new AdoptedDirectories({ warn: () => {}, error: () => {} });
  expect(await adopted.tryLock({ name, id: made.id, path })).toMatchObject({ type: "held" });
  const end = EmbeddedStore.prototype[Symbol.asyncDispose];
  const ending = vi.spyOn(EmbeddedStore.prototype, Symbol.asyncDispose).mockImplementation(async function (
    this: EmbeddedStore,
  ) {
    await end.call(this);
    throw new Error("EIO");
  });
  try {
    await adopted[Symbol.asyncDispose]();
    expect(ending).toHaveBeenCalled();
    await using locked = await tryLockDirectory(path);
    expect(locked).toBeDefined();
  } finally {
    ending.mockRestore();
    await rm(folder, { recursive: true, force: true });
  }
});

/** An adopted directory whose store broke because a transaction of its database does not end before `answer`. */
async function brokenByItsDisk() {
  const folder = await mkdtemp(join(tmpdir(), "taskring-adopted-"));
  const path = join(folder, "n1");
  const name = "n1" as NodeName;
  const log = { warn: () => {}, error: () => {} };
  const adopted = new AdoptedDirectories(log, { commitDeadlineMs: 500 });
  const made = await openDirectory(path, { name });
  const { id } = made;
  await made.release();
  expect(await adopted.tryLock({ name, id, path })).toMatchObject({ type: "held" });
  const hung = spawn(process.execPath, ["--input-type=module", "-e", HUNG, join(path, "store")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const answer = (): void => void hung.kill("SIGKILL");
  await once(hung.stdout, "data");
  const large = new Uint8Array(4 * 1024 * 1024);
  const partition = 1 as Partition;
  const term = { history: 1, generation: 1, opens: 1 };
  // More than two segments: the third waits for the first, which the database does not take.
  const commits = Array.from({ length: 8 }, (_, at) =>
    adopted.commit(name, [{ partition, term, changes: [{ key: Uint8Array.of(20, at), value: large }] }]),
  );
  expect(await Promise.allSettled(commits)).toContainEqual(
    expect.objectContaining({ reason: expect.objectContaining({ code: "STORE_BROKEN" }) }),
  );
  return {
    adopted,
    member: { name, id, path },
    answer,
    [Symbol.asyncDispose]: async () => {
      answer();
      await adopted[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Stands for a transaction that does not end: whoever begins another waits for it in the same way. */
const HUNG = `
  import { open } from "lmdb";
  const database = open({ path: process.argv[1], noSubdir: false, encoding: "binary", keyEncoding: "binary" });
  database.transactionSync(() => {
    process.stdout.write("hung");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);
  });
`;
