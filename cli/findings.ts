/**
 * What is wrong with a ring, what it means and what to do: the judgement behind `doctor`, `health` and `status`.
 *
 * A pure function of what the nodes said. An `error` makes the ring unhealthy (exit 7); a `warning` is a danger or a
 * loss of comfort; a `note` is something that waits for its operator.
 */

import type {
  HoldingsReply,
  Member,
  MembersReply,
  NodeStatus,
  PlanReply,
  RingReply,
  StatusReply,
  TransfersReply,
} from "../proto/messages.ts";
import { isLoopback, parseHostPort } from "./address.ts";
import { showDuration } from "./duration.ts";
import { error, type Finding, note, warning } from "./finding.ts";
import { holdingFindings } from "./holding-findings.ts";
import { count, plural, ranges } from "./table.ts";

export interface Observed {
  readonly status: StatusReply;
  readonly members: MembersReply;
  /** Absent before the asked node is part of a ring. */
  readonly ring?: RingReply;
  readonly plan?: PlanReply;
  readonly transfers?: TransfersReply;
  /** Of a store that all nodes share; `doctor` asks for it. */
  readonly holdings?: HoldingsReply;
}

/** Errors first, then warnings, then notes. */
export function findingsOf(observed: Observed): readonly Finding[] {
  const found = [
    ...ringFindings(observed),
    ...observed.members.members.flatMap((member) => memberFindings(member, observed)),
    ...observed.status.nodes.flatMap(nodeFindings),
    ...strandedFindings(observed.status.nodes),
    ...appFindings(observed),
    ...transferFindings(observed.transfers),
    ...planFindings(observed),
    ...holdingFindings(observed.holdings),
  ];
  const told = new Set<string>();
  return SEVERITIES.flatMap((severity) => found.filter((finding) => finding.severity === severity)).filter(
    ({ code, subject, detail }) => {
      const text = `${code} ${subject} ${detail}`;
      return !told.has(text) && told.add(text);
    },
  );
}

function ringFindings({ ring, status, members }: Observed): readonly Finding[] {
  if (ring === undefined)
    return [
      error(
        "NO_RING",
        "",
        "the node that was asked is not part of a ring yet",
        "ringctl stage join NAME && ringctl plan && ringctl commit, asked of a member",
      ),
    ];
  const found: Finding[] = [];
  const ownerless = ring.owners.flatMap((owner, partition) => (owner < 0 ? [partition] : []));
  if (ownerless.length > 0)
    found.push(
      error(
        "NO_OWNER",
        `partitions ${ranges(ownerless)}`,
        `${plural(ownerless.length, "partition")} without an owner: tasks of their keys are refused`,
        "bring a member back, or stage and commit a new one",
      ),
    );
  const behind = status.nodes.filter(
    (node) => node.history === ring.history && node.epoch + BEHIND < Math.max(members.epoch, ring.epoch),
  );
  for (const node of behind)
    found.push(
      warning(
        "BEHIND",
        node.name,
        `knows epoch ${node.epoch}, the ring is at ${Math.max(members.epoch, ring.epoch)}`,
        "check the network between it and the others",
      ),
    );
  return found;
}

function memberFindings(member: Member, { status, ring }: Observed): readonly Finding[] {
  const { name } = member;
  const found: Finding[] = [];
  const unreachable = status.unreachable.find(({ node }) => node === name);
  if (member.status === "down")
    found.push(
      error(
        "MEMBER_DOWN",
        name,
        "is down: its partitions have gone to others",
        `start it again, or ringctl stage force-remove ${name} if it is lost for good`,
      ),
    );
  else if (member.unwell)
    found.push(
      error(
        "MEMBER_UNWELL",
        name,
        member.health === "ok"
          ? "has done badly: it gets its partitions again once it has been well for a while"
          : `does badly (${member.health}): its partitions go to others`,
        "see its /readyz?verbose and its log; it gets its share back by itself once it is well",
      ),
    );
  else if (member.alive === "dead" && member.status === "none")
    return []; // it has left the ring, or never was in it
  else if (member.alive === "dead")
    found.push(
      error(
        "MEMBER_DEAD",
        name,
        "does not answer and is believed dead",
        "start it again; as long as a majority of voters lives it is marked down by itself",
      ),
    );
  else if (unreachable !== undefined)
    found.push(
      error(
        "UNREACHABLE",
        name,
        `did not say how it is: ${unreachable.message || unreachable.code}`,
        "look at its log and at the network to it",
      ),
    );
  else if (member.health !== "" && member.health !== "ok")
    // What all nodes suffer from, or the only one, costs nobody its partitions, and is no better for that.
    found.push(error("MEMBER_UNWELL", name, `does badly (${member.health})`, "see its /readyz?verbose and its log"));
  else if (member.alive === "suspect")
    found.push(warning("MEMBER_SUSPECT", name, "is slow to answer", "look at its load and at the network to it"));
  // A serf agent serves no gRPC: it gossips, and cannot join.
  if (member.status === "none" && member.alive === "alive" && ring !== undefined && member.grpcAddress !== "")
    found.push(
      note(
        "WAITS_TO_JOIN",
        name,
        "gossips but is no member",
        `ringctl stage join ${name} && ringctl plan && ringctl commit`,
      ),
    );
  if (isOpen(member.grpcAddress))
    found.push(
      warning(
        "INSECURE_BIND",
        name,
        `serves ${member.grpcAddress} without encryption and tokens`,
        "let only trusted hosts reach it",
      ),
    );
  return found;
}

