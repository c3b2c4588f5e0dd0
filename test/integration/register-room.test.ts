/** The register's file on a disk that is full to the last byte. */

import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, truncateSync, writeSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { MemberId, NodeName } from "../../ring/ids.ts";
import { openDirectory, tryLockDirectory } from "../../ring/io/directory.ts";
import { openRegisterFile, type RegisterFile, type RegisterFileOptions } from "../../ring/io/register-file.ts";
import type { StoreLog } from "../../ring/io/store/log.ts";
import { mountSmallDisk } from "./small-disk.ts";

const disk = mountSmallDisk(1);
const isMounted = typeof disk !== "string";
afterAll(() => isMounted && disk.remove());

describe.skipIf(!isMounted)("the register's file on a full disk", () => {
  test("P7: a value waits for room, whoever asked for it is answered then, and the newest is what is kept", async () => {
    const warnings: string[] = [];
    const { path, register } = await opened({ log: logTo(warnings) });
    await register.write(bytes("before"));
    const room = await fillUp(path, register);
    let isWritten = false;
    const first = register.write(LARGE).then(() => {
      isWritten = true;
    });
    await expect.poll(() => warnings).toEqual([expect.stringContaining("the disk is full")]);
    const second = register.write(bytes("last"));
    expect(isWritten).toBe(false);
    expect(text(register)).toBe("before");
    expect(readdirSync(path).filter((name) => name.startsWith("register.new"))).toEqual([]);
    room();
    await Promise.all([first, second]);
    expect(register.broken).toBeUndefined();
    await register.close();
    const again = await openRegisterFile(path, { memberId: MEMBER });
    expect(text(again)).toBe("last");
    await again.close();
  });

  test("the lock of a directory is taken on a full disk as well: its text is for people only", async () => {
    const { path, register } = await opened({});
    await (await openDirectory(path, { name: "a" as NodeName })).release();
    const lock = join(path, "lock");
    truncateSync(lock, 0); // as if another had taken the room of what was there
    const room = await fillUp(path, register);
    const directory = await tryLockDirectory(path);
    expect(directory?.name).toBe("a");
    expect(await tryLockDirectory(path)).toBeUndefined();
    await directory?.release();
    room();
    await register.close();
  });

  test("without room for long it breaks, what it held stays, and a restart goes on", async () => {
    const { path, register } = await opened({ roomDeadlineMs: 0 });
    await register.write(bytes("before"));
    const room = await fillUp(path, register);
    await expect(register.write(LARGE)).rejects.toMatchObject({ code: "STORE_BROKEN" });
    await register.close();
    room();
    const again = await openRegisterFile(path, { memberId: MEMBER });
    expect(text(again)).toBe("before");
    await again.write(LARGE);
    await again.close();
  });

  test("closing it ends the wait", async () => {
    const warnings: string[] = [];
    const { path, register } = await opened({ log: logTo(warnings) });
    await register.write(bytes("before"));
    const room = await fillUp(path, register);
    const written = register.write(LARGE);
    const refused = expect(written).rejects.toMatchObject({ code: "STORE_BROKEN" });
    await expect.poll(() => warnings).toHaveLength(1);
    await register.close();
    await refused;
    room();
  });
});

async function opened(options: Partial<RegisterFileOptions>): Promise<{ path: string; register: RegisterFile }> {
  const path = mkdtempSync(join((disk as { path: string }).path, "data-"));
  return { path, register: await openRegisterFile(path, { memberId: MEMBER, ...options }) };
}

function logTo(warnings: string[]): StoreLog {
  return { error: () => {}, warn: (_, message) => void warnings.push(message) };
}

/** Leaves not a byte for a file larger than the spare one. Gives the room back when it is called. */
async function fillUp(path: string, register: RegisterFile): Promise<() => void> {
  await register.write(bytes("before")); // the spare file of the write before is there
  const file = join(path, "filler");
  const handle = openSync(file, "w");
  const block = new Uint8Array(4_096);
  try {
    while (writeSync(handle, block) === block.length);
  } catch (error) {
    expect(error).toMatchObject({ code: "ENOSPC" });
  }
  closeSync(handle);
  return () => rmSync(file);
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function text(register: RegisterFile): string {
  return new TextDecoder().decode(register.read());
}

const MEMBER = "0123456789abcdef0123456789abcdef" as MemberId;
/** More than the file that lies ready has room for. */
const LARGE = new Uint8Array(64 * 1024);
