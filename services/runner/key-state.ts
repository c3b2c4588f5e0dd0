/**
 * `ctx.state`: the values loaded with the attempt, under the changes this attempt has made so far.
 *
 * K1  Reads see this attempt's own changes; the engine sees them only with the end of the attempt.
 * K2  Values are encoded at `put` and decoded at `get`, so nothing is shared with the handler.
 * K3  A value has at most 256 KiB, its name 256 bytes, a key at most 1 MiB and 10,000 names.
 */

import { RingError } from "../../ring/errors.ts";
import type { Payload, TaskState } from "../apps/context.ts";
import { PermanentError } from "../apps/failure.ts";
import type { Run, StateChange } from "./run.ts";
import { decodeValue, encodeValue } from "./value.ts";

export class KeyState implements TaskState {
  readonly #run: Run;
  /** Position in `run.changes` by name; made when a scan would cost more. */
  #index: Map<string, number> | undefined = undefined;
  /** Bytes and names of the key as they would be stored; counted from the first `put` on. */
  #size: { bytes: number; names: number } | undefined = undefined;

  constructor(run: Run) {
    this.#run = run;
  }

  get<T = unknown>(name: string): T | undefined {
    this.#touch(name);
    const bytes = this.#bytesOf(name);
    return bytes === undefined ? undefined : (decodeValue(bytes) as T);
  }

  put(name: string, value: Payload): void {
    this.#touch(name);
    this.#run.assertFresh("state.put");
    const bytes = encodeValue(value);
    if (bytes === undefined) throw new RingError("INVALID_ARGUMENT", `state.put(${shown(name)}): no value; use delete`);
    if (bytes.length > VALUE_BYTES) {
      throw new RingError(
        "PAYLOAD_TOO_LARGE",
        `state.put(${shown(name)}): ${bytes.length} bytes, at most ${VALUE_BYTES}`,
      );
    }
    this.#change(name, bytes);
  }

  delete(name: string): void {
    this.#touch(name);
    this.#run.assertFresh("state.delete");
    if (this.#bytesOf(name) !== undefined) this.#change(name, undefined);
  }

  names(): readonly string[] {
    this.#touch("names");
    const names = new Set(this.#run.attempt.state.keys());
    for (const { name, value } of this.#run.changes) {
      if (value === undefined) names.delete(name);
      else names.add(name);
    }
    return [...names];
  }

  /** Every touch tells the engine, through the attempt's end, that the type uses state. */
  #touch(name: string): void {
    const { attempt } = this.#run;
    if (attempt.stateAway) {
      this.#run.stateAway = true;
      throw new RingError("STATE_AWAY", "the key's state is on a machine that is away");
    }
    if (this.#run.stateless) {
      throw new PermanentError(`ctx.state: the task type ${attempt.record.type} is declared with state: "none"`);
    }
    if (typeof name !== "string" || name.length === 0 || (name.length > 85 && Buffer.byteLength(name) > NAME_BYTES)) {
      throw new RingError(
        "INVALID_ARGUMENT",
        `state: a name is a string of 1 to ${NAME_BYTES} bytes, not ${shown(name)}`,
      );
    }
  }

  #bytesOf(name: string): Uint8Array | undefined {
    const at = this.#changeAt(name);
    return at === undefined ? this.#run.attempt.state.get(name) : this.#run.changes[at]?.value;
  }

  #changeAt(name: string): number | undefined {
    if (this.#index !== undefined) return this.#index.get(name);
    const { changes } = this.#run;
    for (let at = 0; at < changes.length; at++) if (changes[at]?.name === name) return at;
    return undefined;
  }

  #change(name: string, value: Uint8Array | undefined): void {
    this.#account(name, value);
    const at = this.#changeAt(name);
    const change: StateChange = { name, value };
    if (at !== undefined) {
      this.#run.changes[at] = change;
      return;
    }
    this.#run.addChange(change);
    const { changes } = this.#run;
    if (this.#index !== undefined) this.#index.set(name, changes.length - 1);
    else if (changes.length === SCAN_LIMIT) this.#index = new Map(changes.map((one, index) => [one.name, index]));
  }

  /** K3. A single small value needs no count of the others: fewer than four cannot pass the limit of a key. */
  #account(name: string, value: Uint8Array | undefined): void {
    const { attempt, changes } = this.#run;
    if (attempt.state.size + changes.length < FEW_NAMES) return;
    if (this.#size === undefined) {
      this.#size = { bytes: 0, names: 0 };
      for (const one of this.names()) this.#count(one, this.#bytesOf(one), 1);
    }
    const size = this.#size;
    const before = this.#bytesOf(name);
    this.#count(name, before, -1);
    this.#count(name, value, 1);
    if (value === undefined || (size.bytes <= KEY_STATE_BYTES && size.names <= KEY_STATE_NAMES)) return;
    const reached = `${size.bytes} bytes in ${size.names} names`;
    this.#count(name, value, -1);
    this.#count(name, before, 1);
    throw new RingError(
      "PAYLOAD_TOO_LARGE",
      `state.put(${shown(name)}): the key would hold ${reached}, at most ${KEY_STATE_BYTES} and ${KEY_STATE_NAMES}`,
    );
  }

  #count(name: string, value: Uint8Array | undefined, sign: 1 | -1): void {
    if (value === undefined || this.#size === undefined) return;
    this.#size.bytes += sign * (name.length + value.length);
    this.#size.names += sign;
  }
}

function shown(name: unknown): string {
  return JSON.stringify(String(name).slice(0, 80));
}

const VALUE_BYTES = 256 * 1024;
const KEY_STATE_BYTES = 1024 * 1024;
const KEY_STATE_NAMES = 10_000;
/** With the longest key and app the store's row key stays under 1,024 bytes. */
const NAME_BYTES = 256;
const FEW_NAMES = 3;
const SCAN_LIMIT = 16;
