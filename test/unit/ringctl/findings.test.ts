/** The judgement of `doctor` and `health`, and how a plan is shown. */

import { describe, expect, test } from "vitest";
import type { Finding } from "../../../cli/finding.ts";
import { findingsOf, type Observed, strandedOf } from "../../../cli/findings.ts";
import { planSheet } from "../../../cli/plan.ts";
import { stageRequestOf } from "../../../cli/stage.ts";
import { statusSheet } from "../../../cli/status.ts";
import type { Member, NodeStatus, PlanReply } from "../../../proto/messages.ts";

const member = (name: string, more: Partial<Member> = {}): Member => ({
  name,
  status: "valid",
  alive: "alive",
  weight: 100,
  zone: "",
  voter: true,
  partitions: 4,
  grpcAddress: "127.0.0.1:7400",
  httpAddress: "127.0.0.1:7480",
  machine: "m",
  gossipAddress: "127.0.0.1:7946",
  incarnation: 1,
  health: "ok",
  unwell: false,
  tags: {},
  ...more,
});
const node = (name: string, more: Partial<NodeStatus> = {}): NodeStatus => ({
  name,
  version: "0.1.0",
  state: "serving",
  epoch: 5,
  history: 1,
  leaseMs: 4_000,
  queued: 0,
  running: 0,
  dead: 0,
  children: 0,
  stranded: [],
  warnings: [],
  adopting: [],
  partitions: [
    { partition: 0, queued: 0, delayed: 0, running: 0, dead: 0, schedules: 0, runnable: false, oldestWaitMs: 0 },
  ],
  apps: [{ match: "acme", version: "1" }],
  store: { rows: 0, bytes: 0, commits: 0, syncs: 0, quarantined: 0, broken: "" },
  ...more,
});
const plan: PlanReply = {
  planId: "p",
  epoch: 5,
  ringSize: 8,
  staged: [],
  steps: [],
  members: [],
  moves: [],
  cancelled: [],
  voters: ["a"],
  voterTarget: 1,
  warnings: [],
  tasksToMove: 0,
  bytesToMove: 0,
};
const observed = (
  more: Partial<Observed> & { readonly nodes?: readonly NodeStatus[]; readonly list?: readonly Member[] } = {},
): Observed => ({
  status: { nodes: more.nodes ?? [node("a"), node("b")], unreachable: [] },
  members: { members: more.list ?? [member("a"), member("b")], epoch: 5, viewChecksum: "", ringChecksum: "" },
  ring: {
    ringId: "0123456789abcdef",
    history: 1,
    epoch: 5,
    ringSize: 8,
    nodes: [
      { name: "a", grpcAddress: "" },
      { name: "b", grpcAddress: "" },
    ],
    owners: [0, 1, 0, 1, 0, 1, 0, 1],
    next: Array(8).fill(-1),
    generations: Array(8).fill(1),
    voters: ["a"],
  },
  plan,
  transfers: { transfers: [], limit: 4, paused: false, unreachable: [] },
  ...more,
});
const codes = (findings: readonly Finding[]): string[] => findings.map(({ severity, code }) => `${severity} ${code}`);

