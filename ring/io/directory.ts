/**
 * The data directory of one member: what lies where, who it belongs to, and the lock that proves whether its process lives.
 *
 *   lock            locked while a process serves the directory; its text (pid) is for people only
 *   member.json     the member's name and random id, made with the directory (ownership rule 4)
 *   marker-*.json   what the last process said before it went, e.g. that it stopped on purpose, or where its peers were
 *   store/          the embedded store        register        the acceptor's file (`register-file.ts`)
 *
 * L1  The lock belongs to an open file, not to a pid: the kernel frees it when the process dies, at kill -9 too, and
 *     also while a child of it lives on (Node opens files close-on-exec). So holding it proves the death (ownership rule 16).
 * L2  Only the lock's holder writes into the directory. Markers are read without it.
 */

import { randomBytes } from "node:crypto";
import { type FileHandle, open, readdir, statfs } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import locks from "fs-native-extensions";
import * as v from "valibot";
import { RingError } from "../errors.ts";
import { type MemberId, type NodeName, parseNodeName } from "../ids.ts";
import { isDiskFull, makeDirectory, readFileIfThere, removeFile, replaceFile } from "./files.ts";
import { withDeadline } from "./store/failure.ts";
import type { StoreLog } from "./store/log.ts";

/** What a process says about its directory. */
export type MarkerKind = (typeof MARKER_KINDS)[number];

export interface Marker {
  readonly kind: MarkerKind;
  readonly pid: number;
  /** Wall clock, for people: decides nothing. */
  readonly at: string;
  /** At most 1,000 characters. */
  readonly detail?: string;
}

/** A locked data directory. Disposing frees the lock. */
export interface DataDirectory extends AsyncDisposable {
  /** Absolute. */
  readonly path: string;
  readonly name: NodeName;
  readonly id: MemberId;
  /** Made by this very call: nothing was here before. */
  readonly isNew: boolean;
  readonly storePath: string;
  writeMarker(kind: MarkerKind, detail?: string): Promise<void>;
  readMarker(kind: MarkerKind): Promise<Marker | undefined>;
  clearMarker(kind: MarkerKind): Promise<void>;
  release(): Promise<void>;
}

/**
 * Opens or makes the directory of the member `name` and locks it.
 * Throws `INVALID_ARGUMENT` that `isDirectoryInUse` knows, with the pid, while another process has it; also
 * `INVALID_ARGUMENT` when it belongs to another name or was written by a newer version, `STORE_BROKEN` when its member's file
 * or its lock is lost.
 */
export async function openDirectory(path: string, options: { readonly name: NodeName }): Promise<DataDirectory> {
  const absolute = resolve(path);
  await makeDirectory(absolute);
  const lock = await takeLock(absolute, { isMade: (await readMember(absolute)) !== undefined });
  if (lock === undefined) throw await inUse(absolute);
  try {
    const known = await readMember(absolute);
    if (known === undefined) {
      await refuseNameless(absolute);
      const member: MemberRecord = { version: MEMBER_VERSION, name: options.name, id: randomBytes(16).toString("hex") };
      await replaceFile(join(absolute, MEMBER), { content: async () => encodeJson(member) });
      return new LockedDirectory(absolute, lock, member, true);
    }
    if (known.name !== options.name) {
      throw new RingError(
        "INVALID_ARGUMENT",
        `${absolute} belongs to node ${known.name}, not to ${options.name}: pass its name or another --data`,
      );
    }
    return new LockedDirectory(absolute, lock, known, false);
  } catch (error) {
    await lock.close();
    throw error;
  }
}

/**
 * For adopters: the directory if its process is dead, undefined while it lives. Throws `NOT_FOUND` when it is no data directory,
 * `STORE_BROKEN` when its lock is gone.
 */
export async function tryLockDirectory(path: string): Promise<DataDirectory | undefined> {
  const absolute = resolve(path);
  const known = await readMember(absolute);
  if (known === undefined) throw new RingError("NOT_FOUND", `${absolute} is not a data directory`);
  const lock = await takeLock(absolute, { isMade: true });
  return lock && new LockedDirectory(absolute, lock, known, false);
}

/**
 * For a restarted process: waits until an adoption of its directory is over, then opens it.
 * Throws `DEADLINE`, or the signal's reason, when that takes too long.
 */
export async function waitForLock(
  path: string,
  options: { readonly name: NodeName; readonly deadlineMs: number; readonly signal?: AbortSignal },
): Promise<DataDirectory> {
  const end = performance.now() + options.deadlineMs;
  for (;;) {
    options.signal?.throwIfAborted();
    try {
      return await openDirectory(path, options);
    } catch (error) {
      if (!isDirectoryInUse(error)) throw error;
      if (performance.now() + POLL_MS > end) {
        throw new RingError("DEADLINE", `${(error as Error).message}; waited ${options.deadlineMs} ms`, {
          cause: error,
        });
      }
    }
    // Not the library's own wait: that parks a thread which nothing can cancel.
    await delay(POLL_MS, undefined, options.signal && { signal: options.signal });
  }
}

