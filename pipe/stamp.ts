/**
 * Who sent an input and as its how-manieth: for fittings whose state outlives their node, so that an input that is sent again
 * is not absorbed twice.
 *
 * I1  A stamp is given once, where an input is first placed for its partition, and stays with it over every node it passes.
 * I2  Marks are exact: the stamps that are in a state, as ranges, so that an input out of its order is neither lost nor counted
 *     twice.
 */

export class Stamped {
  readonly value: unknown;
  /** Of the sending process; unique in the ring's life. */
  readonly life: number;
  readonly number: number;

  constructor(value: unknown, life: number, number: number) {
    this.value = value;
    this.life = life;
    this.number = number;
  }
}

/** `[life, first, last, first, last, …]` for each sender. */
export type MarkRows = readonly (readonly number[])[];

export class Marks {
  readonly #ranges = new Map<number, number[]>();

  has(life: number, number: number): boolean {
    const ranges = this.#ranges.get(life);
    if (ranges === undefined) return false;
    const at = placeOf(ranges, number);
    return at >= 0 && (ranges[at + 1] as number) >= number;
  }

  add(life: number, number: number): void {
    let ranges = this.#ranges.get(life);
    if (ranges === undefined) {
      ranges = [];
      this.#ranges.set(life, ranges);
    }
    const at = placeOf(ranges, number);
    if (at >= 0 && (ranges[at + 1] as number) >= number) return;
    const joinsBefore = at >= 0 && ranges[at + 1] === number - 1;
    const next = at < 0 ? 0 : at + 2;
    const joinsAfter = ranges[next] === number + 1;
    if (joinsBefore && joinsAfter) ranges.splice(at + 1, 2);
    else if (joinsBefore) ranges[at + 1] = number;
    else if (joinsAfter) ranges[next] = number;
    else ranges.splice(next, 0, number, number);
  }

  rows(): MarkRows {
    return [...this.#ranges].map(([life, ranges]) => [life, ...ranges]);
  }

  /** Before anything is added; rows that have no known shape are left out. */
  load(rows: MarkRows): void {
    for (const [life, ...ranges] of rows)
      if (life !== undefined && ranges.length % 2 === 0) this.#ranges.set(life, ranges);
  }
}

/** Index of the last range that starts at or before `number`; -2 for none. */
function placeOf(ranges: readonly number[], number: number): number {
  let [low, high] = [0, ranges.length / 2 - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    if ((ranges[middle * 2] as number) <= number) low = middle + 1;
    else high = middle - 1;
  }
  return high * 2;
}