function nodeFindings(node: NodeStatus): readonly Finding[] {
  const { name } = node;
  const found: Finding[] = [];
  const broken = node.store?.broken ?? "";
  if (node.state === "broken" || broken !== "")
    found.push(
      error(
        "STORE_BROKEN",
        name,
        broken === "" ? "has stopped taking writes" : `writes fail: ${broken}`,
        "its log says why: mend the disk or Redis, then restart the node",
      ),
    );
  else if (node.leaseMs === undefined && node.partitions.length > 0 && node.state !== "stopping")
    // Who loses its lease calls itself starting: to get one is how it began.
    found.push(
      error(
        "NO_LEASE",
        name,
        "holds no lease: it starts no tasks",
        "a majority of voters has to be reachable; see ringctl members. If it is lost for good: ringctl recover",
      ),
    );
  if (node.state === "draining")
    found.push(note("DRAINING", name, "gives its partitions away", `ringctl drain ${name} --undo ends that`));
  const stalled = node.partitions.filter((view) => view.runnable && view.running === 0 && view.oldestWaitMs > STALL_MS);
  if (stalled.length > 0) {
    const oldest = Math.max(...stalled.map((view) => view.oldestWaitMs));
    found.push(
      error(
        "STALLED",
        name,
        `${plural(stalled.length, "partition")} with runnable tasks start none (${ranges(stalled.map((view) => view.partition))}); oldest waits ${showDuration(oldest)}`,
        "look for a blocked event loop in its log; restart the node if it stays",
      ),
    );
  }
  if ((node.store?.quarantined ?? 0) > 0)
    found.push(
      warning(
        "QUARANTINED",
        name,
        `${plural(node.store?.quarantined ?? 0, "row")} in quarantine: damaged, or copies whose owner changed`,
        "see its log for which",
      ),
    );
  for (const { code, detail } of node.warnings) found.push(warning(code, name, detail, ADVICE.get(code) ?? ""));
  return found;
}

function strandedFindings(nodes: readonly NodeStatus[]): readonly Finding[] {
  return strandedOf(nodes).map(({ member, where, rows, partitions }) =>
    where === "away"
      ? warning(
          "TASKS_AWAY",
          member,
          `${rows === 0 ? "tasks" : `${count(rows)} rows`} of ${plural(partitions, "partition")} stay on its disk until it returns`,
          `start ${member} again`,
        )
      : note(
          "ADOPTING",
          member,
          `its directory was adopted; ${count(rows)} rows of ${plural(partitions, "partition")} are being handed over`,
          "",
        ),
  );
}

export interface StrandedSum {
  readonly member: string;
  readonly where: string;
  readonly rows: number;
  readonly partitions: number;
}

/** Each stranded partition once, whoever tells of it, summed by member. */
export function strandedOf(nodes: readonly NodeStatus[]): readonly StrandedSum[] {
  const entries = new Map<string, { readonly member: string; readonly where: string; rows: number }>();
  for (const { member, where, partition, rows } of nodes.flatMap((node) => node.stranded)) {
    const known = entries.get(`${member} ${where} ${partition}`);
    if (known === undefined) entries.set(`${member} ${where} ${partition}`, { member, where, rows });
    else known.rows = Math.max(known.rows, rows);
  }
  const sums = new Map<string, { member: string; where: string; rows: number; partitions: number }>();
  for (const { member, where, rows } of entries.values()) {
    const sum = sums.get(`${member} ${where}`) ?? { member, where, rows: 0, partitions: 0 };
    sums.set(`${member} ${where}`, { ...sum, rows: sum.rows + rows, partitions: sum.partitions + 1 });
  }
  return [...sums.values()];
}

