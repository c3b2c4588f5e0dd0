/** `ringctl demo` without its ring: what it calls broken, and the feeds it serves. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openPublisher } from "../../cli/demo-feeds.ts";
import type { PipeFacts } from "../../cli/demo-pipes.ts";
import { type DemoFacts, judgeDemo, verdictSheet } from "../../cli/demo-verdict.ts";
import type { Report } from "../../pipe/views.ts";
import type { RuleResult, Verdict } from "../../services/history/check.ts";
import { RULES, type RuleName } from "../../services/history/rules.ts";

describe("verdict", () => {
  test("a run in which everything held is held", () => {
    expect(broken(facts())).toEqual([]);
  });

  test("P1: a lost task, a dead task and a refused submit each break it", () => {
    expect(broken(facts({ history: history({ lost: 1 }, { lost: 1 }) }))).toEqual(["every accepted task ended"]);
    expect(broken(facts({ history: history({ dead: 1 }) }))).toEqual(["every accepted task ended"]);
    expect(broken(facts({ submitted: 11, refusals: new Map([["QUEUE_FULL", 1]]) }))).toEqual([
      "every accepted task ended",
    ]);
  });

  test("P3: tasks out of order and overlapping attempts break it", () => {
    expect(broken(facts({ history: history({}, { order: 2 }) }))).toEqual(["in order, 5 keys"]);
    expect(broken(facts({ history: history({}, { overlap: 1 }) }))).toEqual(["one at a time per key"]);
  });

  test("P2: a counter that differs from the submits breaks it, and is named", () => {
    const wrong = facts({ touches: { keys: 1, sum: 4, rows: [{ key: "profile-1", found: 4, expected: 5 }] } });
    expect(broken(wrong)).toEqual(["counters equal the submits"]);
    const text = verdictSheet(wrong, judgeDemo(wrong)).lines((part) => part);
    expect(text.join("\n")).toContain("profile-1: 4 instead of 5");
  });

  test("P8: partitions that moved otherwise than planned break it", () => {
    const join = { node: "n4", planned: 3, moved: 4, asPlanned: false, tookMs: 10 };
    expect(broken(facts({ join }))).toEqual(["moved as planned"]);
  });

  test("P6: a run that ended short, without a report or with a failure breaks it", () => {
    expect(broken(facts({ pipes: [pipe({ came: 99 })] }))).toEqual(["ban-profile complete"]);
    expect(broken(facts({ pipes: [pipe({ report: undefined, error: "RUN_FAILED: no" })] }))).toEqual([
      "ban-profile complete",
    ]);
    expect(broken(facts({ pipes: [pipe({}, { failed: 1 })] }))).toEqual(["ban-profile complete"]);
    expect(broken(facts({ pipes: [pipe({}, { acknowledged: 0 })] }))).toEqual(["ban-profile complete"]);
  });

  test("a takeover that nothing waited for proves nothing", () => {
    expect(broken(facts({ history: history({ takeovers: figures(0) }) }))).toEqual(["n2's keys taken over"]);
  });

  test("a history that is not fit to be judged breaks it", () => {
    expect(broken(facts({ history: history({}, { history: 1 }) }))).toEqual(["history complete and readable"]);
  });
});

describe("feeds", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "taskring-demo-test-"));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  test("each publication adds an entry to each JSON Feed of the copy, and what is expected follows", async () => {
    await using publisher = await openPublisher({ folder, source: undefined });
    const before = await publisher.expected();
    const added = await publisher.publish();
    const after = await publisher.expected();
    const sum = (counts: ReadonlyMap<string, number> | undefined): number =>
      [...(counts?.values() ?? [])].reduce((total, each) => total + each, 0);
    expect(added).toBeGreaterThan(0);
    expect(sum(after)).toBe(sum(before) + added);
  });

  test("feeds that others serve are taken as they are", async () => {
    await using publisher = await openPublisher({ folder, source: "https://example.org/a, https://example.org/b" });
    expect(publisher.feeds.map(({ url }) => url)).toEqual(["https://example.org/a", "https://example.org/b"]);
    expect(await publisher.expected()).toBeUndefined();
  });

  test("a folder that is not there, or holds no feeds, is a usage error", async () => {
    await expect(openPublisher({ folder, source: join(folder, "none") })).rejects.toMatchObject({ code: "USAGE" });
    await expect(openPublisher({ folder, source: folder })).rejects.toMatchObject({ code: "USAGE" });
  });
});

function broken(of: DemoFacts): readonly string[] {
  return judgeDemo(of)
    .filter((check) => !check.ok)
    .map(({ says }) => says);
}

function facts(change: Partial<DemoFacts> = {}): DemoFacts {
  return {
    seconds: 20,
    submitted: 10,
    refusals: new Map(),
    answers: { p50Ms: 1, p99Ms: 2, worstMs: 3 },
    join: { node: "n4", planned: 3, moved: 3, asPlanned: true, tookMs: 10 },
    takeover: { node: "n2", tookMs: 10 },
    touches: { keys: 1, sum: 5, rows: [{ key: "profile-1", found: 5, expected: 5 }] },
    entries: undefined,
    feedAnswers: new Map(),
    pipes: [pipe()],
    history: history(),
    ...change,
  };
}

function pipe(change: Partial<PipeFacts> = {}, report: Partial<Report> = {}): PipeFacts {
  return {
    pipeline: "ban-profile",
    killed: "n2",
    expected: 100,
    came: 100,
    twice: 7,
    report: {
      run: "r",
      pipeline: "ban-profile",
      state: "done",
      accepted: 1,
      acknowledged: 1,
      failed: 0,
      failures: [],
      outputs: 107,
      resent: 9,
      elapsedMs: 5,
      ...report,
    },
    error: undefined,
    ...change,
  };
}

function history(change: Partial<Verdict> = {}, violations: Partial<Record<RuleName, number>> = {}): Verdict {
  const rules = (Object.keys(RULES) as RuleName[]).map((rule): RuleResult => {
    const { promise, says } = RULES[rule];
    return { rule, promise, says, violations: violations[rule] ?? 0, examples: [], counts: true };
  });
  return {
    ok: true,
    accepted: 10,
    done: 10,
    dead: 0,
    lost: 0,
    keys: 5,
    attempts: 10,
    duplicates: 0,
    excusedOverlaps: 0,
    uncountedWrites: 0,
    processes: 5,
    killed: 1,
    lines: 30,
    torn: 0,
    moves: figures(4),
    takeovers: figures(4),
    rules,
    ...change,
  };
}

function figures(keys: number): Verdict["moves"] {
  return { keys, p50Ms: 1, p99Ms: 2, worstMs: 3 };
}
