/** The checker of histories finds lost tasks, and attempts that are not as promised. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { checkHistory, formatVerdict } from "../../services/history/check.ts";
import { formatLine, type HistoryLine } from "../../services/history/line.ts";
import { broken, GOOD, history, killed, paused } from "./history-hand.ts";

describe("P1: a lost task is found", () => {
  test("that never started", () => {
    const verdict = checkHistory(
      history({
        ...GOOD,
        nodes: {
          n1: [
            { id: "t0", seq: 0, fence: 1, at: [1, 2] },
            { id: "t1", seq: 1, fence: 2, at: [3, 4] },
          ],
        },
      }),
    );
    expect([verdict.ok, verdict.lost, broken(verdict)]).toEqual([false, 1, ["lost"]]);
    expect(formatVerdict(verdict)).toMatch(/FAIL {2}P1 +1 .*\n.*t2: never started/);
  });

  test("that was running when its node was killed, and never again", () => {
    const verdict = checkHistory(
      history({
        accepted: [["t0", 0]],
        nodes: { n1: [{ id: "t0", seq: 0, fence: 1, at: [1] }] },
        harness: [killed("n1", 5)],
      }),
    );
    expect(broken(verdict)).toEqual(["lost"]);
  });

  test("whose last attempt failed, or was aborted, and was not tried again", () => {
    for (const outcome of ["error", "aborted"] as const) {
      expect(
        broken(
          checkHistory(
            history({ accepted: [["t0", 0]], nodes: { n1: [{ id: "t0", fence: 1, at: [1, 2], outcome }] } }),
          ),
        ),
      ).toEqual(["lost"]);
    }
  });

  test("whose newest attempt did not end, whatever an older one did", () => {
    const verdict = checkHistory(
      history({
        accepted: [["t0", 0]],
        nodes: { n1: [{ id: "t0", fence: 1, at: [1, 2] }], n2: [{ id: "t0", fence: 2, at: [9] }] },
        harness: [killed("n1", 3), killed("n2", 10)],
      }),
    );
    expect(broken(verdict)).toContain("lost");
  });

  test("that is the child of a finished task", () => {
    const nodes = {
      n1: [
        { id: "t0", fence: 1, at: [1, 2] as const, children: ["c1", "c2"] },
        { id: "c1", key: "other", fence: 1, at: [3, 4] as const },
      ],
    };
    const verdict = checkHistory(history({ accepted: [["t0", 0]], nodes }));
    expect(broken(verdict)).toEqual(["child-lost"]);
    expect(verdict.rules.find((result) => result.rule === "child-lost")?.examples).toEqual([
      "child c2 of (a, k) #0 t0 never started",
    ]);
  });

  test("but children that only a superseded attempt submitted are not missed", () => {
    const verdict = checkHistory(
      history({
        accepted: [["t0", 0]],
        nodes: {
          n1: [{ id: "t0", fence: 1, at: [1, 2], children: ["c1"] }],
          n2: [
            { id: "t0", fence: 2, at: [5, 6], children: ["c2"] },
            { id: "c2", key: "other", fence: 1, at: [7, 8] },
          ],
        },
        harness: [killed("n1", 3)],
      }),
    );
    expect(verdict.ok).toBe(true);
  });
});

describe("P2: attempts are numbered and repeated as promised", () => {
  test.each([
    ["equal", 2],
    ["lower", 1],
  ])("a fence that is %s is found", (_how, fence) => {
    const verdict = checkHistory(
      history({
        accepted: [
          ["t0", 0],
          ["t1", 1],
        ],
        nodes: { n1: [{ id: "t0", seq: 0, fence: 2, at: [1, 2] }], n2: [{ id: "t1", seq: 1, fence, at: [3, 4] }] },
      }),
    );
    expect(broken(verdict)).toEqual(["fence"]);
  });

  test("fences of 60 bits are compared exactly", () => {
    const big = 2 ** 60;
    const directory = history({ accepted: [["t0", 0]], nodes: {} });
    const lines: HistoryLine[] = [
      { type: "open", t: 0, node: "n1", pid: 5 },
      { type: "start", t: 1, id: "t0", app: "a", key: "k", fence: BigInt(big) + 1n, attempt: 1 },
      { type: "end", t: 2, id: "t0", fence: BigInt(big) + 1n, outcome: "error" },
      { type: "start", t: 3, id: "t0", app: "a", key: "k", fence: BigInt(big), attempt: 2 },
      { type: "end", t: 4, id: "t0", fence: BigInt(big), outcome: "ok" },
    ];
    writeFileSync(join(directory, "n1.ndjson"), lines.map(formatLine).join(""));
    expect(broken(checkHistory(directory))).toContain("fence");
  });

  test("a child that ran under two ids is found; the same id twice is not", () => {
    const run = (second: string) =>
      checkHistory(
        history({
          accepted: [["t0", 0]],
          nodes: {
            n1: [
              { id: "t0", fence: 1, at: [1, 2], children: ["c1"] },
              { id: "c1", key: "x", fence: 1, at: [3, 4], parent: "t0", child: "entry 1" },
            ],
            n2: [{ id: second, key: "x", fence: 2, at: [5, 6], parent: "t0", child: "entry 1" }],
          },
          harness: [killed("n1", 4.5)],
        }),
      );
    expect(broken(run("c9"))).toEqual(["child-twice"]);
    expect(broken(run("c1"))).toEqual([]);
  });

  test("a finished task that runs again without a fault is noted, and fails a strict check", () => {
    const nodes = {
      n1: [{ id: "t0", seq: 0, fence: 1, at: [1, 2] as const }],
      n2: [{ id: "t0", seq: 0, fence: 2, at: [5, 6] as const }],
    };
    const directory = history({ accepted: [["t0", 0]], nodes, closed: ["n1"] });
    expect(checkHistory(directory)).toMatchObject({ ok: true, duplicates: 1 });
    expect(broken(checkHistory(directory))).toEqual(["clean-repeat"]);
    expect(checkHistory(directory, { strict: true }).ok).toBe(false);
    expect(
      checkHistory(history({ accepted: [["t0", 0]], nodes, harness: [paused("n1", 3, 4)] }), { strict: true }).ok,
    ).toBe(true);
  });
});
