/** Flap damping: who gets partitions again, and when. */

import { expect, test } from "vitest";
import { parseNodeName } from "../../ring/ids.ts";
import type { MemberNotice } from "../../ring/membership/events.ts";
import { Returns } from "../../ring/node/returns.ts";

const A = parseNodeName("a");

test("a restarted member returns at once, then after 4 s, then 8", () => {
  const returns = new Returns();
  const waits: number[] = [];
  let now = 0;
  for (let start = 1; start <= 3; start++) {
    returns.notice(now, notice("member-dead", start));
    expect(returns.mayReturn(now, A)).toBe(false);
    returns.notice(now, notice("member-up", start + 1));
    const from = now;
    while (!returns.mayReturn(now, A)) now += 100;
    returns.returned(now, A);
    waits.push(now - from);
  }
  expect(waits).toEqual([0, 4_000, 8_000]);
});

test("P8: however often a member has restarted, it returns when it has been alive for a minute", () => {
  const returns = new Returns();
  for (let start = 1; start <= 9; start++) {
    returns.notice(0, notice("member-dead", start));
    returns.notice(0, notice("member-up", start + 1));
    returns.returned(0, A);
  }
  returns.notice(1_000, notice("member-dead", 10));
  returns.notice(2_000, notice("member-up", 11));
  returns.notice(20_000, notice("member-suspect", 11));
  expect([returns.mayReturn(79_999, A), returns.mayReturn(80_000, A)]).toEqual([false, true]);
  returns.returned(80_000, A);
  // The next time nobody takes it for dead before its new process is there.
  expect([returns.mayReturn(90_000, A), returns.mayReturn(149_999, A), returns.mayReturn(150_000, A)]).toEqual([
    false,
    false,
    true,
  ]);
});

test("a member that freezes 8 s again and again does not return before it is steady, and then once", () => {
  const returns = new Returns();
  let changes = 1; // it is down
  for (let cycle = 0; cycle < 6; cycle++) {
    const began = cycle * 16_000;
    returns.notice(began, notice("member-dead", 5));
    for (let at = 0; at < 8_000; at += 500) if (returns.mayReturn(began + at, A)) changes++;
    returns.notice(began + 8_000, notice("member-up", 5));
    for (let at = 8_000; at < 16_000; at += 500) if (returns.mayReturn(began + at, A)) changes++;
  }
  expect(changes).toBe(1);
  let now = 96_000;
  while (!returns.mayReturn(now, A)) now += 500;
  expect(now).toBe(5 * 16_000 + 8_000 + 10_000);
  returns.returned(now, A);
  // The next time it has to be steady for longer.
  returns.notice(200_000, notice("member-dead", 5));
  returns.notice(201_000, notice("member-up", 5));
  expect([returns.mayReturn(220_900, A), returns.mayReturn(221_000, A)]).toEqual([false, true]);
});

test("restarts and freezes are counted apart: a node that was restarted three times and freezes once is steady after 10 s", () => {
  const returns = new Returns();
  for (let start = 1; start <= 3; start++) {
    returns.notice(0, notice("member-dead", start));
    returns.notice(0, notice("member-up", start + 1));
    returns.returned(0, A);
  }
  returns.notice(100_000, notice("member-dead", 4));
  returns.notice(101_000, notice("member-up", 4));
  expect([returns.mayReturn(110_999, A), returns.mayReturn(111_000, A)]).toEqual([false, true]);
  returns.returned(111_000, A);
  // The freeze has not made restarts slower either: 4 s, 8, 16 after three of them.
  returns.notice(111_000, notice("member-dead", 4));
  returns.notice(111_000, notice("member-up", 5));
  expect(returns.mayReturn(111_000, A)).toBe(true);
});

test("a suspicion that is refuted begins the steady time anew", () => {
  const returns = new Returns();
  returns.notice(0, notice("member-dead", 1));
  returns.notice(1_000, notice("member-up", 1));
  returns.notice(9_000, notice("member-suspect", 1));
  expect(returns.mayReturn(12_000, A)).toBe(false);
  returns.notice(12_000, notice("member-up", 1));
  expect([returns.mayReturn(21_999, A), returns.mayReturn(22_000, A)]).toEqual([false, true]);
});

test("after an hour all is forgotten", () => {
  const returns = new Returns();
  for (const at of [0, 3_700_000]) {
    returns.notice(at, notice("member-dead", 1));
    returns.notice(at, notice("member-up", 1));
    expect([returns.mayReturn(at + 9_999, A), returns.mayReturn(at + 10_000, A)]).toEqual([false, true]);
    returns.returned(at + 10_000, A);
  }
});

test("tags that come late tell a restart as well", () => {
  const returns = new Returns();
  returns.notice(0, notice("member-dead", 1));
  returns.notice(0, notice("member-up", 1));
  returns.notice(1_000, notice("member-updated", 2));
  expect(returns.mayReturn(1_000, A)).toBe(true);
});

function notice(type: MemberNotice["type"], start: number): MemberNotice {
  const tags = new Map([["starts", String(start)]]);
  return { type, member: { name: A, address: { host: "h", port: 1 }, state: "alive", incarnation: 1, tags } };
}
