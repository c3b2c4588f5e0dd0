/** The disks of dead processes whose locks one simulated process holds. */

import type { NodeName } from "../../ring/ids.ts";
import type { NodeEvent } from "../../ring/node/effects.ts";
import type { Agenda } from "./agenda.ts";
import type { Disk } from "./disk.ts";

/** The process that holds them. */
export interface Adopter {
  /** Of the process, as it stands in locks. */
  readonly holder: string;
  /** Rows lie on the disks, not in a store that all share. */
  readonly keepsRows: boolean;
  step(event: NodeEvent): void;
  later(delayMs: number, run: () => void): void;
}

export class AdoptedDisks {
  readonly #adopter: Adopter;
  readonly #world: { readonly agenda: Agenda; diskOf(name: NodeName): Disk | undefined };
  #held = new Map<NodeName, Disk>();

  constructor(adopter: Adopter, world: { readonly agenda: Agenda; diskOf(name: NodeName): Disk | undefined }) {
    this.#adopter = adopter;
    this.#world = world;
  }

  of(member: NodeName): Disk | undefined {
    return this.#held.get(member);
  }

  /** What is found on it is told as soon as it can be read. */
  tryLock(member: NodeName): void {
    const { now } = this.#world.agenda;
    const disk = this.#world.diskOf(member);
    const refuse = (detail: string): void =>
      this.#adopter.step({ type: "lock", member, result: { type: "refused", detail } });
    if (disk === undefined || disk.lockedBy !== undefined) return refuse("held");
    if (disk.brokenUntil > now) return refuse("EIO");
    disk.lockedBy = this.#adopter.holder;
    this.#held.set(member, disk);
    if (disk.stillUntil > now) this.#adopter.later(disk.stillUntil - now, () => this.#locked(member, disk));
    else this.#locked(member, disk);
  }

  /** Once the disk has let go. */
  release(member: NodeName): void {
    const disk = this.#held.get(member);
    this.#held.delete(member);
    if (disk === undefined) return;
    const { lockedBy } = disk;
    const letGo = (): void => {
      if (disk.lockedBy === lockedBy) disk.lockedBy = undefined;
    };
    if (disk.stillUntil > this.#world.agenda.now) this.#world.agenda.at(disk.stillUntil, letGo);
    else letGo();
  }

  /** The process is gone. */
  crash(): void {
    for (const disk of this.#held.values()) disk.lockedBy = undefined;
    this.#held = new Map();
  }

  /** Work on the disk finds its directory given back, itself failing or, if it `writes`, full. */
  refuses(
    member: NodeName,
    disk: Disk | undefined,
    { passing = true, writes = true }: { readonly passing?: boolean; readonly writes?: boolean } = {},
  ): boolean {
    const { now } = this.#world.agenda;
    if (disk === undefined || this.#held.get(member) !== disk) this.failed(member, "the directory is not held here");
    else if (disk.brokenUntil > now) this.failed(member, "EIO");
    else if (writes && disk.fullUntil > now) this.failed(member, "the disk is full", passing);
    else return false;
    return true;
  }

  failed(member: NodeName, detail: string, passing = false): void {
    this.#adopter.step({ type: "adopted-failed", member, passing, detail });
  }

  #locked(member: NodeName, disk: Disk): void {
    const { memberId, planned, register } = disk;
    const copies = this.#adopter.keepsRows ? disk.copies() : [];
    this.#adopter.step({ type: "lock", member, result: { type: "held", memberId, planned, register, copies } });
  }
}
