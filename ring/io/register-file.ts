/**
 * The acceptor's memory: one small file that holds promise, vote and learned document (ownership rule 2).
 *
 * A voter that forgets breaks the ring's one history (P7), so a fault here is an error, never an empty or older value:
 * R1  `write` resolves after its value, or a newer one, is synced. While a write is under way only the newest waits.
 * R2  The file is replaced as a whole by one that was made beside it (`replacement.ts`: one synced write), so what bears its name is
 *     whole. A checksum that does not fit is therefore damage, not a torn write, and there is no older copy to fall back to. Two
 *     alternating slots could not tell these two cases apart, nor a copy written over the file (R3).
 * R6  A value is acknowledged when it is durable beside the file, and takes its place right after that: decisions, and keys, wait
 *     for each value. A crash in between leaves it there; the next opening finds it, and syncs it before it takes its place. What is
 *     there and does not fit its checksum is what a crash left of a write that nobody was told of. The next value may come before the
 *     place is taken: there are some files beside it, each used only when its name has been synced.
 * R3  The file names its member and its own inode and birth: a copy (restored from backup) is refused (ownership rule 4).
 *     A marker made with the first write tells a lost file from one that never was. Restoring the whole disk or
 *     virtual machine cannot be seen from here.
 * R4  The first failed write breaks it: all later ones reject, until a restart reads what is on the disk.
 * R5  A full disk is no fault (reliability rule 8): the next file is made again and again for a while, before anything of it takes
 *     a place. Meanwhile promises and votes are withheld, which costs nothing but time. A voter that cannot vote for long breaks,
 *     so that the ring may replace it.
 * R7  So does one whose disk does not answer, as its store would: who proposes ring changes stands in the way of all others meanwhile.
 *     After that nothing more takes a place, since what is under way might do so late; `letGo` waits for it, `close` does not.
 */

import { readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { RingError } from "../errors.ts";
import type { MemberId } from "../ids.ts";
import { isDiskFull, readFileIfThere, replaceFile, type SyncHandle, syncDirectory, syncFile } from "./files.ts";
import { encodeRecord, type Identity, type RegisterRecord, readRecord, recordBytes } from "./register-record.ts";
import { Replacement } from "./replacement.ts";
import { ROOM_RETRY_MS } from "./room.ts";
import { withDeadline } from "./store/failure.ts";
import type { StoreLog } from "./store/log.ts";

export interface RegisterFileOptions {
  readonly memberId: MemberId;
  /** For tests: how a file is synced. */
  readonly sync?: SyncHandle;
  /** R5. Default 30 s. */
  readonly roomDeadlineMs?: number;
  /** R7. Default 10 s, as of a store. */
  readonly answerDeadlineMs?: number;
  readonly log?: StoreLog;
}

export interface RegisterFile {
  /** Newest synced value, or undefined before the first write. Not a copy. */
  read(): Uint8Array | undefined;
  /** R1. At most 16 MiB. Rejects with `STORE_BROKEN` (R4). */
  write(content: Uint8Array): Promise<void>;
  /** Rises with each file written. */
  readonly sequence: number;
  readonly broken: Error | undefined;
  /** Resolves when nothing is being written any more, or waited for (R7). */
  close(): Promise<void>;
  /** As `close`; of one that is broken once the disk has answered, if ever. */
  letGo(): Promise<void>;
}

/** `directory` must be locked. Rejects with `STORE_BROKEN` and what is wrong: damaged, lost, another member's, restored (R2, R3). */
export async function openRegisterFile(directory: string, options: RegisterFileOptions): Promise<RegisterFile> {
  const path = join(directory, REGISTER);
  const made = (await readFileIfThere(join(directory, MADE))) !== undefined;
  const record = await readRecord(path, { memberId: options.memberId, isBeside: false });
  if (record === "torn") throw new RingError("STORE_BROKEN", `${path} is damaged: its checksum does not fit`);
  if (record === undefined && made)
    throw new RingError(
      "STORE_BROKEN",
      `${path} is lost: this member voted and no longer knows what; let it join as a new member`,
    );
  const newest = record === undefined ? undefined : await takeLeftover(directory, record, options);
  return new ReplacedFile(directory, options, newest ?? { content: undefined, sequence: 0 }, made);
}

/** R6: the newest value may lie beside the file. It takes its place, and whatever else lies there goes. */
async function takeLeftover(
  directory: string,
  record: RegisterRecord,
  { memberId, sync, log }: RegisterFileOptions,
): Promise<RegisterRecord> {
  const names = (await readdir(directory)).filter((name) => name.startsWith(BESIDE_PREFIX));
  let newest = record;
  let newestName: string | undefined;
  for (const name of names) {
    const found = await readRecord(join(directory, name), { memberId, isBeside: true });
    if (found === "torn") log?.warn({ directory, name }, "a write of the register was under way when its process died");
    else if (found !== undefined && found.sequence > newest.sequence) [newest, newestName] = [found, name];
  }
  if (newestName !== undefined) {
    // Whole as the system shows it is not yet on the disk: its process may have died in the middle of the write.
    await syncFile(join(directory, newestName), sync);
    await rename(join(directory, newestName), join(directory, REGISTER));
    await syncDirectory(directory, sync);
  }
  for (const name of names) if (name !== newestName) await rm(join(directory, name), { force: true });
  return newest;
}

class ReplacedFile implements RegisterFile {
  readonly #directory: string;
  readonly #options: RegisterFileOptions;
  #content: Uint8Array | undefined;
  #sequence: number;
  #made: boolean;
  #broken: RingError | undefined;
  #closed = false;
  /** R1: the newest value given while another is being written, and all who wait for it. */
  #next: { content: Uint8Array; readonly waiters: Waiter[] } | undefined;
  #writing: Promise<void> | undefined;
  /** Their names are durable; where there are none the next write makes one. */
  #spares: Replacement[] = [];
  #spareNumber = 0;
  /** R6: what was written takes its place, one after another. */
  #settling: Promise<void> = Promise.resolve();
  /** R7: what the disk has not answered yet. */
  readonly #asked = new Set<Promise<unknown>>();

  constructor(
    directory: string,
    options: RegisterFileOptions,
    found: { readonly content: Uint8Array | undefined; readonly sequence: number },
    made: boolean,
  ) {
    this.#directory = directory;
    this.#options = options;
    this.#content = found.content;
    this.#sequence = found.sequence;
    this.#made = made;
  }

  get sequence(): number {
    return this.#sequence;
  }

  get broken(): Error | undefined {
    return this.#broken;
  }

  read(): Uint8Array | undefined {
    return this.#content;
  }

  write(content: Uint8Array): Promise<void> {
    if (this.#broken) return Promise.reject(this.#broken);
    if (this.#closed) return Promise.reject(new RingError("STORE_BROKEN", "the register file is closed"));
    if (content.length > CONTENT_LIMIT_BYTES) {
      return Promise.reject(
        new RingError(
          "INVALID_ARGUMENT",
          `a register value of ${content.length} bytes; the limit is ${CONTENT_LIMIT_BYTES}`,
        ),
      );
    }
    return new Promise((resolve, reject) => {
      this.#next ??= { content, waiters: [] };
      this.#next.content = content.slice();
      this.#next.waiters.push({ resolve, reject });
      this.#writing ??= this.#run();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#writing;
    await this.#settling;
    const isSilent = this.#asked.size > 0;
    const gone = Promise.all(this.#spares.splice(0).map((spare) => this.#answer(spare.discard())));
    const done = gone.then(
      () => {},
      (cause: unknown) => void this.#break(cause), // R7: a late one could take away what another has made
    );
    if (!isSilent) await done;
  }

  async letGo(): Promise<void> {
    await this.close();
    await Promise.allSettled(this.#asked);
  }

  /** R7 */
  #answer<T>(asked: Promise<T>): Promise<T> {
    const answered = (): void => void this.#asked.delete(asked);
    this.#asked.add(asked);
    asked.then(answered, answered);
    return withDeadline(asked, this.#options.answerDeadlineMs ?? ANSWER_DEADLINE_MS);
  }

  async #run(): Promise<void> {
    for (let next = this.#next; next !== undefined; next = this.#next) {
      this.#next = undefined;
      try {
        if (this.#broken !== undefined) throw this.#broken;
        await this.#replace(next.content);
        for (const waiter of next.waiters) waiter.resolve();
      } catch (cause) {
        const broken = this.#break(cause);
        const later: readonly Waiter[] = (this.#next as { readonly waiters: Waiter[] } | undefined)?.waiters ?? [];
        this.#next = undefined;
        for (const waiter of [...next.waiters, ...later]) waiter.reject(broken);
      }
    }
    this.#writing = undefined;
  }

  /** R4 */
  #break(cause: unknown): RingError {
    this.#broken ??= new RingError("STORE_BROKEN", `the register file could not be written: ${String(cause)}`, {
      cause,
    });
    return this.#broken;
  }

  async #replace(content: Uint8Array): Promise<void> {
    const { memberId, sync } = this.#options;
    const sequence = this.#sequence + 1;
    const file = await this.#written({ sequence, memberId, content });
    this.#settling = this.#settling
      .then(() => (this.#broken === undefined ? this.#answer(this.#settle(file)) : undefined)) // R7
      .catch((cause: unknown) => void this.#break(cause));
    if (!this.#made) {
      // R3: before the first value is acknowledged.
      await this.#settling;
      if (this.#broken !== undefined) throw this.#broken;
      const content = async (): Promise<Uint8Array> => new Uint8Array();
      await this.#answer(replaceFile(join(this.#directory, MADE), { content, ...(sync !== undefined && { sync }) }));
      this.#made = true;
    }
    this.#sequence = sequence;
    this.#content = content;
  }

  /** R5: where blocks are not overwritten in place, one that was made ahead may find no room either: another is tried. */
  async #written(record: Omit<RegisterRecord, keyof Identity>): Promise<Replacement> {
    const deadline = this.#roomDeadline();
    for (;;) {
      const file = await this.#spareFor(recordBytes(record.memberId, record.content));
      const { inode, birthNs } = file;
      try {
        await this.#answer(file.write(encodeRecord({ ...record, inode, birthNs })));
        return file;
      } catch (error) {
        if (!isDiskFull(error) || this.#closed || performance.now() >= deadline) throw error;
      }
      await delay(ROOM_RETRY_MS);
    }
  }

  #roomDeadline(): number {
    return performance.now() + (this.#options.roomDeadlineMs ?? ROOM_DEADLINE_MS);
  }

  /** R6: one sync of the directory for the place that is taken and for the names of the next files. */
  async #settle(file: Replacement): Promise<void> {
    await file.takePlace(join(this.#directory, REGISTER));
    const missing = Array.from({ length: SPARES - this.#spares.length }, () => this.#prepare(file.capacity));
    const fresh: Replacement[] = [];
    // Of want of room the next write hears.
    for (const made of await Promise.allSettled(missing)) if (made.status === "fulfilled") fresh.push(made.value);
    try {
      await syncDirectory(this.#directory, this.#options.sync);
    } catch (error) {
      for (const spare of fresh) await spare.discard();
      throw error;
    }
    this.#spares.push(...fresh);
  }

  async #spareFor(bytes: number): Promise<Replacement> {
    for (let isSettled = false; ; isSettled = true) {
      for (let file = this.#spares.shift(); file !== undefined; file = this.#spares.shift()) {
        if (file.capacity >= bytes) return file;
        await this.#answer(file.discard());
      }
      if (isSettled) break;
      await this.#settling;
      if (this.#broken !== undefined) throw this.#broken;
    }
    const file = await this.#prepareWhenThereIsRoom(Math.max(SPARE_BYTES, 2 * bytes));
    await this.#answer(syncDirectory(this.#directory, this.#options.sync));
    return file;
  }

  /** R5 */
  async #prepareWhenThereIsRoom(capacity: number): Promise<Replacement> {
    const { log } = this.#options;
    const deadline = this.#roomDeadline();
    for (let waits = false; ; waits = true) {
      try {
        return await this.#answer(this.#prepare(capacity));
      } catch (error) {
        if (!isDiskFull(error) || this.#closed || performance.now() >= deadline) throw error;
        if (!waits)
          log?.warn(
            { directory: this.#directory, err: error },
            "the disk is full: the register waits for room, and its member does not vote",
          );
      }
      await delay(ROOM_RETRY_MS);
    }
  }

  #prepare(capacity: number): Promise<Replacement> {
    const name = `${BESIDE_PREFIX}${++this.#spareNumber}`;
    return Replacement.prepare(join(this.#directory, name), capacity, this.#options.sync);
  }
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** As long as opening a store waits for room. */
const ROOM_DEADLINE_MS = 30_000;
const ANSWER_DEADLINE_MS = 10_000;
const REGISTER = "register";
const BESIDE_PREFIX = "register.new";
/**
 * R6: promise, vote and the document that follows from them are values in a row, and while keys wait for them one decision follows
 * another. On a busy node it takes about 60 ms to make more of these, however many at once (measured).
 */
const SPARES = 6;
/** Empty; says that a register was written here once. */
const MADE = "register-made";
/** A ring document of 4,096 partitions and 300 members is under 1 MiB. */
const CONTENT_LIMIT_BYTES: number = 16 * 1024 * 1024;
/** Holds the document of a ring of 64 partitions and a few members; larger ones make larger files. */
const SPARE_BYTES = 16 * 1024;