describe("findings", () => {
  test("a ring where all is well has none", () => {
    expect(findingsOf(observed())).toEqual([]);
  });

  test("what makes a ring unhealthy comes first", () => {
    const { ring } = observed();
    const found = findingsOf(
      observed({
        ring: { ...ring!, owners: [-1, 1, 0, 1, 0, 1, 0, 1] },
        list: [
          member("a"),
          member("b", { status: "down", alive: "dead" }),
          member("c", { status: "none", alive: "alive", voter: false }),
        ],
        nodes: [node("a", { dead: 2 })],
      }),
    );
    expect(codes(found)).toEqual(["error NO_OWNER", "error MEMBER_DOWN", "note WAITS_TO_JOIN", "note DEAD_LETTERS"]);
  });

  test("who has left the ring may be gone, a member may not", () => {
    const list = [member("a"), member("b"), member("c", { status: "none", alive: "dead", voter: false })];
    expect(findingsOf(observed({ list }))).toEqual([]);
    expect(codes(findingsOf(observed({ list: [member("a"), member("b", { alive: "dead" })] })))).toEqual([
      "error MEMBER_DEAD",
    ]);
  });

  test("a node without its lease, a broken store and a stalled partition are errors", () => {
    const { leaseMs: _lease, ...without } = node("a");
    const stalled = {
      partition: 3,
      queued: 5,
      delayed: 0,
      running: 0,
      dead: 0,
      schedules: 0,
      runnable: true,
      oldestWaitMs: 31_000,
    };
    const broken = { rows: 0, bytes: 0, commits: 0, syncs: 0, quarantined: 1, broken: "EIO" };
    expect(
      codes(findingsOf(observed({ nodes: [without, node("b", { store: broken, partitions: [stalled] })] }))),
    ).toEqual(["error NO_LEASE", "error STORE_BROKEN", "error STALLED", "warning QUARANTINED"]);
  });

  test("of a broken store its own words are told; whether it is a disk or a Redis is not known", () => {
    const broken = { rows: 0, bytes: 0, commits: 0, syncs: 0, quarantined: 0, broken: "Redis: NOAUTH" };
    expect(findingsOf(observed({ nodes: [node("a"), node("b", { store: broken })] }))).toMatchObject([
      {
        detail: "writes fail: Redis: NOAUTH",
        advice: "its log says why: mend the disk or Redis, then restart the node",
      },
    ]);
  });

  test("a node that lost its lease is starting again by its own word, and starts no tasks all the same", () => {
    // As the last of three voters is: it knows of two dead, and that nobody will mark them down is not for it to say.
    const { leaseMs: _lease, ...without } = node("a", { state: "starting" });
    expect(codes(findingsOf(observed({ nodes: [without, node("b")] })))).toEqual(["error NO_LEASE"]);
    expect(codes(findingsOf(observed({ nodes: [{ ...without, partitions: [] }, node("b")] })))).toEqual([]);
    expect(codes(findingsOf(observed({ nodes: [{ ...without, state: "stopping" }, node("b")] })))).toEqual([]);
  });

  test("a member that says it does badly is an error, also while the ring leaves it its partitions", () => {
    const ill = observed({ list: [member("a", { health: "store" }), member("b", { health: "store" })] });
    expect(codes(findingsOf(ill))).toEqual(["error MEMBER_UNWELL", "error MEMBER_UNWELL"]);
    expect(findingsOf(ill)[0]).toMatchObject({ severity: "error", subject: "a", detail: "does badly (store)" });
    const marked = observed({ list: [member("a", { health: "store", unwell: true }), member("b")] });
    expect(findingsOf(marked)[0]?.detail).toMatch(/its partitions go to others/);
    // What a serf agent says nothing of, and what cannot be asked any more, is no complaint.
    expect(codes(findingsOf(observed({ list: [member("a", { health: "" }), member("b")] })))).toEqual([]);
  });

  test("a serf agent gossips and waits for nothing: it cannot join", () => {
    const agent = member("agent", { status: "none", voter: false, weight: 0, grpcAddress: "", health: "" });
    expect(codes(findingsOf(observed({ list: [member("a"), member("b"), agent] })))).toEqual([]);
  });

  test("tasks on the disk of a machine that is away are told once, with how many and where", () => {
    const away = (partition: number) => ({ member: "c", partition, rows: 10, where: "away" });
    const nodes = [node("a", { stranded: [away(1), away(2)] }), node("b", { stranded: [away(1)] })];
    expect(strandedOf(nodes)).toEqual([{ member: "c", where: "away", rows: 20, partitions: 2 }]);
    expect(findingsOf(observed({ nodes }))).toMatchObject([
      {
        severity: "warning",
        code: "TASKS_AWAY",
        subject: "c",
        detail: expect.stringContaining("20 rows of 2 partitions"),
      },
    ]);
  });

  test("an app that is not loaded everywhere is named with the nodes that lack it", () => {
    const found = findingsOf(observed({ nodes: [node("a"), node("b", { apps: [] })] }));
    expect(found).toMatchObject([
      { code: "APP_NOT_HERE", subject: "acme", detail: expect.stringContaining("not loaded on b") },
    ]);
  });

  test("the same code in two versions is a note", () => {
    expect(
      codes(findingsOf(observed({ nodes: [node("a"), node("b", { apps: [{ match: "acme", version: "2" }] })] }))),
    ).toEqual(["note CODE_VERSIONS"]);
  });

  test("a transfer that hangs on a handler says how to force it", () => {
    const slow = {
      partition: 7,
      kind: "handoff",
      from: "a",
      to: "b",
      phase: "cut-over",
      reason: "HANDLER_STUCK: acme/k",
      rows: 0,
      bytes: 0,
      sinceMs: 90_000,
    };
    const found = findingsOf(observed({ transfers: { transfers: [slow], limit: 4, paused: true, unreachable: [] } }));
    expect(found).toMatchObject([
      { code: "HANDLER_STUCK", advice: "ringctl transfers force 7" },
      { code: "TRANSFERS_PAUSED" },
    ]);
  });

  test("with nothing staged the plan's warnings are the ring's; else the staged changes are what waits", () => {
    const warnings = [{ code: "NO_FAILOVER", detail: "the loss of one member stops the ring" }];
    expect(codes(findingsOf(observed({ plan: { ...plan, warnings } })))).toEqual(["warning NO_FAILOVER"]);
    expect(codes(findingsOf(observed({ plan: { ...plan, warnings, staged: ["leave b"] } })))).toEqual(["note STAGED"]);
  });

  test("a ring whose members are all drained is told to undo that, not to grow", () => {
    const drained = { code: "IMBALANCE", detail: "no member that is left has a weight: all get the same share" };
    const list = [member("a", { weight: 0 }), member("b", { weight: 0 })];
    expect(findingsOf(observed({ list, plan: { ...plan, warnings: [drained] } }))).toMatchObject([
      { code: "IMBALANCE", advice: "ringctl drain NAME --undo, or stage and commit a weight" },
    ]);
    const coarse = { code: "IMBALANCE", detail: "a gets 2 of 8 partitions; its weight asks for 1.6" };
    expect(findingsOf(observed({ plan: { ...plan, warnings: [coarse] } }))).toMatchObject([
      { code: "IMBALANCE", advice: "more partitions per member need a ring founded with a larger --ring-size" },
    ]);
  });

  test("an address that others can reach is a warning as long as nothing is encrypted", () => {
    expect(codes(findingsOf(observed({ list: [member("a", { grpcAddress: "10.0.0.5:7400" }), member("b")] })))).toEqual(
      ["warning INSECURE_BIND"],
    );
  });

  test("a node that is not part of a ring yet is unhealthy and says what lets it in", () => {
    const alone: Observed = {
      status: { nodes: [], unreachable: [] },
      members: { members: [], epoch: 0, viewChecksum: "", ringChecksum: "" },
    };
    expect(findingsOf(alone)).toMatchObject([{ severity: "error", code: "NO_RING" }]);
  });
});

