/** The checker of histories finds tasks of a key out of order, or at once. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { checkHistory, type Verdict } from "../../services/history/check.ts";
import { formatLine } from "../../services/history/line.ts";
import { broken, GOOD, history, killed, MS, paused } from "./history-hand.ts";

describe("P3: a key's tasks out of order, or at once, are found", () => {
  test("a later task that started first", () => {
    const verdict = checkHistory(
      history({
        accepted: [
          ["t0", 0],
          ["t1", 1],
        ],
        nodes: { n1: [{ id: "t1", seq: 1, fence: 1, at: [1, 2] }], n2: [{ id: "t0", seq: 0, fence: 2, at: [3, 4] }] },
      }),
    );
    expect([verdict.ok, broken(verdict)]).toEqual([false, ["order"]]);
  });

  test("a task that started before one that was acknowledged before its submit, whoever submitted them", () => {
    const nodes = {
      n1: [{ id: "late", fence: 1, at: [11, 12] as const }],
      n2: [{ id: "early", fence: 2, at: [13, 14] as const }],
    };
    const verdict = (submitted: number): Verdict =>
      checkHistory(
        history({
          accepted: [
            ["early", 1, 5, 1],
            ["late", 0, 10, submitted],
          ],
          nodes,
        }),
      );
    expect(broken(verdict(6))).toEqual(["order"]);
    expect(broken(verdict(4))).toEqual([]);
  });

  test("a stranded task that ran behind newer ones", () => {
    const verdict = checkHistory(
      history({
        ...GOOD,
        nodes: {
          n2: [
            { id: "t0", seq: 0, fence: 1, at: [1, 2] },
            { id: "t2", seq: 2, fence: 2, at: [3, 4] },
          ],
          n3: [{ id: "t1", seq: 1, fence: 3, at: [9, 10] }],
        },
      }),
    );
    expect(broken(verdict)).toEqual(["order"]);
  });

  test("a step back within one process that no pause explains", () => {
    const nodes = {
      n1: [
        { id: "t0", seq: 0, fence: 1, at: [1, 2] as const },
        { id: "t1", seq: 1, fence: 2, at: [3, 4] as const },
        { id: "t0", seq: 0, fence: 3, at: [15, 16] as const },
      ],
    };
    const accepted = [
      ["t0", 0],
      ["t1", 1],
    ] as const;
    expect(broken(checkHistory(history({ accepted, nodes })))).toEqual(["replay", "clean-repeat"]);
    expect(checkHistory(history({ accepted, nodes, harness: [paused("n1", 5, 14)] }), { strict: true }).ok).toBe(true);
  });

  test("a task that started on another node while an earlier one waited for its next attempt", () => {
    const failed = { id: "t0", seq: 0, fence: 1, at: [1, 2] as const, outcome: "error" as const };
    const nodes = {
      n1: [failed],
      n2: [{ id: "t1", seq: 1, fence: 3, at: [5, 6] as const }],
      n3: [{ id: "t0", seq: 0, fence: 4, at: [15, 16] as const, attempt: 2 }],
    };
    const accepted = [
      ["t0", 0],
      ["t1", 1],
    ] as const;
    expect(broken(checkHistory(history({ accepted, nodes })))).toEqual(["passed"]);
    expect(broken(checkHistory(history({ accepted, nodes, harness: [killed("n1", 3)] })))).toEqual([]);
    const inOrder = { ...nodes, n2: [{ id: "t1", seq: 1, fence: 5, at: [17, 18] as const }] };
    expect(broken(checkHistory(history({ accepted, nodes: inOrder })))).toEqual([]);
  });

  test("two attempts at the same time on two nodes", () => {
    const verdict = checkHistory(
      history({
        accepted: [
          ["t0", 0],
          ["t1", 1],
        ],
        nodes: { n1: [{ id: "t0", seq: 0, fence: 1, at: [1, 10] }], n2: [{ id: "t1", seq: 1, fence: 2, at: [9, 12] }] },
      }),
    );
    expect([verdict.ok, broken(verdict)]).toEqual([false, ["overlap"]]);
  });

  test("an attempt that started before the long one ended, not only before its neighbour did", () => {
    const verdict = checkHistory(
      history({
        ...GOOD,
        nodes: {
          n1: [{ id: "t0", seq: 0, fence: 1, at: [1, 50] }],
          n2: [
            { id: "t1", seq: 1, fence: 2, at: [10, 11] },
            { id: "t2", seq: 2, fence: 3, at: [20, 21] },
          ],
        },
      }),
    );
    expect(verdict.rules.find((result) => result.rule === "overlap")?.violations).toBe(2);
  });

  test("an attempt that began before the kill of the process that ran the key; one after it is none", () => {
    const run = (start: number) =>
      checkHistory(
        history({
          accepted: [["t0", 0]],
          nodes: { n1: [{ id: "t0", fence: 1, at: [1] }], n2: [{ id: "t0", fence: 2, at: [start, start + 1] }] },
          harness: [killed("n1", 8)],
        }),
      );
    expect(broken(run(7))).toEqual(["overlap"]);
    expect(broken(run(9))).toEqual([]);
  });

  test("a write to state that counted although a newer attempt had begun without it", () => {
    const run = (found: string) =>
      checkHistory(
        history({
          ...GOOD,
          nodes: {
            n1: [
              { id: "t0", seq: 0, fence: 1, at: [1, 2], saw: "0" },
              { id: "t1", seq: 1, fence: 2, at: [3, 4], saw: "1" },
            ],
            n2: [
              { id: "t1", seq: 1, fence: 7, at: [20, 21], saw: "1" },
              { id: "t2", seq: 2, fence: 8, at: [22, 23], saw: found },
            ],
          },
          harness: [paused("n1", 4, 30)],
        }),
      );
    expect(run("7")).toMatchObject({ ok: true, uncountedWrites: 1 });
    const verdict = run("2");
    expect([verdict.ok, broken(verdict)]).toEqual([false, ["stale-write"]]);
  });

  test("what a process wrote after the kill was sent still counts", () => {
    const verdict = checkHistory(
      history({
        accepted: [["t0", 0]],
        nodes: {
          n1: [
            { id: "x", key: "other", fence: 1, at: [1, 9] },
            { id: "t0", fence: 1, at: [2] },
          ],
          n2: [{ id: "t0", fence: 2, at: [8.5, 10] }],
        },
        harness: [killed("n1", 8)],
      }),
    );
    expect(broken(verdict)).toEqual(["overlap"]);
  });

  test("an attempt that never ended in a process that lives on overlaps all later ones", () => {
    const verdict = checkHistory(
      history({
        accepted: [["t0", 0]],
        nodes: { n1: [{ id: "t0", fence: 1, at: [1] }], n2: [{ id: "t0", fence: 2, at: [500, 501] }] },
      }),
    );
    expect(broken(verdict)).toEqual(["overlap"]);
  });

  test("a pause excuses an overlap that begins after it, not one that begins before", () => {
    const run = (start: number) =>
      checkHistory(
        history({
          accepted: [["t0", 0]],
          nodes: {
            n1: [{ id: "t0", fence: 1, at: [1, 30], outcome: "aborted" }],
            n2: [{ id: "t0", fence: 2, at: [start, start + 1] }],
          },
          harness: [paused("n1", 10, 25)],
        }),
      );
    expect(run(20)).toMatchObject({ ok: true, excusedOverlaps: 1 });
    expect(broken(run(5))).toEqual(["overlap"]);
  });

  test("a kill is that of the process alive then, not of its successor under the same name", () => {
    const directory = history({ accepted: [["t0", 0]], nodes: {}, harness: [killed("n1", 5)] });
    const lines = (pid: number, opened: number, fence: bigint, from: number, end?: number): string =>
      [
        { type: "open", t: opened * MS, node: "n1", pid } as const,
        { type: "start", t: from * MS, id: "t0", app: "a", key: "k", fence, attempt: 1 } as const,
        ...(end === undefined ? [] : [{ type: "end", t: end * MS, id: "t0", fence, outcome: "ok" } as const]),
      ]
        .map(formatLine)
        .join("");
    writeFileSync(join(directory, "b.ndjson"), lines(7, 0, 1n, 1));
    writeFileSync(join(directory, "a.ndjson"), lines(8, 6, 2n, 7, 8));
    expect(checkHistory(directory)).toMatchObject({ ok: true, killed: 1, done: 1 });
  });
});
