/**
 * What one simulated process asks of disks, its own and adopted ones: done in the order in which it was asked, at each disk's pace.
 *
 * D1  What stands still for `DEADLINE_MS` has failed for whoever asked, as on real disks. It may be done all the same.
 * D2  What was under way when the process died may be done although nobody hears of it, from the first of it on.
 */

import type { RowGroup } from "../../ring/store.ts";
import type { Agenda } from "./agenda.ts";
import type { Disk } from "./disk.ts";
import type { SeededRandom } from "./random.ts";

/** The process that asks. */
export interface DiskUser {
  later(delayMs: number, run: () => void): void;
  /** The lock of the disk's directory is held. */
  holds(disk: Disk): boolean;
}

export interface DiskWorld {
  readonly agenda: Agenda;
  readonly random: SeededRandom;
}

export class DiskWork {
  readonly #user: DiskUser;
  readonly #world: DiskWorld;
  /** Commits on their way to a disk. */
  readonly #commits = new Set<() => void>();
  /** Writes of register files on their way, where those that died with their process may be found. */
  readonly #registers = new Set<() => void>();

  constructor(user: DiskUser, world: DiskWorld) {
    this.#user = user;
    this.#world = world;
  }

  /** What one disk is asked for, it does in that order. */
  ask(disk: Disk, delayMs: number, run: () => void, failed: (detail: string) => void): void {
    const { now } = this.#world.agenda;
    const at = Math.max(now + delayMs + this.#slowness(disk), disk.stillUntil);
    disk.busyUntil = Math.max(at, disk.busyUntil + 0.001);
    this.#then(disk.busyUntil - now, run, failed);
  }

  /** Reads wait for a disk that stands still, not for writes. */
  read(disk: Disk | undefined, delayMs: number, run: () => void): void {
    this.#user.later(Math.max(delayMs, (disk?.stillUntil ?? 0) - this.#world.agenda.now), run);
  }

  commit(disk: Disk, groups: readonly RowGroup[], run: () => void, failed: (detail: string) => void): void {
    const apply = (): void => {
      if (this.#user.holds(disk)) disk.commit(groups);
    };
    this.#commits.add(apply);
    const done = (): void => {
      this.#commits.delete(apply);
      run();
    };
    this.ask(disk, 0.2 + this.#world.random() * 1.5, done, failed);
  }

  /** One write of a register file after another; now and then one takes as long as decisions take. `apply`: the write itself. */
  register(
    disk: Disk | undefined,
    run: () => void,
    { failed, apply }: { readonly failed?: (detail: string) => void; readonly apply?: () => void } = {},
  ): void {
    const { agenda, random } = this.#world;
    const writeMs = random() < 0.05 ? random() * 300 : 0.2 + random() * 1.5;
    const slowMs = disk === undefined ? 0 : this.#slowness(disk);
    const free = Math.max(agenda.now, disk?.registerBusyUntil ?? 0);
    const until = Math.max(free + writeMs + slowMs, disk?.stillUntil ?? 0);
    if (disk !== undefined) disk.registerBusyUntil = until;
    const isKept = disk?.keepsMore === true && apply !== undefined;
    const write = (): void => {
      if (this.#user.holds(disk!)) apply?.();
    };
    if (isKept) this.#registers.add(write);
    const done = (): void => {
      this.#registers.delete(write);
      run();
    };
    this.#then(until - agenda.now, done, failed);
  }

  /** D2 */
  crash(): void {
    for (const underWay of [this.#commits, this.#registers]) {
      if (underWay.size > 0 && this.#world.random.chance(0.5))
        for (const apply of underWay) {
          apply();
          if (this.#world.random.chance(0.3)) break;
        }
      underWay.clear();
    }
  }

  /** D1 */
  #then(delayMs: number, run: () => void, failed: ((detail: string) => void) | undefined): void {
    if (delayMs <= DEADLINE_MS || failed === undefined) return this.#user.later(delayMs, run);
    this.#user.later(DEADLINE_MS, () => failed(`the disk stands still for ${DEADLINE_MS / 1_000} s`));
  }

  #slowness({ slowMs }: Disk): number {
    return slowMs > 0 ? this.#world.random() * slowMs : 0;
  }
}

/** Of stores and register files (`ring/io`). */
const DEADLINE_MS = 10_000;
