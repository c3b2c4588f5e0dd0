/**
 * Rows of one space in key order, by where a change of each begins in the journal's bytes.
 *
 * Adding is an append. Who looks first puts in order what has been added since, if that is much, and passes over the rest:
 * so a lookup between many commits costs neither a look at every row nor a sort. What comes in key order, as the rows of a
 * partition that is dropped step by step, is put behind what there is.
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
    const found = sorted.slice(
      firstNotBefore(sorted, (at) => compare(at, start) < 0),
      firstNotBefore(sorted, (at) => compare(at, end) < 0),
    );
    const added = this.#added.filter((at) => compare(at, start) >= 0 && compare(at, end) < 0);
    return added.length === 0 ? found : mergeInOrder(bytes, keyOf, found, added);
  }

  #order(bytes: Uint8Array, keyOf: (at: number) => KeyPlace): void {
    const compare = comparePlaces(bytes, keyOf);
    const added = this.#added.sort(compare);
    const behind = this.#sorted.splice(firstNotBefore(this.#sorted, (at) => compare(at, added[0]!) < 0));
    for (const at of mergeInOrder(bytes, keyOf, behind, added)) this.#sorted.push(at);
    this.#added = [];
  }
}

function firstNotBefore(sorted: readonly number[], isBefore: (at: number) => boolean): number {
  let low = 0;
  for (let high = sorted.length; low < high; ) {
    const middle = (low + high) >>> 1;
    if (isBefore(sorted[middle]!)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function comparePlaces(bytes: Uint8Array, keyOf: (at: number) => KeyPlace): (left: number, right: number) => number {
  return (left, right) => {
    const { from, to } = keyOf(left);
    const other = keyOf(right);
    return compareBytes(bytes, from, to, bytes, other.from, other.to);
  };
}

/** `sorted` and `added`, which is put in order by this. */
function mergeInOrder(
  bytes: Uint8Array,
  keyOf: (at: number) => KeyPlace,
  sorted: readonly number[],
  added: number[],
): number[] {
  const compare = comparePlaces(bytes, keyOf);
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
