/**
 * How many tasks and bytes of a stream are without an outcome. Bytes are counted by frame and freed with its last task, so
 * that no size is kept for each task.
 */

export interface FrameSpan {
  readonly firstSeq: number;
  readonly count: number;
  readonly bytes: number;
}

export class FrameWindow {
  tasks = 0;
  bytes = 0;
  /** Ascending; the settled ones before `#head` are cut off now and then. */
  #frames: { readonly firstSeq: number; readonly lastSeq: number; readonly bytes: number; left: number }[] = [];
  #head = 0;

  /** Frames come in ascending order. */
  add(frame: FrameSpan): void {
    this.tasks += frame.count;
    this.bytes += frame.bytes;
    this.#frames.push({
      firstSeq: frame.firstSeq,
      lastSeq: frame.firstSeq + frame.count - 1,
      bytes: frame.bytes,
      left: frame.count,
    });
  }

  /** Every number from `first` to `last` that lies in a frame has its outcome. Each number is settled once. */
  settle(first: number, last: number): void {
    const frames = this.#frames;
    for (let index = this.#find(first); index < frames.length; index++) {
      const frame = frames[index];
      if (frame === undefined || frame.firstSeq > last) break;
      const overlap = Math.min(last, frame.lastSeq) - Math.max(first, frame.firstSeq) + 1;
      if (overlap <= 0) continue;
      frame.left -= overlap;
      this.tasks -= overlap;
      if (frame.left === 0) this.bytes -= frame.bytes;
    }
    while (this.#head < frames.length && frames[this.#head]?.left === 0) this.#head++;
    if (this.#head > 64 && this.#head * 2 > frames.length) {
      this.#frames = frames.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Index of the first frame that ends at `seq` or later. */
  #find(seq: number): number {
    let low = this.#head;
    let high = this.#frames.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#frames[middle]?.lastSeq ?? 0) < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
