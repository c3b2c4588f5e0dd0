/**
 * When a client asks how the ring is: refusals by the thousand are one question, and the longer the ring stays as it is, the longer
 * apart are the questions.
 *
 * R1  One question at a time; whoever comes meanwhile waits for its answer.
 * R2  A node that tells of a newer ring is news: that is asked for at once, after the question under way if its answer is older.
 * R3  Without news a least pause lies between two, which grows to `PAUSE_MOST_MS` while the epoch stays. Nobody waits for its end:
 *     who comes too early goes on with what is known, and comes again if that was refused.
 */

export interface RingRefreshOptions {
  /** Asks for the ring and learns it; never rejects. */
  readonly ask: () => Promise<void>;
  /** Of the ring as it is known. */
  readonly epoch: () => number;
}

export class RingRefresh {
  readonly #options: RingRefreshOptions;
  #underWay: Promise<void> | undefined;
  /** When the last question began, then when it was answered. */
  #lastAt = Number.NEGATIVE_INFINITY;
  #pauseMs = PAUSE_FIRST_MS;
  /** The newest that nodes have told of. */
  #heard = Number.NEGATIVE_INFINITY;

  constructor(options: RingRefreshOptions) {
    this.#options = options;
  }

  /** Something was refused, or somebody is not where they were. Resolves when the ring is known as well as it can be now. */
  wanted(): Promise<void> {
    if (this.#underWay !== undefined) return this.#underWay; // R1
    return this.#sinceMs() < this.#pauseMs ? Promise.resolve() : this.#ask(); // R3
  }

  /** A node has the ring at this epoch (R2). */
  heard(epoch: number): void {
    if (epoch <= this.#options.epoch()) return;
    this.#heard = epoch;
    this.#pauseMs = PAUSE_FIRST_MS; // who is asked may not have it yet
    if (this.#underWay === undefined) void this.#ask();
  }

  /** Nodes may move, one after the other, behind the back of who only ever asks one of them. */
  refreshIfStale(): void {
    if (this.#sinceMs() > STALE_MS) void this.wanted();
  }

  #sinceMs(): number {
    return performance.now() - this.#lastAt;
  }

  #ask(): Promise<void> {
    const { ask, epoch } = this.#options;
    const before = epoch();
    const isCalm = this.#sinceMs() > CALM_MS;
    this.#lastAt = performance.now();
    this.#heard = Number.NEGATIVE_INFINITY;
    this.#underWay = ask().then(() => {
      this.#underWay = undefined;
      this.#lastAt = performance.now();
      this.#pauseMs = isCalm || epoch() !== before ? PAUSE_FIRST_MS : Math.min(PAUSE_MOST_MS, 2 * this.#pauseMs);
      return this.#heard > epoch() ? this.#ask() : undefined; // R2
    });
    return this.#underWay;
  }
}

const PAUSE_FIRST_MS = 20;
const PAUSE_MOST_MS = 1_000;
/** Nobody asked for so long: what is asked now has another cause. */
const CALM_MS = 3_000;
const STALE_MS = 60_000;
