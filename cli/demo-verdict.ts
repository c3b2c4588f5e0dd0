/** What `ringctl demo` found out, promise by promise: measured, compared with its limit, held or broken. */

import type { RuleResult, Verdict } from "../services/history/check.ts";
import type { AnswerTimes } from "./demo-load.ts";
import type { PipeFacts } from "./demo-pipes.ts";
import type { Sheet } from "./output.ts";
import { count, fieldLines, plural, tableLines } from "./table.ts";
import type { Paint } from "./tint.ts";

export interface JoinFacts {
  readonly node: string;
  readonly planned: number;
  readonly moved: number;
  /** Each partition moved to where the plan said, and no other did. */
  readonly asPlanned: boolean;
  readonly tookMs: number;
}

export interface TakeoverFacts {
  readonly node: string;
  /** Until its tasks were with others and the ring stood still. */
  readonly tookMs: number;
}

/** Counters kept by handlers in `ctx.state`, against what they must be. */
export interface CounterCheck {
  readonly keys: number;
  readonly sum: number;
  readonly rows: readonly { readonly key: string; readonly found: number; readonly expected: number | undefined }[];
}

export interface DemoFacts {
  readonly seconds: number;
  readonly submitted: number;
  readonly refusals: ReadonlyMap<string, number>;
  readonly answers: AnswerTimes;
  readonly join: JoinFacts;
  readonly takeover: TakeoverFacts;
  readonly touches: CounterCheck;
  readonly entries: CounterCheck | undefined;
  readonly feedAnswers: ReadonlyMap<number, number>;
  readonly history: Verdict;
  readonly pipes: readonly PipeFacts[];
}

interface DemoCheck {
  readonly promise: string;
  readonly says: string;
  readonly measured: string;
  readonly ok: boolean;
  /** What broke it, the first few. */
  readonly examples: readonly string[];
}

export function judgeDemo(facts: DemoFacts): readonly DemoCheck[] {
  const { history, join, touches, entries } = facts;
  const { moves, takeovers } = history;
  const refused = [...facts.refusals].map(([code, times]) => `${times} × ${code}`);
  const wrong = wrongCounters(touches);
  return [
    check("P1", "every accepted task ended", {
      measured: `${count(history.accepted)} accepted, ${count(history.done)} done, ${count(history.lost)} lost`,
      ok: history.lost === 0 && history.dead === 0 && history.accepted === facts.submitted && holds(history, "lost"),
      examples: [...refused, ...(history.dead === 0 ? [] : [`${history.dead} dead`]), ...examplesOf(history, "lost")],
    }),
    fromRules(history, "P1", "children of finished tasks ended", ["child-lost"], "lost"),
    fromRules(history, "P2", "children ran once each", ["child-twice"], "twice"),
    fromRules(history, "P2", "fences rose with every attempt", ["fence"], "did not"),
    check("P2", "counters equal the submits", {
      measured: `${plural(touches.keys, "key")}, ${count(touches.sum)} touches, ${wrong.length} differ`,
      ok: wrong.length === 0 && touches.keys > 0,
      examples: wrong,
    }),
    ...(entries === undefined ? [] : [entriesCheck(entries)]),
    fromRules(history, "P3", `in order, ${count(history.keys)} keys`, ["order", "replay", "passed"], "out of order"),
    fromRules(history, "P3", "one at a time per key", ["overlap"], "overlapping"),
    check("P3", "moved keys paused shortly", {
      measured: `p50 ${ms(moves.p50Ms)}, p99 ${ms(moves.p99Ms)}, worst ${ms(moves.worstMs)} (${plural(moves.keys, "key")})`,
      ok: moves.keys > 0 && moves.p99Ms <= PAUSE_P99_MS,
      examples: [`limit: p99 ${PAUSE_P99_MS / 1_000} s, and some key moved`],
    }),
    check("P1", `${facts.takeover.node}'s keys taken over`, {
      measured: `p50 ${ms(takeovers.p50Ms)}, worst ${ms(takeovers.worstMs)} (${plural(takeovers.keys, "key")})`,
      ok: takeovers.keys > 0 && takeovers.worstMs <= TAKEOVER_MS && history.killed === facts.pipes.length,
      examples: [`limit: worst ${TAKEOVER_MS / 1_000} s, and some key waited; killed on record: ${history.killed}`],
    }),
    check("P8", "moved as planned", {
      measured: `${join.planned} planned, ${join.moved} moved in ${(join.tookMs / 1_000).toFixed(1)} s`,
      ok: join.asPlanned && join.planned > 0,
      examples: ["the owners are not what the plan said"],
    }),
    ...facts.pipes.map(pipeCheck),
    fromRules(history, "-", "history complete and readable", ["history"], "faults"),
  ];
}

