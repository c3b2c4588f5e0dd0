/** `ringctl status`, `health` and `doctor`: how the ring is, in three degrees of detail. */

import type { NodeStatus } from "../proto/messages.ts";
import { askNode, type CommandRun, pollUntil, waitMs, watching } from "./ask-node.ts";
import { EXIT } from "./exit-codes.ts";
import type { Finding } from "./finding.ts";
import { findingsOf, type Observed, strandedOf } from "./findings.ts";
import { observe, observeHoldings } from "./observe.ts";
import type { Sheet } from "./output.ts";
import { bytes, type Column, count, fieldLines, plural, tableLines } from "./table.ts";
import type { Paint } from "./tint.ts";
import { type Tint, tintOfState } from "./tint.ts";

export function status({ settings, output, flags }: CommandRun): Promise<number> {
  return askNode(settings, async (node) => {
    if (flags.watch === true) return watching(async () => output.repaint(statusSheet(await observe(node))));
    output.show(statusSheet(await observe(node)));
    return EXIT.ok;
  });
}

export function health({ settings, output, flags }: CommandRun): Promise<number> {
  return askNode(settings, async (node) => {
    const look = async (): Promise<readonly Finding[]> =>
      findingsOf(await observe(node)).filter(({ severity }) => severity === "error");
    const wait = { withinMs: flags.wait === true ? waitMs(settings) : 0, everyMs: LOOK_MS };
    let errors: readonly Finding[] = [];
    await pollUntil(async () => {
      errors = await look();
      return errors.length === 0 ? true : undefined;
    }, wait);
    const healthy = errors.length === 0;
    output.show({
      kind: "Health",
      items: [{ healthy, errors }],
      lines: (paint) =>
        healthy ? [paint("healthy", "good")] : [paint("unhealthy", "bad"), ...findingLines(errors, paint)],
    });
    return healthy ? EXIT.ok : EXIT.unhealthy;
  });
}

export function doctor({ settings, output }: CommandRun): Promise<number> {
  return askNode(settings, async (node) => {
    const [seen, holdings] = await Promise.all([observe(node), observeHoldings(node)]);
    const observed = { ...seen, ...(holdings === undefined ? {} : { holdings }) };
    const findings = findingsOf(observed);
    const unhealthy = findings.some(({ severity }) => severity === "error");
    output.show({
      kind: "Finding",
      items: findings,
      extra: { healthy: !unhealthy, asked: node.address, nodes: observed.status.nodes.length },
      lines: (paint) =>
        findings.length === 0
          ? [`${paint("nothing found", "good")}: ${plural(observed.status.nodes.length, "node")} asked`]
          : findingLines(findings, paint),
    });
    return unhealthy ? EXIT.unhealthy : EXIT.ok;
  });
}

export function statusSheet(observed: Observed): Sheet {
  const { status, members, ring, plan, transfers } = observed;
  const findings = findingsOf(observed);
  const stranded = strandedOf(status.nodes);
  const rows = members.members.map((member): StatusRow => {
    const node = status.nodes.find(({ name }) => name === member.name);
    return {
      name: member.name,
      status: member.status,
      alive: member.alive,
      partitionsOwned: member.partitions,
      voter: member.voter,
      // Who has left for good is not asked.
      state: node?.state ?? (member.alive === "left" ? "left" : "unreachable"),
      node,
    };
  });
  return {
    kind: "NodeStatus",
    items: rows.map(({ node, ...row }) => ({ ...row, ...node, state: row.state })),
    extra: {
      ...(ring === undefined
        ? {}
        : {
            ring: {
              id: ring.ringId,
              history: ring.history,
              epoch: ring.epoch,
              ringSize: ring.ringSize,
              voters: ring.voters,
            },
          }),
      staged: plan?.staged ?? [],
      transfers: transfers?.transfers.length ?? 0,
      stranded,
      unreachable: status.unreachable,
      findings,
    },
    lines: (paint) => [
      ...fieldLines(
        [
          [
            "ring",
            ring === undefined
              ? "not part of one yet"
              : `${ring.ringId.slice(0, 8)}, epoch ${ring.epoch}${ring.history > 1 ? ` of history ${ring.history}` : ""}, ${ring.ringSize} partitions`,
          ],
          ring === undefined ? undefined : ["voters", ring.voters.join(", ")],
          transfers === undefined || transfers.transfers.length === 0
            ? undefined
            : [
                "transfers",
                `${transfers.transfers.length} under way${transfers.paused ? ", paused" : ""} (ringctl transfers)`,
              ],
        ],
        paint,
      ),
      "",
      ...tableLines(STATUS_COLUMNS, rows, paint),
      ...(findings.length === 0 ? [] : ["", ...findingLines(findings, paint)]),
    ],
  };
}

interface StatusRow {
  readonly name: string;
  readonly status: string;
  readonly alive: string;
  readonly partitionsOwned: number;
  readonly voter: boolean;
  readonly state: string;
  readonly node: NodeStatus | undefined;
}

function findingLines(findings: readonly Finding[], paint: Paint): readonly string[] {
  return findings.flatMap(({ severity, code, subject, detail, advice }) => [
    `${paint(severity.padEnd(7), TINTS[severity])} ${paint(code, "strong")}  ${subject === "" ? "" : `${subject}: `}${detail}`,
    ...(advice === "" ? [] : [`        ${paint(advice, "dim")}`]),
  ]);
}

const TINTS: Readonly<Record<Finding["severity"], Tint>> = { error: "bad", warning: "warn", note: "accent" };

const figure =
  (pick: (node: NodeStatus) => number) =>
  (row: StatusRow): string =>
    row.node === undefined ? "-" : count(pick(row.node));
const STATUS_COLUMNS: readonly Column<StatusRow>[] = [
  { title: "NODE", text: (row) => row.name, tint: () => "strong" },
  { title: "MEMBER", text: (row) => row.status, tint: (row) => tintOfState(row.status) },
  {
    title: "STATE",
    text: (row) => row.state,
    tint: (row) => tintOfState(row.state),
  },
  {
    title: "LEASE",
    text: (row) => (row.node?.leaseMs === undefined ? "-" : "held"),
    tint: (row) => (row.node?.leaseMs === undefined ? "plain" : "good"),
  },
  { title: "PARTITIONS", text: (row) => count(row.partitionsOwned), right: true },
  { title: "QUEUED", text: figure((node) => node.queued), right: true },
  { title: "RUNNING", text: figure((node) => node.running), right: true },
  { title: "DEAD", text: figure((node) => node.dead), right: true },
  { title: "STORE", text: (row) => (row.node?.store == null ? "-" : bytes(row.node.store.bytes)), right: true },
  { title: "EPOCH", text: figure((node) => node.epoch), right: true },
  { title: "VERSION", text: (row) => row.node?.version ?? "-" },
];
const LOOK_MS = 500;
