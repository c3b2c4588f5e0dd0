/**
 * What the node machine wants done to the node's own store.
 *
 * B1  A rejected write to disk is never retried: it is a failure of the store, and the process ends (reliability rule 6).
 *     Want of room is no such fault: nothing was written, and the work is done again (rule 8).
 */

import { RingError } from "../errors.ts";
import type { Partition } from "../ids.ts";
import type { NodeEffect, NodeEvent } from "../node/effects.ts";
import type { NodeStatus } from "../node/requests.ts";
import type { CommitResult, Term } from "../store.ts";
import { isWantOfRoom, ROOM_RETRY_MS, Room } from "./room.ts";
import type { StoreLog } from "./store/log.ts";
import type { NodeStore } from "./store/node-store.ts";

export interface OwnStoreParts {
  readonly store: NodeStore;
  readonly log: StoreLog;
  /** Partitions are opened after this. */
  readonly mayOpen?: Promise<void>;
  readonly onCommit?: (durationMs: number) => void;
  readonly step: (event: NodeEvent) => void;
  readonly note: (what: string, detail: string) => void;
  /** B1 */
  readonly failed: (error: unknown) => void;
  readonly isClosed: () => boolean;
  /** This node owns the partition at that generation, as far as it knows, or will as soon as the document is on its disk. */
  readonly owns: (partition: Partition, generation: number) => boolean;
}

type CommitEffect = Extract<NodeEffect, { type: "commit" }>;
/** A commit, and the partitions whose rows are no longer wanted. */
type Asked = Pick<CommitEffect, "group" | "groups"> & { readonly left: readonly Partition[] };

export class OwnStore {
  readonly #parts: OwnStoreParts;
  readonly #room: Room;
  #full = false;
  /** Partitions that were to be dropped or set aside since the commit under way was asked for. */
  readonly #gone = new Set<Partition>();
  /** Partitions being set aside: not dropped before. */
  readonly #leaving = new Map<Partition, Promise<unknown>>();

  constructor(parts: OwnStoreParts) {
    this.#parts = parts;
    this.#room = new Room({
      onWait: (what, why) => parts.note("waits-for-room", `${what}: ${why}`),
      onRoom: () => parts.note("has-room", "what waited for the disk is done"),
      isClosed: parts.isClosed,
    });
  }

  /** What waits for room on the disk. */
  warnings(): NodeStatus["warnings"] {
    const [first, ...more] = this.#room.waiting;
    if (first === undefined) return [];
    const others = more.length === 0 ? "" : `, and ${more.length} more`;
    return [{ code: "DISK_FULL", detail: `${first} waits for room on the disk${others}` }];
  }

  /** In a shared store a newer owner may be first, before its document is known here: this node asks until it is. */
  open(effect: Extract<NodeEffect, { type: "open" }>): void {
    const { partition, generation } = effect;
    const { mayOpen, store, owns, step, failed } = this.#parts;
    const isWanted = (): boolean => owns(partition, generation);
    const open = (): Promise<Term | undefined> =>
      this.#room.until(`opening partition ${partition}`, () => store.open(partition, effect), isWanted);
    const opened = mayOpen === undefined ? open() : mayOpen.then(open);
    opened.then(
      (term) => {
        if (term !== undefined) step({ type: "opened", partition, term });
      },
      (error: unknown) => {
        if (!store.shared || !(error instanceof RingError) || error.code !== "NOT_OWNER") return failed(error);
        if (isWanted()) setTimeout(() => this.open(effect), OPEN_RETRY_MS).unref();
      },
    );
  }

  /**
   * A full disk is no fault: nothing was written. From now on new tasks are refused; what was let in before goes into the
   * reserve, or it would hold up the commits behind it, which make room. With the reserve used up it is tried again.
   */
  commit({ group, groups }: CommitEffect): void {
    this.#gone.clear();
    this.#commit({ group, groups, left: [] }, { fromReserve: false });
  }

  #commit({ group, groups, left }: Asked, options: { readonly fromReserve: boolean }): void {
    const { store, step, failed } = this.#parts;
    const begunAt = performance.now();
    store.commit(groups, options).then(
      ({ refused }: CommitResult) => {
        this.#parts.onCommit?.(performance.now() - begunAt);
        step({ type: "committed", group, refused: [...left, ...refused.map((index) => groups[index]!.partition)] });
      },
      (error: unknown) => {
        if (!isWantOfRoom(error) || this.#parts.isClosed()) return failed(error);
        this.watchDisk();
        const again = (): void => this.#commit(this.#without({ group, groups, left }), { fromReserve: true });
        if (options.fromReserve) setTimeout(again, ROOM_RETRY_MS).unref();
        else again();
      },
    );
  }

  /** What was to be dropped or set aside meanwhile may be gone: rows of it would bring it back. */
  #without({ group, groups, left }: Asked): Asked {
    const gone = groups.map(({ partition }) => partition).filter((partition) => this.#gone.has(partition));
    return { group, groups: groups.filter(({ partition }) => !gone.includes(partition)), left: [...left, ...gone] };
  }

  async drop(partition: Partition): Promise<void> {
    this.#gone.add(partition);
    await this.#leaving.get(partition);
    await this.#room.until(`dropping partition ${partition}`, () => this.#parts.store.drop(partition));
  }

  /** What cannot be set aside is not dropped either. */
  setAside(partition: Partition, why: string): void {
    this.#gone.add(partition);
    const { store, log } = this.#parts;
    const done = this.#room
      .until(`setting partition ${partition} aside`, () => store.quarantine(partition, why))
      .finally(() => this.#leaving.delete(partition));
    this.#leaving.set(partition, done);
    done.catch((error: unknown) => log.error({ err: error, partition }, "quarantine failed"));
  }

  /** Says that the disk has no room for new work, or has again. */
  watchDisk(): void {
    const { full } = this.#parts.store;
    if (full === this.#full) return;
    this.#full = full;
    this.#parts.step({ type: "store-full", full });
  }
}

const OPEN_RETRY_MS = 500;