export function verdictSheet(facts: DemoFacts, checks: readonly DemoCheck[]): Sheet {
  const { history, feedAnswers, answers } = facts;
  const ok = checks.every((each) => each.ok);
  const { rules, moves, takeovers } = history;
  return {
    kind: "DemoVerdict",
    items: [
      {
        ok,
        seconds: round(facts.seconds),
        submitted: facts.submitted,
        refused: Object.fromEntries(facts.refusals),
        accepted: history.accepted,
        done: history.done,
        dead: history.dead,
        lost: history.lost,
        outOfOrder: violations(history, "order") + violations(history, "replay") + violations(history, "passed"),
        overlapping: violations(history, "overlap"),
        childrenTwice: violations(history, "child-twice"),
        childrenLost: violations(history, "child-lost"),
        keys: history.keys,
        attempts: history.attempts,
        ranAgain: history.duplicates,
        answers: facts.answers,
        pauseOfMovedKeys: moves,
        takeover: { node: facts.takeover.node, tookMs: round(facts.takeover.tookMs), ...takeovers },
        join: { ...facts.join, tookMs: round(facts.join.tookMs) },
        counters: countersJson(facts.touches),
        feeds: facts.entries === undefined ? undefined : { ...countersJson(facts.entries), rows: facts.entries.rows },
        feedAnswers: Object.fromEntries(feedAnswers),
        pipes: facts.pipes.map(({ report, ...pipe }) => ({ ...pipe, ...report })),
        checks,
        rules,
      },
    ],
    lines: (paint) => [
      "",
      ...feedLines(facts, paint),
      ...tableLines<DemoCheck>(
        [
          { title: "", text: (row) => row.promise, tint: () => "dim" },
          { title: "PROMISE", text: (row) => row.says },
          { title: "MEASURED", text: (row) => row.measured, widest: 72 },
          { title: "VERDICT", text: (row) => (row.ok ? "held" : "BROKEN"), tint: (row) => (row.ok ? "good" : "bad") },
        ],
        checks,
        paint,
      ),
      ...checks.filter((each) => !each.ok).flatMap((each) => brokenLines(each, paint)),
      "",
      ...fieldLines(
        [
          [
            "submits",
            `acknowledged in p50 ${ms(answers.p50Ms)}, p99 ${ms(answers.p99Ms)}, worst ${ms(answers.worstMs)}`,
          ],
          ["ran again", `${count(history.duplicates)} after the kill, as P2 allows`],
          [
            "judged by",
            `the files of ${history.processes} processes, ${count(history.lines)} lines; no node was asked`,
          ],
        ],
        paint,
      ),
      "",
      ok
        ? paint(`every promise held, in ${facts.seconds.toFixed(1)} s`, "good")
        : paint(
            `BROKEN after ${facts.seconds.toFixed(1)} s: ${checks.filter((each) => !each.ok).length} of ${checks.length}`,
            "bad",
          ),
    ],
  };
}

