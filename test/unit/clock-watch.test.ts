/** A suspended machine, as its two clocks show it. */

import { expect, test } from "vitest";
import { ClockWatch } from "../../ring/io/clock-watch.ts";

test("P3: a suspend is noticed with the first thing done after it, and once", () => {
  let now = 5_000;
  let slept = 100_000;
  const watch = new ClockWatch({ monotonicMs: () => now, uptimeMs: () => now + slept });
  const passed = (ms: number): boolean => {
    now += ms;
    return watch.suspended(now);
  };
  expect(passed(50)).toBe(false);
  slept += 1_500;
  expect(passed(20)).toBe(true);
  expect(passed(50)).toBe(false);
  slept += 900;
  expect(passed(600_000)).toBe(false);
  for (let again = 0; again < 3; again++) {
    slept += 400;
    expect(passed(100), `${again}`).toBe(again === 2);
  }
});

test("a drift of the clocks against each other is no suspend", () => {
  let now = 0;
  const watch = new ClockWatch({ monotonicMs: () => now, uptimeMs: () => now * 1.001 });
  let noticed = 0;
  for (let hour = 0; hour < 24 * 3_600; hour++) {
    now += 1_000;
    if (watch.suspended(now)) noticed++;
  }
  expect(noticed).toBe(0);
});

test("the clocks are looked at now and then only", () => {
  let now = 0;
  let looks = 0;
  const watch = new ClockWatch({
    monotonicMs: () => now,
    uptimeMs: () => {
      looks++;
      return now;
    },
  });
  for (let step = 0; step < 10_000; step++) {
    now += 0.01;
    watch.suspended(now);
  }
  expect(looks).toBeLessThan(10);
});
