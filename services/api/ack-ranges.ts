/** Numbers that come nearly in order, given back as ranges. */

export class AckRanges {
  #ranges: number[] = [];
  #ordered = true;

  add(seq: number): void {
    const ranges = this.#ranges;
    const last = ranges.length - 1;
    if (last > 0) {
      const end = ranges[last] as number;
      if (seq === end + 1) {
        ranges[last] = seq;
        return;
      }
      if (seq < end) this.#ordered = false;
    }
    ranges.push(seq, seq);
  }

  /** First and last of each range, alternating, ascending and merged; empties this. */
  take(): readonly number[] {
    const ranges = this.#ranges;
    if (ranges.length === 0) return NONE;
    this.#ranges = [];
    if (this.#ordered) return ranges;
    this.#ordered = true;
    return merged(ranges);
  }
}

function merged(ranges: readonly number[]): readonly number[] {
  const pairs: { readonly first: number; readonly last: number }[] = [];
  for (let at = 0; at < ranges.length; at += 2)
    pairs.push({ first: ranges[at] as number, last: ranges[at + 1] as number });
  pairs.sort((left, right) => left.first - right.first);
  const result: number[] = [];
  for (const { first, last } of pairs) {
    const end = result.length - 1;
    if (end > 0 && first === (result[end] as number) + 1) result[end] = last;
    else result.push(first, last);
  }
  return result;
}

const NONE: readonly number[] = [];
