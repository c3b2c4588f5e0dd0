/** When the ring is asked for: R1 to R3 of `ring-refresh.ts`. */

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { RingRefresh } from "../../../services/client/ring-refresh.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

interface Asked {
  readonly refresh: RingRefresh;
  /** When the ring was asked for, in ms. */
  readonly times: number[];
  /** What the next answers say. */
  epoch: number;
}

function asked(answerMs: number = 5): Asked {
  let known = 7;
  const began = performance.now();
  const made: Asked = {
    refresh: new RingRefresh({
      ask: async () => {
        made.times.push(performance.now() - began);
        const answer = made.epoch;
        await new Promise((resolve) => setTimeout(resolve, answerMs));
        known = Math.max(known, answer);
      },
      epoch: () => known,
    }),
    times: [],
    epoch: 7,
  };
  return made;
}

async function refusals(ring: Asked, forMs: number): Promise<void> {
  for (let ms = 0; ms < forMs; ms++) {
    void ring.refresh.wanted();
    void ring.refresh.wanted();
    await vi.advanceTimersByTimeAsync(1);
  }
}

test("the first refusal asks at once, the next ones ever less often, and never less than once a second", async () => {
  const ring = asked();
  await refusals(ring, 20_000);
  const pauses = ring.times.slice(1).map((time, index) => time - (ring.times[index] as number));
  expect(ring.times[0]).toBe(0);
  expect(pauses.slice(0, 7)).toEqual([20, 40, 80, 160, 320, 640, 1_000].map((pause) => pause + 5));
  expect(Math.max(...pauses)).toBe(1_005);
});

test("R3: who comes too early does not wait; R1: who comes during a question waits for its answer", async () => {
  const ring = asked(100);
  let told = 0;
  for (let count = 0; count < 3; count++) void ring.refresh.wanted().then(() => (told += 1));
  await vi.advanceTimersByTimeAsync(99);
  expect(told).toBe(0);
  await vi.advanceTimersByTimeAsync(1);
  expect(told).toBe(3);
  await ring.refresh.wanted();
  expect(ring.times).toEqual([0]);
});

test("R2: news asks at once, however short ago the last question was; what is known is no news", async () => {
  const ring = asked();
  void ring.refresh.wanted();
  await vi.advanceTimersByTimeAsync(6);
  void ring.refresh.wanted();
  ring.refresh.heard(7);
  expect(ring.times).toEqual([0]);
  ring.refresh.heard(8);
  expect(ring.times).toEqual([0, 6]);
});

test("R2: news during a question is asked for after it, unless its answer had it", async () => {
  const ring = asked();
  void ring.refresh.wanted();
  ring.refresh.heard(8);
  ring.epoch = 9;
  await vi.advanceTimersByTimeAsync(5);
  expect(ring.times).toEqual([0, 5]);
  ring.refresh.heard(9);
  await vi.advanceTimersByTimeAsync(5);
  expect(ring.times).toEqual([0, 5]);
});

test("a node that is behind the news is asked again soon, but not without a pause", async () => {
  const ring = asked();
  await refusals(ring, 5_000);
  const before = ring.times.length;
  ring.refresh.heard(8);
  await vi.advanceTimersByTimeAsync(30);
  expect(ring.times).toHaveLength(before + 1);
  await refusals(ring, 30);
  expect(ring.times).toHaveLength(before + 2);
});

test.each([
  { what: "a ring that changed", change: true, calmMs: 0 },
  { what: "some calm", change: false, calmMs: 4_000 },
])("after $what the pauses are short again", async ({ change, calmMs }) => {
  const ring = asked();
  await refusals(ring, 5_000);
  if (change) ring.epoch = 8;
  await vi.advanceTimersByTimeAsync(Math.max(1_000, calmMs));
  const before = ring.times.length;
  await refusals(ring, 100);
  const [first = 0, second = 0, third = 0] = ring.times.slice(before);
  expect([second - first, third - second]).toEqual([25, 45]);
});
