/**
 * Where register states are written, and in which order: the own disk, the shared store for an only voter, or both.
 *
 * W1  What is kept in the shared store as well is written there first, and on the own disk after that.
 * W2  Writes to the store go one after the other: one that is repeated must not come behind a later one.
 * W3  What the store holds up is passed over by what is for the own disk alone (the register has then forgotten what depended on
 *     it: R5 of `register.ts`), and never written over something newer.
 */

import type { NodeEffect, NodeEvent, SeatWrite } from "../node/effects.ts";
import { encodeRegisterState } from "./register-codec.ts";
import type { RegisterFile } from "./register-file.ts";
import type { SeatStore } from "./seats.ts";

type PersistRegister = Extract<NodeEffect, { readonly type: "persist-register" }>;

export interface RegisterWritesParts {
  readonly register: RegisterFile;
  readonly seats: SeatStore | undefined;
  readonly step: (event: NodeEvent) => void;
  readonly failed: (error: unknown) => void;
}

export class RegisterWrites {
  readonly #parts: RegisterWritesParts;
  /** Of the newest state that was given to the own disk. */
  #sequence = 0;
  #tail: Promise<void> = Promise.resolve();

  constructor(parts: RegisterWritesParts) {
    this.#parts = parts;
  }

  /** Of this node's own register. */
  own({ of, sequence, state, seat }: PersistRegister): void {
    const { register, step, failed } = this.#parts;
    const write = (): void => {
      if (this.#sequence > sequence) return; // W3
      this.#sequence = sequence;
      const event = { type: "register-persisted", of, sequence } as const;
      register.write(encodeRegisterState(state)).then(() => step(event), failed);
    };
    if (seat === undefined) write();
    else this.#toStore(seat, write); // W1
  }

  /** Of another member for which this node speaks from the store: only there. */
  another({ of, sequence }: PersistRegister, seat: SeatWrite): void {
    const event = { type: "register-persisted", of, sequence, seat: seat.token } as const;
    this.#toStore(seat, () => this.#parts.step(event));
  }

  #toStore(seat: SeatWrite, written: () => void): void {
    const { seats, step, failed } = this.#parts;
    if (seats === undefined) throw new Error("a seat without a store that all share");
    // W2
    this.#tail = this.#tail
      .then(() => seats.write(seat))
      .then((isWritten) => (isWritten ? written() : step({ type: "seat-refused", seat: seat.token })), failed);
  }
}