/** Apps that are not loaded everywhere, or with different code. */
function appFindings({ status, members }: Observed): readonly Finding[] {
  const valid = new Set(members.members.filter((member) => member.status === "valid").map((member) => member.name));
  const nodes = status.nodes.filter((node) => valid.has(node.name));
  const matches = new Set(nodes.flatMap((node) => node.apps.map(({ match }) => match)));
  const found: Finding[] = [];
  for (const match of matches) {
    const without = nodes.filter((node) => !node.apps.some((app) => app.match === match)).map((node) => node.name);
    if (without.length > 0)
      found.push(
        warning(
          "APP_NOT_HERE",
          match,
          `is not loaded on ${without.join(", ")}: their partitions refuse its tasks`,
          "start every node with the same --app files",
        ),
      );
    const versions = new Set(
      nodes.flatMap((node) => node.apps.filter((app) => app.match === match).map(({ version }) => version)),
    );
    if (versions.size > 1)
      found.push(
        note(
          "CODE_VERSIONS",
          match,
          `runs in ${versions.size} versions: ${[...versions].sort().join(", ")}`,
          "restart the nodes that are behind",
        ),
      );
  }
  const dead = status.nodes.reduce((sum, node) => sum + node.dead, 0);
  if (dead > 0)
    found.push(
      note(
        "DEAD_LETTERS",
        "",
        `${plural(dead, "task")} failed for good and ${dead === 1 ? "is" : "are"} kept`,
        "ringctl dead groups",
      ),
    );
  return found;
}

function transferFindings(transfers: TransfersReply | undefined): readonly Finding[] {
  if (transfers === undefined) return [];
  const found = transfers.transfers
    .filter((transfer) => transfer.sinceMs > TRANSFER_SLOW_MS)
    .map((transfer) =>
      warning(
        transfer.reason.includes("HANDLER_STUCK") ? "HANDLER_STUCK" : "TRANSFER_SLOW",
        `partition ${transfer.partition}`,
        `${transfer.from} to ${transfer.to}: ${transfer.phase} for ${showDuration(transfer.sinceMs)}${transfer.reason === "" ? "" : `, ${transfer.reason}`}`,
        transfer.reason.includes("HANDLER_STUCK")
          ? `ringctl transfers force ${transfer.partition}`
          : "ringctl transfers --watch",
      ),
    );
  if (!transfers.paused || transfers.transfers.length === 0) return found;
  return [
    ...found,
    warning(
      "TRANSFERS_PAUSED",
      "",
      `${plural(transfers.transfers.length, "transfer")} wait because transfers are paused`,
      "ringctl transfers resume",
    ),
  ];
}

/** What the ring itself warns of: with nothing staged the plan shows the ring as it is. */
function planFindings({ plan, status, members }: Observed): readonly Finding[] {
  if (plan === undefined) return [];
  if (plan.staged.length > 0)
    return [
      note(
        "STAGED",
        "",
        `${plural(plan.staged.length, "staged change")} not committed: ${plan.staged.join("; ")}`,
        "ringctl plan && ringctl commit, or ringctl clear",
      ),
    ];
  const told = new Set(status.nodes.flatMap((node) => node.warnings.map(({ code }) => code)));
  const drained = members.members.every((member) => member.status === "none" || member.weight === 0);
  const adviceOf = (code: string): string => (code === "IMBALANCE" && drained ? UNDRAIN : (ADVICE.get(code) ?? ""));
  return plan.warnings
    .filter(({ code }) => !told.has(code))
    .map(({ code, detail }) => (ERRORS.has(code) ? error : warning)(code, "", detail, adviceOf(code)));
}

function isOpen(address: string): boolean {
  return (
    address !== "" &&
    !isLoopback(parseHostPort(address, { flag: "address", fallback: { host: "127.0.0.1", port: 0 } }).host)
  );
}

const SEVERITIES = ["error", "warning", "note"] as const;
const ERRORS: ReadonlySet<string> = new Set(["NO_OWNER"]);
const ADVICE: ReadonlyMap<string, string> = new Map([
  ["NO_FAILOVER", "bring lost members back, or add members: three survive the loss of one"],
  ["IMBALANCE", "more partitions per member need a ring founded with a larger --ring-size"],
  ["ZONES_MIXED", "ringctl stage zone NAME ZONE for every member, or for none"],
  ["LOOP_BLOCKED", "handlers share their node's event loop: split long computations, or give them to a worker thread"],
  ["NO_OWNER", "stage and commit a member with a weight above 0"],
]);
/** Without any weight all get the same share, however many partitions there are. */
const UNDRAIN = "ringctl drain NAME --undo, or stage and commit a weight";
/** As the node's own readiness counts it. */
const STALL_MS = 30_000;
const TRANSFER_SLOW_MS = 60_000;
/** Epochs: one may be on its way. */
const BEHIND = 1;
