/** The register's file on a disk that does not answer: its member cannot vote, and must not stand in the way of those that can. */

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { MemberId } from "../../ring/ids.ts";
import { giveBack, markStopping } from "../../ring/io/directory.ts";
import type { SyncHandle } from "../../ring/io/files.ts";
import { openRegisterFile, type RegisterFile } from "../../ring/io/register-file.ts";

let folder: string;
let isSilent: (what: "file" | "directory") => boolean;
let answer: () => void;
let register: RegisterFile;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "taskring-register-"));
  isSilent = () => false;
  const answered = new Promise<void>((resolve) => {
    answer = resolve;
  });
  const sync: SyncHandle = async (handle) => {
    if (isSilent((await handle.stat()).isDirectory() ? "directory" : "file")) await answered;
    await handle.sync();
  };
  register = await openRegisterFile(folder, { memberId: MEMBER, sync, answerDeadlineMs: 200 });
  await register.write(bytes("good"));
});

afterEach(async () => {
  answer();
  await register.letGo();
  await rm(folder, { recursive: true, force: true });
});

test("P7: breaks when a value is not answered in time, as after a failed write: the node ends, and another proposes ring changes", async () => {
  isSilent = (what) => what === "file";
  const writes = await Promise.allSettled([register.write(bytes("one")), register.write(bytes("two"))]);
  expect(writes.map((write) => write.status === "rejected" && write.reason.code)).toEqual([
    "STORE_BROKEN",
    "STORE_BROKEN",
  ]);
  expect(register.broken?.message).toContain("no answer from the disk");
  await expect(register.write(bytes("three"))).rejects.toMatchObject({ code: "STORE_BROKEN" });
});

test("P7: breaks when what was written does not take its place in time, and nothing later takes it before", async () => {
  isSilent = (what) => what === "directory";
  for (let at = 0; register.broken === undefined && at < 100; at++)
    await register.write(bytes(`value ${at}`)).catch(() => {});
  expect(register.broken?.message).toContain("no answer from the disk");
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(await readFile(join(folder, "register"), "latin1")).toContain("value 0");
});

test("is closed all the same, and its directory stays locked until the disk has answered: a late write could be over another's", async () => {
  isSilent = () => true;
  await expect(register.write(bytes("one"))).rejects.toMatchObject({ code: "STORE_BROKEN" });
  await register.close();
  const release = vi.fn(async () => {});
  await giveBack({ release }, register);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(release).not.toHaveBeenCalled();
  answer();
  await vi.waitFor(() => expect(release).toHaveBeenCalledOnce());
});

test("keeps no node from a planned stop: what has no mark in time ends as after a failed write", async () => {
  const marked = markStopping({
    directory: { writeMarker: () => new Promise(() => {}) },
    log: { warn: () => {} },
    deadlineMs: 200,
  });
  const late = new Promise((resolve) => setTimeout(resolve, 3_000, "it still waits"));
  await expect(Promise.race([marked, late])).rejects.toThrow("no answer from the disk");
});

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

const MEMBER = "0123456789abcdef0123456789abcdef" as MemberId;
