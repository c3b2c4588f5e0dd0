/**
 * A log-linear histogram: every power of two is cut into 16 equal buckets, so a value is known to within 6.3 %.
 *
 * G1  Histograms of the same layout add up bucket by bucket, over nodes and time; percentiles are taken after merging,
 *     never averaged.
 * G2  The size is fixed: values under 2^-20 (a microsecond, in seconds) and from 2^20 on fall into the outermost buckets.
 */

export interface HistogramSnapshot {
  readonly count: number;
  readonly sum: number;
  /** Pairs of bucket index and count, by index; empty buckets are left out. */
  readonly buckets: readonly (readonly [number, number])[];
}

export class Histogram {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;
  #sum = 0;

  get count(): number {
    return this.#count;
  }

  get sum(): number {
    return this.#sum;
  }

  /** In the metric's base unit, so seconds for times. What is not a number, or negative, counts as 0. */
  record(value: number, times = 1): void {
    const sane = value > 0 ? Math.min(value, LARGEST) : 0;
    this.#counts[bucketOf(sane)]! += times;
    this.#count += times;
    this.#sum += sane * times;
  }

  /** G1. */
  merge(other: Histogram | HistogramSnapshot): void {
    const { buckets, count, sum } = other instanceof Histogram ? other.snapshot() : other;
    for (const [bucket, times] of buckets) {
      if (Number.isInteger(bucket) && bucket >= 0 && bucket < BUCKETS && times > 0) this.#counts[bucket]! += times;
    }
    this.#count += count;
    this.#sum += sum;
  }

  snapshot(): HistogramSnapshot {
    const buckets: (readonly [number, number])[] = [];
    this.#counts.forEach((times, bucket) => {
      if (times > 0) buckets.push([bucket, times]);
    });
    return { count: this.#count, sum: this.#sum, buckets };
  }

  /** The upper bound of the bucket that holds the quantile; `quantile` is 0 to 1. Undefined while empty. */
  quantile(quantile: number): number | undefined {
    if (this.#count === 0) return undefined;
    const rank = Math.max(1, Math.ceil(quantile * this.#count));
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.#counts[bucket] as number;
      if (seen >= rank) return upperBound(bucket);
    }
    return upperBound(BUCKETS - 1);
  }

  /** How many values were at most each power of two from 2^-14 to 2^10: the same bounds on every node and forever. */
  cumulative(): readonly { readonly bound: number; readonly count: number }[] {
    const rows: { readonly bound: number; readonly count: number }[] = [];
    let seen = 0;
    let bucket = 0;
    for (let exponent = SHOWN_FROM; exponent <= SHOWN_TO; exponent++) {
      const bound = 2 ** exponent;
      for (; bucket < BUCKETS && upperBound(bucket) <= bound; bucket++) seen += this.#counts[bucket] as number;
      rows.push({ bound, count: seen });
    }
    return rows;
  }
}

/** Values in (lower, upper] of a bucket; read off the bits of the float, exactly and without a logarithm. */
function bucketOf(value: number): number {
  if (value <= SMALLEST) return 0;
  scratch.setFloat64(0, value);
  const high = scratch.getUint32(0);
  const octave = (high >>> 20) - 1023 - LEAST_EXPONENT;
  const step = (high >>> (20 - STEP_BITS)) & (STEPS - 1);
  const bucket = 1 + octave * STEPS + step;
  // A value on the bound belongs to the bucket below it.
  const onBound = (high & STEP_MASK) === 0 && scratch.getUint32(4) === 0;
  return Math.min(BUCKETS - 1, onBound ? bucket - 1 : bucket);
}

function upperBound(bucket: number): number {
  if (bucket === 0) return SMALLEST;
  const octave = Math.trunc((bucket - 1) / STEPS);
  const step = (bucket - 1) % STEPS;
  return 2 ** (LEAST_EXPONENT + octave) * (1 + (step + 1) / STEPS);
}

const LEAST_EXPONENT = -20;
const OCTAVES = 40;
const STEP_BITS = 4;
const STEPS = 1 << STEP_BITS;
const STEP_MASK = (1 << (20 - STEP_BITS)) - 1;
const BUCKETS = OCTAVES * STEPS + 1;
const SMALLEST = 2 ** LEAST_EXPONENT;
const LARGEST = 2 ** (LEAST_EXPONENT + OCTAVES);
const SHOWN_FROM = -14;
const SHOWN_TO = 10;
const scratch = new DataView(new ArrayBuffer(8));