/** What a peer said before it went; undefined for nothing, or nothing legible, which means a death. */
export async function readMarker(path: string, kind: MarkerKind): Promise<Marker | undefined> {
  const bytes = await readFileIfThere(join(resolve(path), markerFile(kind)));
  const marker = bytes && parseJson(MARKER, bytes);
  if (marker === undefined || marker.kind !== kind) return undefined;
  const { pid, at, detail } = marker;
  return detail === undefined ? { kind, pid, at } : { kind, pid, at, detail };
}

/**
 * A full disk is no fault: the peers have been told of the stop, and a directory without the mark is adopted as after a death. One that
 * does not answer is, as for a store: what has been told to stop starts nothing more, and nobody takes over while it is there.
 */
export async function markStopping({
  directory,
  log,
  deadlineMs = MARK_DEADLINE_MS,
}: {
  readonly directory: Pick<DataDirectory, "writeMarker">;
  readonly log: Pick<StoreLog, "warn">;
  readonly deadlineMs?: number;
}): Promise<void> {
  try {
    await withDeadline(directory.writeMarker("stopping"), deadlineMs);
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    log.warn({ err: error }, "the disk has no room for the mark of a planned stop");
  }
}

/**
 * Gives the lock back at the end of a node, which may not wait for a disk that does not answer. The lock does: until then whoever opened
 * what it guards would do so in the middle of a write.
 */
export async function giveBack(
  directory: Pick<DataDirectory, "release">,
  ...guarded: readonly (Guarded | undefined)[]
): Promise<void> {
  const broken = guarded.filter((each) => each?.broken !== undefined);
  if (broken.length === 0) return directory.release();
  const given = Promise.all(broken.map((each) => each?.letGo())).then(() => directory.release());
  given.catch(() => {}); // the kernel does, when the process ends (L1)
}

/** A store, or the register's file. */
interface Guarded {
  readonly broken: Error | undefined;
  letGo(): Promise<void>;
}

/** The pid that the lock's holder wrote, for messages only (L1). */
export async function lockHolder(path: string): Promise<number | undefined> {
  const bytes = await readFileIfThere(join(resolve(path), LOCK));
  const pid = Number(bytes && new TextDecoder().decode(bytes.subarray(0, 20)).trim());
  return Number.isInteger(pid) && pid > 0 ? pid : undefined;
}

/**
 * Whether locks on this path may be those of another machine, or not be told of its death: then nobody adopts it.
 * Known on Linux only; elsewhere false (adoption across machines does not arise: peers compare machine ids first).
 */
export async function isNetworkFileSystem(path: string): Promise<boolean> {
  if (process.platform !== "linux") return false;
  const { type } = await statfs(path);
  return isNetworkType(type);
}

/** By the `f_type` of statfs(2). */
export function isNetworkType(type: number): boolean {
  return NETWORK_TYPES.has(type >>> 0);
}

export function isDirectoryInUse(error: unknown): boolean {
  return error instanceof RingError && error.cause instanceof DirectoryInUse;
}

/** The cause of the error that a second process gets. */
class DirectoryInUse extends Error {}

class LockedDirectory implements DataDirectory {
  readonly path: string;
  readonly name: NodeName;
  readonly id: MemberId;
  readonly isNew: boolean;
  readonly storePath: string;
  #lock: FileHandle | undefined;

  constructor(path: string, lock: FileHandle, member: MemberRecord, isNew: boolean) {
    this.path = path;
    this.name = parseNodeName(member.name);
    this.id = member.id as MemberId;
    this.isNew = isNew;
    this.storePath = join(path, "store");
    this.#lock = lock;
  }

  async writeMarker(kind: MarkerKind, detail?: string): Promise<void> {
    this.#check();
    const at = new Date().toISOString();
    const marker: Marker = {
      kind,
      pid: process.pid,
      at,
      ...(detail === undefined ? {} : { detail: detail.slice(0, DETAIL_LIMIT) }),
    };
    await replaceFile(join(this.path, markerFile(kind)), { content: async () => encodeJson(marker) });
  }

  readMarker(kind: MarkerKind): Promise<Marker | undefined> {
    return readMarker(this.path, kind);
  }

  async clearMarker(kind: MarkerKind): Promise<void> {
    this.#check();
    await removeFile(join(this.path, markerFile(kind)));
  }

