/** What a node says of its own health in gossip. */

import { afterEach, expect, test, vi } from "vitest";
import type { NodeDriver } from "../../ring/io/node.ts";
import { tellHealth } from "../../services/host/health-tag.ts";

afterEach(() => {
  vi.useRealTimers();
});

test("a store that stays broken is told once, and its recovery once; what others cause is not told", () => {
  vi.useFakeTimers();
  const told: (string | undefined)[] = [];
  let tags: ReadonlyMap<string, string> = new Map([["id", "x"]]);
  const node = {
    name: "a",
    member: () => ({ name: "a", tags }),
    step: (event: { readonly event: { readonly tags: ReadonlyMap<string, string> } }) => {
      tags = event.event.tags;
      told.push(tags.get("health"));
    },
  } as unknown as NodeDriver;
  let failing: readonly string[] = [];
  const checks = (): readonly { readonly name: string; readonly ok: boolean; readonly detail: string }[] =>
    ["ring", "lease", "store", "partitions", "progress"].map((name) => ({
      name,
      ok: !failing.includes(name),
      detail: "",
    }));
  const telling = tellHealth(node, () => ({ ready: failing.length === 0, checks: checks() }));
  vi.advanceTimersByTime(10_000);
  failing = ["lease"];
  vi.advanceTimersByTime(10_000);
  failing = ["partitions"];
  vi.advanceTimersByTime(4_000);
  failing = [];
  vi.advanceTimersByTime(4_000);
  expect(told).toEqual([]);
  failing = ["lease", "store", "progress"];
  vi.advanceTimersByTime(20_000);
  failing = [];
  vi.advanceTimersByTime(4_000);
  expect(told).toEqual(["store+progress", "ok"]);
  expect(tags.get("id")).toBe("x");
  telling.stop();
});
