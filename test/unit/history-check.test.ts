import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { checkHistory, formatVerdict, type Verdict } from "../../services/history/check.ts";
import { type AttemptOutcome, formatLine, type HistoryLine } from "../../services/history/line.ts";
import type { RuleName } from "../../services/history/rules.ts";

const directories: string[] = [];
afterAll(() => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

interface Step {
  readonly id: string;
  readonly seq?: number;
  readonly key?: string;
  readonly fence: number;
  /** Ms. */
  readonly at: readonly [start: number, end?: number];
  readonly outcome?: AttemptOutcome;
  readonly attempt?: number;
  /** Fence of the state that it found. */
  readonly saw?: string;
  readonly children?: readonly string[];
  readonly parent?: string;
  readonly child?: string;
}

const MS = 1e6;

/** A history written by hand: one client, and the named nodes with their attempts. */
function history(given: {
  readonly accepted?: readonly (readonly [id: string, seq?: number, at?: number, submitted?: number])[];
  readonly nodes: Readonly<Record<string, readonly Step[]>>;
  readonly harness?: readonly HistoryLine[];
  readonly closed?: readonly string[];
  readonly torn?: string;
}): string {
  const directory = mkdtempSync(join(tmpdir(), "taskring-history-"));
  directories.push(directory);
  const write = (name: string, lines: readonly HistoryLine[], tail = ""): void => {
    writeFileSync(join(directory, `${name}.ndjson`), lines.map(formatLine).join("") + tail);
  };
  const accepted = given.accepted ?? [];
  write("client", [
    { type: "open", t: 0, node: "client", pid: 1 },
    ...accepted.map(
      ([id, seq, at = 0, submitted]): HistoryLine => ({
        type: "accepted",
        t: at * MS,
        id,
        app: "a",
        key: "k",
        ...(submitted === undefined ? {} : { submitted: submitted * MS }),
        ...(seq === undefined ? {} : { seq }),
      }),
    ),
    ...(given.harness ?? []),
  ]);
  for (const [at, [node, steps]] of Object.entries(given.nodes).entries()) {
    const lines: HistoryLine[] = [{ type: "open", t: 0, node, pid: 100 + at }];
    for (const {
      id,
      fence,
      at: [start, end],
      key = "k",
      attempt = 1,
      outcome = "ok",
      children,
      ...place
    } of steps) {
      lines.push({ type: "start", t: start * MS, id, app: "a", key, fence: BigInt(fence), attempt, ...place });
      if (end !== undefined)
        lines.push({
          type: "end",
          t: end * MS,
          id,
          fence: BigInt(fence),
          outcome,
          ...(children === undefined ? {} : { children }),
        });
    }
    // In a process attempts of several keys run at once, so lines stand in the order of time.
    lines.sort((a, b) => a.t - b.t);
    if (given.closed?.includes(node) === true) lines.push({ type: "closed", t: (lines.at(-1)?.t ?? 0) + 1 });
    write(node, lines, given.torn);
  }
  return directory;
}

function killed(process: string, at: number): HistoryLine {
  return { type: "killed", t: at * MS, process };
}

function paused(process: string, from: number, until: number): HistoryLine {
  return { type: "paused", t: from * MS, until: until * MS, process };
}

function broken(verdict: Verdict): RuleName[] {
  return verdict.rules.filter((result) => result.violations > 0).map((result) => result.rule);
}

const GOOD = {
  accepted: [
    ["t0", 0],
    ["t1", 1],
    ["t2", 2],
  ] as const,
};

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
