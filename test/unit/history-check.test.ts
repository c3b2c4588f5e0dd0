/** The checker of histories: what passes, and what proves nothing. */

import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { checkHistory, formatVerdict } from "../../services/history/check.ts";
import { formatLine } from "../../services/history/line.ts";
import { broken, directories, GOOD, history, killed, paused } from "./history-hand.ts";

describe("a history that holds every promise", () => {
  test("of one node is good", () => {
    const verdict = checkHistory(
      history({
        ...GOOD,
        nodes: {
          n1: [
            { id: "t0", seq: 0, fence: 1, at: [1, 2] },
            { id: "t1", seq: 1, fence: 2, at: [3, 4] },
            { id: "t2", seq: 2, fence: 3, at: [5, 6] },
          ],
        },
      }),
    );
    expect(verdict).toMatchObject({
      ok: true,
      accepted: 3,
      done: 3,
      lost: 0,
      attempts: 3,
      duplicates: 0,
      keys: 1,
      lines: 11,
    });
    expect(formatVerdict(verdict)).toContain("every promise held");
  });

  test("of a kill and a takeover with a replay is good: what was not synced runs again, in order", () => {
    const verdict = checkHistory(
      history({
        ...GOOD,
        nodes: {
          n1: [
            { id: "t0", seq: 0, fence: 1, at: [1, 2] },
            { id: "t1", seq: 1, fence: 2, at: [3] },
          ],
          n2: [
            { id: "t0", seq: 0, fence: 11, at: [2_003, 2_004] },
            { id: "t1", seq: 1, fence: 12, at: [2_005, 2_006] },
            { id: "t2", seq: 2, fence: 13, at: [2_007, 2_008] },
          ],
        },
        harness: [killed("n1", 3.5)],
      }),
    );
    expect(verdict).toMatchObject({ ok: true, done: 3, duplicates: 1, killed: 1 });
    expect(broken(verdict)).toEqual([]);
    expect(verdict.takeovers).toMatchObject({ keys: 1, worstMs: 1_999.5 });
  });

  test("of tasks of a frozen machine that re-enter behind newer ones is good", () => {
    const verdict = checkHistory(
      history({
        ...GOOD,
        nodes: {
          n1: [{ id: "t0", seq: 0, fence: 1, at: [1, 9_001], outcome: "aborted" }],
          n2: [
            { id: "t1", seq: 1, fence: 11, at: [8_000, 8_001] },
            { id: "t2", seq: 2, fence: 12, at: [8_002, 8_003] },
            { id: "t0", seq: 0, fence: 13, at: [9_500, 9_501] },
          ],
        },
        harness: [paused("n1", 5, 9_000)],
      }),
    );
    expect(broken(verdict)).toEqual([]);
    expect(verdict).toMatchObject({ ok: true, done: 3, excusedOverlaps: 2 });
  });

  test("of a move to another node is good, and its pause is known", () => {
    const verdict = checkHistory(
      history({
        ...GOOD,
        nodes: {
          n1: [{ id: "t0", seq: 0, fence: 1, at: [1, 2] }],
          n2: [
            { id: "t1", seq: 1, fence: 2, at: [42, 43] },
            { id: "t2", seq: 2, fence: 3, at: [44, 45] },
          ],
        },
      }),
    );
    expect(verdict.ok).toBe(true);
    expect(verdict.moves).toMatchObject({ keys: 1, worstMs: 40 });
  });

  test("may have failed attempts, dead letters and a torn last line", () => {
    const verdict = checkHistory(
      history({
        ...GOOD,
        nodes: {
          n1: [
            { id: "t0", seq: 0, fence: 1, at: [1, 2], outcome: "error" },
            { id: "t0", seq: 0, fence: 2, at: [3, 4], attempt: 2, outcome: "dead" },
            { id: "t1", seq: 1, fence: 3, at: [5, 6] },
          ],
        },
        harness: [{ type: "settled", t: 9, id: "t2", state: "cancelled" }],
        torn: '{"type":"start","t":',
      }),
    );
    expect(verdict).toMatchObject({ ok: true, done: 3, dead: 2, torn: 1 });
  });
});

describe("a history that proves nothing does not pass", () => {
  test("an empty directory", () => {
    const directory = mkdtempSync(join(tmpdir(), "taskring-history-"));
    directories.push(directory);
    expect(checkHistory(directory).ok).toBe(false);
  });

  test("no accepted task", () => {
    expect(broken(checkHistory(history({ nodes: { n1: [] } })))).toEqual(["history"]);
  });

  test.each([
    ["a line of another kind", '{"type":"begin","t":1}\n'],
    ["a line that is not JSON", "oops\n"],
    ["a fence that is a number", '{"type":"start","t":1,"id":"t0","app":"a","key":"k","fence":1,"attempt":1}\n'],
    ["an end without a start", formatLine({ type: "end", t: 1, id: "zzz", fence: 1n, outcome: "ok" })],
    [
      "a task under two keys",
      formatLine({ type: "start", t: 1, id: "t0", app: "a", key: "other", fence: 1n, attempt: 1 }),
    ],
  ])("%s", (_what, tail) => {
    const verdict = checkHistory(
      history({ accepted: [["t0", 0]], nodes: { n1: [{ id: "t0", fence: 5, at: [2, 3] }] }, torn: tail }),
    );
    expect(broken(verdict)).toContain("history");
  });

  test("a file without its first line", () => {
    const directory = history({ accepted: [["t0", 0]], nodes: { n1: [{ id: "t0", fence: 5, at: [2, 3] }] } });
    writeFileSync(join(directory, "n9.ndjson"), formatLine({ type: "closed", t: 1 }));
    expect(broken(checkHistory(directory))).toEqual(["history"]);
  });
});
