/** Directories of dead processes on this machine that this process holds: their lock, their rows and their register file. */

import { setTimeout as delay } from "node:timers/promises";
import { RingError } from "../errors.ts";
import type { MemberId, NodeName, Partition } from "../ids.ts";
import type { LockResult } from "../node/effects.ts";
import type { RegisterState } from "../register/messages.ts";
import type { PageRequest, RowGroup, RowPage, TaskStore } from "../store.ts";
import { type DataDirectory, giveBack, isNetworkFileSystem, readMarker, tryLockDirectory } from "./directory.ts";
import { decodeRegisterState, encodeRegisterState } from "./register-codec.ts";
import { openRegisterFile, type RegisterFile } from "./register-file.ts";
import { type EmbeddedStore, openEmbeddedStore } from "./store/embedded.ts";
import type { StoreLog } from "./store/log.ts";

interface Adopted {
  readonly directory: DataDirectory;
  /** Absent with a shared store: its rows are not here. */
  readonly store: EmbeddedStore | undefined;
  readonly register: RegisterFile;
}

interface Wanted {
  readonly name: NodeName;
  readonly id: MemberId;
  readonly path: string;
}

export class AdoptedDirectories implements AsyncDisposable {
  readonly #held = new Map<NodeName, Adopted>();
  /** Locks that are being tried: what comes of it is held here. */
  readonly #trying = new Set<Promise<unknown>>();
  readonly #log: StoreLog;
  readonly #shared: TaskStore | undefined;
  readonly #commitDeadlineMs: number | undefined;

  /** `shared`: where all nodes keep their rows, if there is such a store. `commitDeadlineMs`: of the stores here, for tests. */
  constructor(
    log: StoreLog,
    options: { readonly shared?: TaskStore | undefined; readonly commitDeadlineMs?: number } = {},
  ) {
    this.#log = log;
    this.#shared = options.shared;
    this.#commitDeadlineMs = options.commitDeadlineMs;
  }

  async tryLock(member: Wanted): Promise<LockResult> {
    const trying = this.#tryLock(member);
    this.#trying.add(trying);
    const result = await trying;
    this.#trying.delete(trying);
    return result;
  }

  async #tryLock(member: Wanted): Promise<LockResult> {
    try {
      if (await isNetworkFileSystem(member.path))
        return { type: "refused", detail: "a network file system: its locks prove nothing" };
      const directory = await tryLockDirectory(member.path);
      if (directory === undefined) return { type: "refused", detail: "a live process holds it" };
      try {
        return await this.#open(member, directory);
      } catch (error) {
        await directory.release();
        throw error;
      }
    } catch (error) {
      return { type: "refused", detail: error instanceof Error ? error.message : String(error) };
    }
  }

  /** The lock is given back when store and register have let go (`EmbeddedStore.letGo`). */
  release(name: NodeName): Promise<void> {
    return this.#release(name, async ({ directory, store, register }) => {
      try {
        await store?.letGo();
      } finally {
        await register.letGo().finally(() => directory.release());
      }
    });
  }

  async #release(name: NodeName, end: (adopted: Adopted) => Promise<void>): Promise<void> {
    const adopted = this.#held.get(name);
    if (adopted === undefined) return;
    this.#held.delete(name);
    try {
      await adopted.register.close();
    } finally {
      await end(adopted);
    }
  }

  async page(name: NodeName, request: PageRequest): Promise<RowPage> {
    return (await this.#of(name).store?.page(request)) ?? { rows: [] };
  }

  async commit(name: NodeName, groups: readonly RowGroup[]): Promise<void> {
    const { store } = this.#of(name);
    if (store === undefined) return this.#sealShared(groups);
    // Seals: a full disk must not keep its tasks from moving away.
    await store.commit(groups, { fromReserve: true });
  }

  async drop(name: NodeName, partition: Partition): Promise<void> {
    await this.#of(name).store?.drop(partition);
  }

  async persistRegister(name: NodeName, state: RegisterState): Promise<void> {
    await this.#of(name).register.write(encodeRegisterState(state));
  }

  /** At the end of the process, which may not wait for somebody's disk: for locks that are being tried a moment. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.race([Promise.all(this.#trying), delay(TRYING_MOST_MS, undefined, { ref: false })]);
    const end = async ({ directory, store, register }: Adopted): Promise<void> => {
      try {
        await store?.[Symbol.asyncDispose]();
      } finally {
        await giveBack(directory, store, register);
      }
    };
    await Promise.allSettled([...this.#held.keys()].map((name) => this.#release(name, end)));
  }

  async #open(
    member: { readonly name: NodeName; readonly id: MemberId },
    directory: DataDirectory,
  ): Promise<LockResult> {
    if (directory.id !== member.id) {
      await directory.release();
      return { type: "refused", detail: "the directory belongs to another member by now" };
    }
    const planned = (await readMarker(directory.path, "stopping")) !== undefined;
    const register = await openRegisterFile(directory.path, { memberId: directory.id, log: this.#log });
    // What is opened is closed again if anything fails: the lock is given back, and tried again every 2 s.
    let store: EmbeddedStore | undefined;
    try {
      const bytes = register.read();
      const state = bytes === undefined ? undefined : decodeRegisterState(bytes);
      if (this.#shared === undefined)
        store = await openEmbeddedStore({
          directory: directory.storePath,
          log: this.#log,
          mustExist: bytes !== undefined, // a store is there before the register's first value
          roomDeadlineMs: 0, // the lock is tried for again and again
          ...(this.#commitDeadlineMs === undefined ? {} : { commitDeadlineMs: this.#commitDeadlineMs }),
        });
      const copies = ((await store?.partitions()) ?? []).filter(({ partition }) => partition < PARTITION_MOST);
      this.#held.set(member.name, { directory, store, register });
      return { type: "held", memberId: directory.id, planned, register: state, copies };
    } catch (error) {
      await store?.[Symbol.asyncDispose]();
      await register.close();
      throw error;
    }
  }

  /** Opened first, which shuts out whatever the dead process still has on its way; a newer owner needs no seal. */
  async #sealShared(groups: readonly RowGroup[]): Promise<void> {
    const store = this.#shared!;
    const sealed = groups.map(async ({ partition, term, changes }): Promise<RowGroup | undefined> => {
      try {
        return { partition, term: await store.open(partition, term), changes };
      } catch (error) {
        if (error instanceof RingError && error.code === "NOT_OWNER") return undefined;
        throw error;
      }
    });
    await store.commit((await Promise.all(sealed)).filter((group) => group !== undefined));
  }

  #of(name: NodeName): Adopted {
    const adopted = this.#held.get(name);
    if (adopted === undefined) throw new RingError("NOT_FOUND", `the directory of ${name} is not held here`);
    return adopted;
  }
}

/** Higher numbers are rows of the node itself. */
export const PARTITION_MOST = 4_096;
/** Opening a store takes a fraction of it, unless its disk does not answer. */
const TRYING_MOST_MS = 2_000;
