/** A seeded generator (mulberry32): the only source of chance in a simulation. */
export interface SeededRandom {
  (): number;
  between(low: number, high: number): number;
  below(limit: number): number;
  pick<T>(items: readonly T[]): T;
  chance(probability: number): boolean;
}

export function seededRandom(seed: number): SeededRandom {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  const random = next as SeededRandom;
  random.between = (low, high) => low + next() * (high - low);
  random.below = (limit) => Math.floor(next() * limit);
  random.pick = (items) => items[Math.floor(next() * items.length)]!;
  random.chance = (probability) => next() < probability;
  return random;
}