describe("sheets", () => {
  const plain = (text: string): string => text;

  test("status does not call a node unreachable that has left for good", () => {
    const list = [member("a"), member("b", { status: "none", alive: "left", partitions: 0 })];
    const sheet = statusSheet(observed({ list, nodes: [node("a")] }));
    expect(sheet.items).toMatchObject([{ state: "serving" }, { name: "b", state: "left" }]);
    expect(sheet.lines(plain).join("\n")).not.toContain("unreachable");
  });

  test("status shows a member that did not answer", () => {
    const sheet = statusSheet({
      ...observed(),
      status: {
        nodes: [node("a")],
        unreachable: [{ node: "b", code: "DEADLINE", message: "no answer within 2000 ms" }],
      },
    });
    expect(sheet.items).toMatchObject([
      { name: "a", state: "serving" },
      { name: "b", state: "unreachable" },
    ]);
    expect(sheet.lines(plain).join("\n")).toMatch(
      /error +UNREACHABLE +b: did not say how it is: no answer within 2000 ms/,
    );
  });

  test("P8: a plan shows each member's share before and after, the moves, and the warnings", () => {
    const reply: PlanReply = {
      ...plan,
      staged: ["join b with weight 100"],
      steps: [{ type: "commit", text: "1 changes take effect" }],
      members: [
        {
          name: "a",
          statusBefore: "valid",
          statusAfter: "valid",
          weight: 100,
          zone: "",
          partitionsBefore: 8,
          partitionsAfter: 4,
        },
        {
          name: "b",
          statusBefore: "",
          statusAfter: "valid",
          weight: 100,
          zone: "",
          partitionsBefore: 0,
          partitionsAfter: 4,
        },
      ],
      moves: [0, 1, 2, 5].map((partition) => ({
        partition,
        from: "a",
        to: "b",
        type: "transfer",
        ...(partition === 5 ? {} : { tasks: 400 }),
      })),
      tasksToMove: 1_200,
      bytesToMove: 3_000_000,
      warnings: [{ code: "NO_FAILOVER", detail: "the loss of one member stops the ring" }],
    };
    const sheet = planSheet(reply, { everyMove: false });
    const text = sheet.lines(plain).join("\n");
    expect(text).toMatch(
      /moves +4 of 8 partitions, with 1,200 tasks and about 2.9 MiB, and those of 1 partition whose owner does not answer/,
    );
    expect(text).toMatch(/a +valid +100 +- +8 +100\.0% +4 +50\.0% +-4/);
    expect(text).toMatch(/b +new > valid +100 +- +0 +0\.0% +4 +50\.0% +\+4/);
    expect(text).toContain("a to b: 4 (0-2, 5)");
    expect(text).toContain("warning NO_FAILOVER");
    expect(sheet.items).toMatchObject([
      { planId: "p", moves: reply.moves, members: [{ shareBefore: 1, shareAfter: 0.5 }, {}] },
    ]);
  });

  test("a staged change is checked before it is sent", () => {
    expect(stageRequestOf("weight", ["a", "50"], {})).toEqual({ setWeight: { name: "a", weight: 50 } });
    expect(stageRequestOf("zone", ["a"], {})).toEqual({ setZone: { name: "a", zone: "" } });
    expect(() => stageRequestOf("weight", ["a", "1001"], {})).toThrow(/0 to 1000/);
  });
});
