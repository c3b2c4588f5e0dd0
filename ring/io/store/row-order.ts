/**
 * Rows of one space in key order, by where a change of each begins in the journal's bytes.
 *
 * Adding is an append. Who looks first puts in order what has been added since, if that is much, and passes over the rest:
 * so a lookup between many commits costs neither a look at every row nor a sort.
 */

export class RowOrder {
  #sorted: number[] = [];
  #added: number[] = [];

  add(at: number): void {
    this.#added.push(at);
  }

  /** Where the changes of keys in `[start, end)` begin, in no order. `keyOf` says where a change's key lies in `bytes`. */
  within(bytes: Uint8Array, keyOf: (at: number) => KeyPlace, start: Uint8Array, end: Uint8Array): number[] {
    const compare = (at: number, key: Uint8Array): number => {
      const { from, to } = keyOf(at);
      return compareBytes(bytes, from, to, key, 0, key.length);
    };
    if (this.#added.length > ADDED_MOST) this.#order(bytes, keyOf);
    const sorted = this.#sorted;
    let low = 0;
    for (let high = sorted.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if (compare(sorted[middle]!, start) < 0) low = middle + 1;
      else high = middle;
    }
    const found: number[] = [];
    for (; low < sorted.length && compare(sorted[low]!, end) < 0; low++) found.push(sorted[low]!);
    for (const at of this.#added) if (compare(at, start) >= 0 && compare(at, end) < 0) found.push(at);
    return found;
  }

  #order(bytes: Uint8Array, keyOf: (at: number) => KeyPlace): void {
    const compare = (left: number, right: number): number => {
      const { from, to } = keyOf(left);
      const other = keyOf(right);
      return compareBytes(bytes, from, to, bytes, other.from, other.to);
    };
    const added = this.#added.sort(compare);
    const old = this.#sorted;
    const merged: number[] = [];
    let next = 0;
    for (const at of added) {
      while (next < old.length && compare(old[next]!, at) < 0) merged.push(old[next++]!);
      merged.push(at);
    }
    while (next < old.length) merged.push(old[next++]!);
    this.#sorted = merged;
    this.#added = [];
  }
}

export interface KeyPlace {
  readonly from: number;
  readonly to: number;
}

function compareBytes(
  left: Uint8Array,
  leftFrom: number,
  leftTo: number,
  right: Uint8Array,
  rightFrom: number,
  rightTo: number,
): number {
  const length = Math.min(leftTo - leftFrom, rightTo - rightFrom);
  for (let index = 0; index < length; index++) {
    const difference = left[leftFrom + index]! - right[rightFrom + index]!;
    if (difference !== 0) return difference;
  }
  return leftTo - leftFrom - (rightTo - rightFrom);
}

/** So few are looked at one by one. */
const ADDED_MOST = 64;
