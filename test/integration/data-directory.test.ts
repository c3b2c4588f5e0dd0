/** The lock of a data directory, held by real processes; and the register file, where a lost or older value may cost the ring. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import type { MemberId, NodeName } from "../../ring/ids.ts";
import {
  isDirectoryInUse,
  isNetworkFileSystem,
  isNetworkType,
  MARKER_KINDS,
  openDirectory,
  readMarker,
  tryLockDirectory,
  waitForLock,
} from "../../ring/io/directory.ts";
import { openRegisterFile } from "../../ring/io/register-file.ts";
import type { StoreLog } from "../../ring/io/store/log.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

describe("data directory", () => {
  test("a new directory gets a random id, keeps it, and refuses another name", async () => {
    const path = join(temporaryDirectory(), "deep", "data");
    const first = await openDirectory(path, { name: NAME });
    expect(first.isNew).toBe(true);
    expect(first.id).toMatch(/^[0-9a-f]{32}$/);
    await first.release();
    const second = await openDirectory(path, { name: NAME });
    expect([second.id, second.isNew]).toEqual([first.id, false]);
    await second.release();
    await expect(openDirectory(path, { name: "other" as NodeName })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: /belongs to node holder/,
    });
    const other = await openDirectory(temporaryDirectory(), { name: NAME });
    expect(other.id).not.toBe(first.id);
    await other.release();
  });

  test("a damaged member file or a newer format is a fault, not a fresh start", async () => {
    const path = temporaryDirectory();
    await (await openDirectory(path, { name: NAME })).release();
    const file = join(path, "member.json");
    const good = readFileSync(file, "utf8");
    for (const content of ["", "{", "null", good.replace(/"id":"./, '"id":"X')]) {
      writeFileSync(file, content);
      await expect(openDirectory(path, { name: NAME })).rejects.toMatchObject({ code: "STORE_BROKEN" });
    }
    writeFileSync(file, good.replace('"version":1', '"version":2'));
    await expect(openDirectory(path, { name: NAME })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: /newer/,
    });
    writeFileSync(file, good);
    await (await openDirectory(path, { name: NAME })).release();
  });

  test("a directory whose member file is lost is a fault, and gets no new identity", async () => {
    const path = temporaryDirectory();
    const directory = await openDirectory(path, { name: NAME });
    await (await openRegisterFile(path, { memberId: directory.id })).write(Uint8Array.of(1));
    await directory.release();
    rmSync(join(path, "member.json"));
    await expect(openDirectory(path, { name: NAME })).rejects.toMatchObject({
      code: "STORE_BROKEN",
      message: /is lost/,
    });
    expect(existsSync(join(path, "member.json"))).toBe(false);
  });

  test("P7: a lock file that somebody removed proves no death, and lets no second process in", async () => {
    const path = temporaryDirectory();
    const holder = await startHolder(path);
    rmSync(join(path, "lock"));
    await expect(tryLockDirectory(path)).rejects.toMatchObject({ code: "STORE_BROKEN", message: /was removed/ });
    await expect(openDirectory(path, { name: NAME })).rejects.toMatchObject({ code: "STORE_BROKEN" });
    expect(existsSync(join(path, "lock"))).toBe(false);
    await kill(holder);
    writeFileSync(join(path, "lock"), "");
    await (await openDirectory(path, { name: NAME })).release();
  });

  test("P7: a second process is refused and told which one has the directory", async () => {
    const path = temporaryDirectory();
    const holder = await startHolder(path);
    const error = await openDirectory(path, { name: NAME }).catch((reason: unknown) => reason);
    expect(isDirectoryInUse(error)).toBe(true);
    expect((error as Error).message).toContain(`process ${holder.pid}`);
    expect(await tryLockDirectory(path)).toBeUndefined();
    await kill(holder);
    await (await openDirectory(path, { name: NAME })).release();
  });

  test("two openers in one process are refused as well", async () => {
    const path = temporaryDirectory();
    const first = await openDirectory(path, { name: NAME });
    await expect(openDirectory(path, { name: NAME })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await first.release();
    await (await openDirectory(path, { name: NAME })).release();
  });

  test("P7: the lock is free once its process is dead by SIGKILL, also while a child of it lives, and not while it is stopped", async () => {
    const path = temporaryDirectory();
    const holder = await startHolder(path, "child");
    expect(holder.child).toBeGreaterThan(0);
    cleanups.push(() => process.kill(holder.child!));
    process.kill(holder.pid, "SIGSTOP");
    expect(await tryLockDirectory(path)).toBeUndefined();
    await kill(holder);
    process.kill(holder.child!, 0);
    const adopted = await tryLockDirectory(path);
    expect(adopted?.id).toBe(holder.id);
    await adopted!.release();
  });

  test("a restarted process waits for the end of an adoption, and gives up at its deadline or signal", async () => {
    const path = temporaryDirectory();
    const adopter = await openDirectory(path, { name: NAME });
    await expect(waitForLock(path, { name: NAME, deadlineMs: 60 })).rejects.toMatchObject({ code: "DEADLINE" });
    const controller = new AbortController();
    const aborted = waitForLock(path, { name: NAME, deadlineMs: 60_000, signal: controller.signal });
    controller.abort(new Error("stopped"));
    await expect(aborted).rejects.toThrow();
    const waiting = waitForLock(path, { name: NAME, deadlineMs: 60_000 });
    await adopter.release();
    const restarted = await waiting;
    expect(restarted.id).toBe(adopter.id);
    await restarted.release();
  });

  test("a directory that is not one of ours is not adopted", async () => {
    await expect(tryLockDirectory(temporaryDirectory())).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(tryLockDirectory("/nonexistent/path")).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  test("a marker can be read without the lock, is cleared, and means nothing when it is illegible", async () => {
    const path = temporaryDirectory();
    const directory = await openDirectory(path, { name: NAME });
    expect(await readMarker(path, "stopping")).toBeUndefined();
    await directory.writeMarker("stopping", "x".repeat(5000));
    expect(await readMarker(path, "stopping")).toMatchObject({
      kind: "stopping",
      pid: process.pid,
      detail: "x".repeat(1000),
    });
    expect(await readMarker(path, "left")).toBeUndefined();
    await directory.clearMarker("stopping");
    expect(await directory.readMarker("stopping")).toBeUndefined();
    for (const kind of MARKER_KINDS) {
      await directory.writeMarker(kind, "7");
      expect(await directory.readMarker(kind)).toMatchObject({ kind, detail: "7" });
      await directory.clearMarker(kind);
    }
    await directory.writeMarker("stopping");
    copyFileSync(join(path, "marker-stopping.json"), join(path, "marker-left.json"));
    writeFileSync(join(path, "marker-stopping.json"), "{");
    expect(await readMarker(path, "stopping")).toBeUndefined();
    expect(await readMarker(path, "left")).toBeUndefined();
    await directory.release();
    await expect(directory.writeMarker("left")).rejects.toMatchObject({ code: "STORE_BROKEN" });
  });

  test("network file systems are known by their type", async () => {
    expect([0x6969, 0xff534d42, -11317950, 0x65735546, 0x01021994, 0xef53, 0x58465342].map(isNetworkType)).toEqual([
      true,
      true,
      true,
      true,
      false,
      false,
      false,
    ]);
    expect(typeof (await isNetworkFileSystem(tmpdir()))).toBe("boolean");
  });
});

describe("register file", () => {
  test("P7: the newest synced value is read back, over many writes and openings", async () => {
    const path = temporaryDirectory();
    for (let round = 1; round <= 5; round += 1) {
      const register = await openRegisterFile(path, { memberId: MEMBER });
      expect(text(register.read())).toBe(round === 1 ? undefined : `value ${round - 1}`);
      await register.write(bytes(`value ${round}`));
      expect(text(register.read())).toBe(`value ${round}`);
      expect(register.sequence).toBe(round);
      await register.close();
    }
    expect(readdirSync(path).sort()).toEqual(["register", "register-made"]);
  });

  test("while a write is under way only the newest waits, and all are answered by it", async () => {
    const register = await openRegisterFile(temporaryDirectory(), { memberId: MEMBER });
    const given = bytes("given");
    const writes = [
      register.write(given),
      ...Array.from({ length: 50 }, (_, at) => register.write(bytes(`value ${at}`))),
    ];
    given.fill(0);
    await Promise.all(writes);
    expect(text(register.read())).toBe("value 49");
    expect(register.sequence).toBe(2);
    await register.close();
  });

  test("P7: after the first failed sync every write is rejected, and a value that was not synced is never shown", async () => {
    const path = temporaryDirectory();
    let failing = false;
    const sync = async (handle: { sync(): Promise<void> }): Promise<void> => {
      if (failing) throw Object.assign(new Error("i/o error"), { code: "EIO" });
      await handle.sync();
    };
    const register = await openRegisterFile(path, { memberId: MEMBER, sync });
    await register.write(bytes("good"));
    failing = true;
    const results = await Promise.allSettled([register.write(bytes("one")), register.write(bytes("two"))]);
    failing = false;
    expect(results.map((result) => result.status === "rejected" && result.reason.code)).toEqual([
      "STORE_BROKEN",
      "STORE_BROKEN",
    ]);
    await expect(register.write(bytes("three"))).rejects.toMatchObject({ code: "STORE_BROKEN" });
    expect(text(register.read())).toBe("good");
    await register.close();
    expect(text((await openRegisterFile(path, { memberId: MEMBER })).read())).toBe("good");
  });

  test("P7: values of any size take each other's place", async () => {
    const path = temporaryDirectory();
    const sizes = [1, 100_000, 10, 1_000_000, 0, 20_000];
    for (const inOne of [true, false]) {
      let register = await openRegisterFile(path, { memberId: MEMBER });
      for (const length of sizes) {
        await register.write(new Uint8Array(length).fill(7));
        if (inOne) continue;
        await register.close();
        register = await openRegisterFile(path, { memberId: MEMBER });
        expect(Buffer.compare(register.read()!, new Uint8Array(length).fill(7))).toBe(0);
      }
      await register.close();
      expect(readdirSync(path).sort()).toEqual(["register", "register-made"]);
      const last = (await openRegisterFile(path, { memberId: MEMBER })).read()!;
      expect(Buffer.compare(last, new Uint8Array(20_000).fill(7))).toBe(0);
    }
  });

  test("P7: damage anywhere in the file is an error, never an older value or none", async () => {
    const path = temporaryDirectory();
    const register = await openRegisterFile(path, { memberId: MEMBER });
    await register.write(bytes("old"));
    await register.write(bytes("new"));
    await register.close();
    const file = join(path, "register");
    const good = readFileSync(file);
    // Every byte of the record, and some of the zeros behind it.
    for (let at = 0; at < good.length; at += at < 200 ? 1 : 211) {
      const bad = Buffer.from(good);
      bad[at] = bad[at]! ^ 4;
      writeFileSync(file, bad);
      await expect(openRegisterFile(path, { memberId: MEMBER })).rejects.toMatchObject({ code: "STORE_BROKEN" });
    }
    for (const length of [0, 1, 30, good.findLastIndex((byte) => byte !== 0)]) {
      writeFileSync(file, good.subarray(0, length));
      await expect(openRegisterFile(path, { memberId: MEMBER })).rejects.toMatchObject({
        code: "STORE_BROKEN",
        message: /damaged/,
      });
    }
    writeFileSync(file, good);
    expect(text((await openRegisterFile(path, { memberId: MEMBER })).read())).toBe("new");
  });

  test("P7: a register that is lost, another member's, or restored from backup is refused", async () => {
    const path = temporaryDirectory();
    const register = await openRegisterFile(path, { memberId: MEMBER });
    await register.write(bytes("old"));
    const backup = temporaryDirectory();
    cpSync(path, backup, { recursive: true, preserveTimestamps: true });
    await register.write(bytes("new"));
    await register.close();
    const file = join(path, "register");
    await expect(openRegisterFile(path, { memberId: "other" as MemberId })).rejects.toMatchObject({
      code: "STORE_BROKEN",
      message: /belongs to member/,
    });
    await expect(openRegisterFile(backup, { memberId: MEMBER })).rejects.toMatchObject({
      code: "STORE_BROKEN",
      message: /copy/,
    });
    renameSync(file, `${file}-away`);
    await expect(openRegisterFile(path, { memberId: MEMBER })).rejects.toMatchObject({
      code: "STORE_BROKEN",
      message: /lost/,
    });
    copyFileSync(join(backup, "register"), file);
    await expect(openRegisterFile(path, { memberId: MEMBER })).rejects.toMatchObject({
      code: "STORE_BROKEN",
      message: /copy/,
    });
    renameSync(`${file}-away`, file);
    expect(text((await openRegisterFile(path, { memberId: MEMBER })).read())).toBe("new");
  });

  test("P7: a value that was acknowledged is there when a crash comes before it has taken its place", async () => {
    const path = temporaryDirectory();
    let isStuck = false;
    const sync = async (handle: FileHandle): Promise<void> => {
      if (isStuck && (await handle.stat()).isDirectory()) await new Promise(() => {});
      await handle.sync();
    };
    const register = await openRegisterFile(path, { memberId: MEMBER, sync });
    await register.write(bytes("old"));
    const spares = besideIn(path).length;
    expect(spares).toBeGreaterThan(1);
    isStuck = true;
    await register.write(bytes("newer"));
    for (let more = spares - 2; more > 0; more--) await register.write(bytes(`${more} more`));
    await register.write(bytes("newest"));
    await expect.poll(() => readFileSync(join(path, "register")).includes("newer")).toBe(true);
    // A file whose name may not outlive a crash is not written to.
    await expect.poll(() => besideIn(path).length).toBeGreaterThanOrEqual(spares);
    await new Promise((resolve) => setTimeout(resolve, 50));
    let isWritten = false;
    const beyond = register.write(bytes("beyond")).then(() => {
      isWritten = true;
    });
    beyond.catch(() => {}); // long after the test its disk is given up
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(isWritten).toBe(false);
    const reopened = await openRegisterFile(path, { memberId: MEMBER });
    expect(text(reopened.read())).toBe("newest");
    expect(reopened.sequence).toBe(1 + spares);
    expect(besideIn(path)).toEqual([]);
    await reopened.write(bytes("last"));
    await reopened.close();
    expect(text((await openRegisterFile(path, { memberId: MEMBER })).read())).toBe("last");
  });

  test("a disk that has no room even for a file that was made ahead is waited for; after another failure it is broken", async () => {
    const path = temporaryDirectory();
    const failures: string[] = [];
    const sync = async (handle: FileHandle): Promise<void> => {
      const code = (await handle.stat()).isFile() ? failures.shift() : undefined;
      if (code !== undefined) throw Object.assign(new Error(code), { code });
      await handle.sync();
    };
    const register = await openRegisterFile(path, { memberId: MEMBER, sync });
    await register.write(bytes("old"));
    failures.push("ENOSPC", "ENOSPC");
    await register.write(bytes("newer"));
    expect(failures).toEqual([]);
    expect(register.broken).toBeUndefined();
    await register.close();
    const reopened = await openRegisterFile(path, { memberId: MEMBER, sync });
    expect(text(reopened.read())).toBe("newer");
    failures.push("ENOSPC", "EIO");
    await expect(reopened.write(bytes("newest"))).rejects.toMatchObject({ code: "STORE_BROKEN" });
  });

  test("P7: what a crash left beside the file is on the disk before it takes the place of what is there", async () => {
    const path = temporaryDirectory();
    let isStuck = false;
    const register = await openRegisterFile(path, {
      memberId: MEMBER,
      sync: async (handle) => {
        if (isStuck) await new Promise(() => {});
        await handle.sync();
      },
    });
    await register.write(bytes("old"));
    isStuck = true;
    register.write(bytes("newer")).catch(() => {}); // its process dies when all of it is written, and nothing of it is synced
    const left = (): string | undefined =>
      besideIn(path).find((name) => readFileSync(join(path, name)).includes("newer"));
    await expect.poll(left).toBeDefined();
    const { ino } = statSync(join(path, left()!));
    const synced: { readonly isLeft: boolean; readonly isInPlace: boolean }[] = [];
    const sync = async (handle: FileHandle): Promise<void> => {
      const isInPlace = statSync(join(path, "register")).ino === ino;
      synced.push({ isLeft: (await handle.stat()).ino === ino, isInPlace });
      await handle.sync();
    };
    const reopened = await openRegisterFile(path, { memberId: MEMBER, sync });
    expect(text(reopened.read())).toBe("newer");
    expect(synced).toEqual([
      { isLeft: true, isInPlace: false },
      { isLeft: false, isInPlace: true },
    ]);
  });

  test("P7: what a crash leaves of a write that nobody was told of is passed over; a copy is not", async () => {
    const path = temporaryDirectory();
    const register = await openRegisterFile(path, { memberId: MEMBER });
    await register.write(bytes("old"));
    await register.close();
    const good = readFileSync(join(path, "register"));
    writeFileSync(join(path, "register.new1"), good.subarray(0, 40));
    writeFileSync(join(path, "register.new2"), new Uint8Array(good.length));
    const warnings: string[] = [];
    const log: StoreLog = { error: () => {}, warn: (_, message) => void warnings.push(message) };
    expect(text((await openRegisterFile(path, { memberId: MEMBER, log })).read())).toBe("old");
    expect(warnings).toEqual([expect.stringContaining("under way")]);
    expect(readdirSync(path).sort()).toEqual(["register", "register-made"]);
    writeFileSync(join(path, "register.new1"), good);
    await expect(openRegisterFile(path, { memberId: MEMBER })).rejects.toMatchObject({ message: /copy/ });
  });

  test("P7: a place that cannot be taken breaks it for the next write, and what was acknowledged stays", async () => {
    const path = temporaryDirectory();
    let failing = false;
    const sync = async (handle: FileHandle): Promise<void> => {
      if (failing && (await handle.stat()).isDirectory()) throw Object.assign(new Error("i/o error"), { code: "EIO" });
      await handle.sync();
    };
    const register = await openRegisterFile(path, { memberId: MEMBER, sync });
    await register.write(bytes("old"));
    failing = true;
    await register.write(bytes("new"));
    await expect.poll(() => register.broken).toMatchObject({ code: "STORE_BROKEN" });
    await expect(register.write(bytes("newer"))).rejects.toMatchObject({ code: "STORE_BROKEN" });
    await register.close();
    expect(besideIn(path)).toEqual([]);
    expect(text((await openRegisterFile(path, { memberId: MEMBER })).read())).toBe("new");
  });

  test("P7: after SIGKILL at random moments the register holds the newest acknowledged value or the one under way", {
    timeout: 30_000,
  }, async () => {
    const path = temporaryDirectory();
    let acknowledged = 0;
    for (let round = 0; round < 8; round += 1) {
      const child = spawn(process.execPath, [fixture("register-writer.mjs"), path, MEMBER], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      let output = "";
      child.stdout.setEncoding("utf8");
      child.stdout.on("data", (chunk: string) => {
        if (output === "") setTimeout(() => child.kill("SIGKILL"), Math.random() * 40);
        output += chunk;
      });
      await once(child, "close");
      const last = Number(output.split("\n").at(-2));
      expect(last).toBeGreaterThan(acknowledged);
      acknowledged = last;
      const found = (await openRegisterFile(path, { memberId: MEMBER })).read()!;
      const value = Number(text(found.subarray(0, 16)));
      expect([acknowledged, acknowledged + 1]).toContain(value);
      expect(found.length).toBe(16 * (1 + ((value * 37) % 3000)));
    }
    expect(existsSync(join(path, "register"))).toBe(true);
  });
});

interface Holder {
  readonly process: ChildProcess;
  readonly pid: number;
  readonly id: string;
  readonly child?: number;
}

async function startHolder(path: string, ...rest: string[]): Promise<Holder> {
  const child = spawn(process.execPath, [fixture("directory-holder.mjs"), path, ...rest], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  cleanups.push(() => child.kill("SIGKILL"));
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  return { process: child, pid: child.pid!, ...(JSON.parse(String(line)) as { id: string; child?: number }) };
}

async function kill(holder: Holder): Promise<void> {
  const gone = once(holder.process, "exit");
  holder.process.kill("SIGKILL");
  await gone;
}

function besideIn(path: string): string[] {
  return readdirSync(path).filter((name) => name.startsWith("register.new"));
}

function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), "taskring-directory-"));
  cleanups.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function fixture(name: string): string {
  return resolve("test/fixtures", name);
}

function bytes(content: string): Uint8Array {
  return new TextEncoder().encode(content);
}

function text(content: Uint8Array | undefined): string | undefined {
  return content && new TextDecoder().decode(content);
}

const NAME = "holder" as NodeName;
const MEMBER = "0123456789abcdef0123456789abcdef" as MemberId;
