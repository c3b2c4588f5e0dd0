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

  /** Where the changes of keys in `[start, end)` begin, in key order. `keyOf` says where a change's key lies in `bytes`. */
  within(bytes: Uint8Array, keyOf: (at: number) => KeyPlace, start: Uint8Array, end: Uint8Array): number[] {
    const compare = (at: number, key: Uint8Array): number => {
      const { from, to } = keyOf(at);
      return compareBytes(bytes, from, to, key, 0, key.length);
    };
    if (this.#added.length > ADDED_MOST) this.#order(bytes, keyOf);
    const sorted = this.#sorted;
    const firstFrom = (key: Uint8Array): number => {
      let low = 0;
      for (let high = sorted.length; low < high; ) {
        const middle = (low + high) >>> 1;
        if (compare(sorted[middle]!, key) < 0) low = middle + 1;
        else high = middle;
      }
      return low;
    };
    const found = sorted.slice(firstFrom(start), firstFrom(end));
    const added = this.#added.filter((at) => compare(at, start) >= 0 && compare(at, end) < 0);
    return added.length === 0 ? found : mergeInOrder(bytes, keyOf, found, added);
  }

  #order(bytes: Uint8Array, keyOf: (at: number) => KeyPlace): void {
    this.#sorted = mergeInOrder(bytes, keyOf, this.#sorted, this.#added);
    this.#added = [];
  }
}

/** `sorted` and `added`, which is put in order by this. */
function mergeInOrder(
  bytes: Uint8Array,
  keyOf: (at: number) => KeyPlace,
  sorted: readonly number[],
  added: number[],
): number[] {
  const compare = (left: number, right: number): number => {
    const { from, to } = keyOf(left);
    const other = keyOf(right);
    return compareBytes(bytes, from, to, bytes, other.from, other.to);
  };
  const merged: number[] = [];
  let next = 0;
  for (const at of added.sort(compare)) {
    while (next < sorted.length && compare(sorted[next]!, at) < 0) merged.push(sorted[next++]!);
    merged.push(at);
  }
  while (next < sorted.length) merged.push(sorted[next++]!);
  return merged;
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