  async release(): Promise<void> {
    const lock = this.#lock;
    this.#lock = undefined;
    // Closing the only descriptor of the open file frees the lock.
    await lock?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  /** L2 */
  #check(): void {
    if (this.#lock === undefined) throw new RingError("STORE_BROKEN", `the lock of ${this.path} was given back`);
  }
}

/**
 * The locked file, or undefined while another holds it. It is never deleted: two processes could then lock two files. So one
 * that is missing where it was made is no proof of anything (L1).
 */
async function takeLock(path: string, { isMade }: { readonly isMade: boolean }): Promise<FileHandle | undefined> {
  const file = join(path, LOCK);
  const handle = await open(file, isMade ? "r+" : "a+", 0o600).catch((error: NodeJS.ErrnoException) => {
    throw error.code === "ENOENT"
      ? new RingError(
          "STORE_BROKEN",
          `${file} was removed, so a process that serves the directory would go unnoticed: make an empty file of that name when there is none`,
        )
      : error;
  });
  try {
    if (!locks.tryLock(handle.fd)) {
      await handle.close();
      return undefined;
    }
    await handle.truncate(0);
    await handle.appendFile(`${process.pid}\n`).catch((error: unknown) => {
      if (!isDiskFull(error)) throw error; // L1: the text is for people only
    });
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function inUse(path: string): Promise<RingError> {
  const pid = await lockHolder(path);
  const who = pid === undefined ? "another process" : `process ${pid}`;
  const message = `${path} is in use by ${who}: one process per data directory; stop it, or pass another --data`;
  return new RingError("INVALID_ARGUMENT", message, { cause: new DirectoryInUse(message) });
}

async function readMember(path: string): Promise<MemberRecord | undefined> {
  const bytes = await readFileIfThere(join(path, MEMBER));
  if (bytes === undefined) return undefined;
  const member = parseJson(MEMBER_RECORD, bytes);
  // Rule 9: a directory whose identity is lost is a fault, not a fresh start.
  if (member === undefined)
    throw new RingError("STORE_BROKEN", `${join(path, MEMBER)} is damaged: the directory's identity is lost`);
  if (member.version > MEMBER_VERSION) {
    throw new RingError(
      "INVALID_ARGUMENT",
      `${path} has format ${member.version}, newer than this program's ${MEMBER_VERSION}: use the version that wrote it`,
    );
  }
  return member;
}

/** Rule 9: what a member has left behind is not taken by another. */
async function refuseNameless(path: string): Promise<void> {
  const left = (await readdir(path)).find((name) => LEFT_BEHIND.has(name));
  if (left !== undefined)
    throw new RingError(
      "STORE_BROKEN",
      `${join(path, MEMBER)} is lost, but ${left} is there: whose it is nobody knows`,
    );
}

function parseJson<Schema extends v.GenericSchema>(
  schema: Schema,
  bytes: Uint8Array,
): v.InferOutput<Schema> | undefined {
  try {
    const result = v.safeParse(schema, JSON.parse(new TextDecoder().decode(bytes)));
    return result.success ? result.output : undefined;
  } catch {
    return undefined;
  }
}

function encodeJson(content: object): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(content)}\n`);
}

function markerFile(kind: MarkerKind): string {
  return `marker-${kind}.json`;
}

/** The id of the store that all nodes share, once this one has used it. */
export const SHARED_STORE_FILE = "shared-store.json";
const LOCK = "lock";
const MEMBER = "member.json";
const MEMBER_VERSION = 1;
/** Never there before the member's file. */
const LEFT_BEHIND: ReadonlySet<string> = new Set(["register", "register-made", "store", SHARED_STORE_FILE]);
const POLL_MS = 25;
const DETAIL_LIMIT = 1000;
const MARK_DEADLINE_MS = 10_000;

interface MemberRecord {
  readonly version: number;
  readonly name: string;
  readonly id: string;
}

const MEMBER_RECORD: v.GenericSchema<unknown, MemberRecord> = v.object({
  version: v.pipe(v.number(), v.integer(), v.minValue(1)),
  name: v.pipe(v.string(), v.regex(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,62})?$/)),
  id: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)),
});

export const MARKER_KINDS = ["stopping", "restarting", "left", "adopted", "given-up", "peers"] as const;
const MARKER = v.object({
  kind: v.picklist(MARKER_KINDS),
  pid: v.number(),
  at: v.pipe(v.string(), v.maxLength(40)),
  detail: v.optional(v.pipe(v.string(), v.maxLength(DETAIL_LIMIT))),
});

/** statfs(2) and linux/magic.h: NFS, SMB, CIFS, SMB2, FUSE, 9p, Ceph, AFS, Coda, NCP, Lustre, GFS2, OCFS2, GPFS, BeeGFS, vboxsf, Parallels. */
const NETWORK_TYPES: ReadonlySet<number> = new Set([
  0x6969, 0x517b, 0xff534d42, 0xfe534d42, 0x65735546, 0x01021997, 0x00c36400, 0x5346414f, 0x73757245, 0x564c,
  0x0bd00bd0, 0x01161970, 0x7461636f, 0x47504653, 0x19830326, 0x786f4256, 0x7c7c6673,
]);
