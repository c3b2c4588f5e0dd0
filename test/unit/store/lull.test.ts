/** When the database is told of a segment. */

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Lull } from "../../../ring/io/store/lull.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** `share`: of the segment before, what stands in the next one as well. */
function begin(share: number): { readonly lull: Lull; full: number; readonly told: () => Promise<boolean> } {
  const lull = new Lull();
  let isOver = false;
  const each = {
    lull,
    full: 0,
    told: async () => {
      await vi.advanceTimersByTimeAsync(0);
      return isOver;
    },
  };
  void lull.over({ filled: () => each.full, replaced: () => share }).then(() => {
    isOver = true;
  });
  return each;
}

test("rows that come again are told when half of the next segment is full", async () => {
  const each = begin(0.3);
  for (const full of [0.1, 0.2, 0.49]) {
    each.full = full;
    each.lull.look();
    expect(await each.told(), String(full)).toBe(false);
  }
  each.full = 0.5;
  each.lull.look();
  expect(await each.told()).toBe(true);
});

test("rows that stay are told once an eighth of it is full", async () => {
  const each = begin(0.1);
  each.full = 0.12;
  each.lull.look();
  expect(await each.told()).toBe(false);
  each.full = 0.13;
  each.lull.look();
  expect(await each.told()).toBe(true);
});

test("whoever waits for the database, or a quarter of a second, ends it; and the next one begins anew", async () => {
  const each = begin(1);
  each.lull.end();
  expect(await each.told()).toBe(true);
  const slow = begin(1);
  await vi.advanceTimersByTimeAsync(240);
  expect(await slow.told()).toBe(false);
  await vi.advanceTimersByTimeAsync(20);
  expect(await slow.told()).toBe(true);
  let again = false;
  void slow.lull.over({ filled: () => 0, replaced: () => 1 }).then(() => {
    again = true;
  });
  slow.lull.look();
  await vi.advanceTimersByTimeAsync(100);
  expect(again).toBe(false);
  slow.lull.end();
  await vi.advanceTimersByTimeAsync(0);
  expect(again).toBe(true);
  expect(vi.getTimerCount()).toBe(0);
});