function feedLines({ entries, feedAnswers }: DemoFacts, paint: Paint): readonly string[] {
  if (entries === undefined) return [];
  const answers = [...feedAnswers]
    .sort(([left], [right]) => left - right)
    .map(([status, times]) => `${times} × ${status}`);
  return [
    ...tableLines<CounterCheck["rows"][number]>(
      [
        { title: "FEED", text: (row) => row.key },
        { title: "ENTRIES", text: (row) => count(row.found), right: true },
        { title: "IN DOCUMENT", text: (row) => (row.expected === undefined ? "-" : count(row.expected)), right: true },
      ],
      entries.rows,
      paint,
    ),
    ...(answers.length === 0 ? [] : [paint(`served: ${answers.join(", ")}`, "dim")]),
    "",
  ];
}

/** A node died in the middle: every output came, and the run says so. */
function pipeCheck({ pipeline, expected, came, twice, report, error }: PipeFacts): DemoCheck {
  const [accepted, acknowledged] = [Number(report?.accepted), Number(report?.acknowledged)];
  const [failed, resent] = [Number(report?.failed), Number(report?.resent)];
  return check("P6", `${pipeline} complete`, {
    measured:
      report === undefined
        ? (error ?? "no report")
        : `${count(came)} of ${count(expected)}; ${accepted} accepted, ${acknowledged} acknowledged, ${failed} failed, ${count(resent)} resent`,
    ok: report?.state === "done" && came === expected && accepted === acknowledged && failed === 0,
    examples: [error ?? `the run is ${report?.state}; ${count(twice)} came twice`],
  });
}

function entriesCheck(entries: CounterCheck): DemoCheck {
  const wrong = wrongCounters(entries);
  const known = entries.rows.every((row) => row.expected !== undefined);
  return check("P2", "each entry handed on once", {
    measured: `${plural(entries.keys, "feed")}, ${count(entries.sum)} entries${known ? `, ${wrong.length} differ` : ""}`,
    ok: wrong.length === 0,
    examples: wrong,
  });
}

function wrongCounters({ rows }: CounterCheck): readonly string[] {
  return rows
    .filter((row) => row.expected !== undefined && row.found !== row.expected)
    .map((row) => `${row.key}: ${row.found} instead of ${row.expected}`);
}

function countersJson(counters: CounterCheck): object {
  const wrong = wrongCounters(counters);
  return { keys: counters.keys, sum: counters.sum, differ: wrong.length, examples: wrong.slice(0, EXAMPLES) };
}

function brokenLines({ promise, says, examples }: DemoCheck, paint: Paint): readonly string[] {
  return ["", paint(`${promise}  ${says}`, "bad"), ...examples.map((text) => `    ${text}`)];
}

function fromRules(
  history: Verdict,
  promise: string,
  says: string,
  rules: readonly RuleResult["rule"][],
  noun: string,
): DemoCheck {
  const broken = rules.reduce((sum, rule) => sum + violations(history, rule), 0);
  return check(promise, says, {
    measured: `${count(broken)} ${noun}`,
    ok: broken === 0,
    examples: rules.flatMap((rule) => examplesOf(history, rule)),
  });
}

function check(promise: string, says: string, rest: Pick<DemoCheck, "measured" | "ok" | "examples">): DemoCheck {
  return { promise, says, ...rest, examples: rest.ok ? [] : rest.examples.slice(0, EXAMPLES) };
}

function holds(history: Verdict, rule: RuleResult["rule"]): boolean {
  return violations(history, rule) === 0;
}

function violations({ rules }: Verdict, rule: RuleResult["rule"]): number {
  return rules.find((each) => each.rule === rule)?.violations ?? 1;
}

function examplesOf({ rules }: Verdict, rule: RuleResult["rule"]): readonly string[] {
  return rules.find((each) => each.rule === rule)?.examples ?? ["not checked"];
}

function ms(value: number): string {
  return value < 1_000 ? `${value.toFixed(value < 10 ? 1 : 0)} ms` : `${(value / 1_000).toFixed(2)} s`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

const EXAMPLES = 5;
/** The aim is 100 ms, on a machine that does nothing else. */
const PAUSE_P99_MS = 5_000;
/** The aim is 3 s, on a machine that does nothing else. */
const TAKEOVER_MS = 10_000;
