/** `ringctl plan`, `commit`, `clear` and `drain`: a change is shown before anything moves, and done as it was shown (P8). */

import type { PlanReply } from "../proto/messages.ts";
import { type AskedNode, askNode, type CommandRun, pollUntil, waitMs } from "./ask-node.ts";
import { showDuration } from "./duration.ts";
import { CliError, EXIT, usage } from "./exit-codes.ts";
import type { Output, Sheet } from "./output.ts";
import { bytes, type Column, fieldLines, percent, plural, ranges, tableLines } from "./table.ts";
import { tintOfState } from "./tint.ts";
import { untilMoved } from "./transfers.ts";

export function plan({ settings, output, flags }: CommandRun): Promise<undefined> {
  return askNode(settings, async ({ client, call }) => {
    const reply = await client.cluster.plan(call);
    output.show(planSheet(reply, { everyMove: flags.moves === true }));
    output.remark(
      reply.staged.length === 0
        ? "nothing is staged: ringctl stage join|leave|replace|weight|zone …"
        : `next: ringctl commit ${reply.planId}`,
    );
    return undefined;
  });
}

/** Without an id: the plan as it is now. */
export function commit({ args, settings, output, flags }: CommandRun): Promise<number> {
  return askNode(settings, async (node) => {
    const { client, call } = node;
    const planId = args[0] ?? (await presentPlan(node));
    const { epoch } = await client.cluster.commit(planId, call);
    if (flags.wait === true) await untilSettled(node, output, waitMs(settings));
    output.show({
      kind: "Commit",
      items: [{ planId, epoch, settled: flags.wait === true }],
      lines: (paint) => [
        `${paint("committed", "good")} plan ${planId}, epoch ${epoch}${flags.wait === true ? "; all transfers are over" : ""}`,
      ],
    });
    if (flags.wait !== true) output.remark("next: ringctl transfers --watch");
    return EXIT.ok;
  });
}

export function clear({ settings, output }: CommandRun): Promise<undefined> {
  return askNode(settings, async ({ client, call }) => {
    const { staged } = await client.cluster.plan(call);
    await client.cluster.clear(call);
    output.show({
      kind: "Cleared",
      items: staged.map((change) => ({ change })),
      lines: () => [
        staged.length === 0
          ? "nothing was staged"
          : `dropped ${plural(staged.length, "staged change")}: ${staged.join("; ")}`,
      ],
    });
    return undefined;
  });
}

export function drain({ args, settings, output, flags }: CommandRun): Promise<number> {
  return askNode(settings, async (node) => {
    const { client, call } = node;
    const undo = flags.undo === true;
    const waits = flags.wait === true;
    const [name = ""] = args;
    const waitedFor = waits ? await memberOf(node, name) : name;
    await client.cluster.drain({ node: name, undo }, call);
    const shown = name === "" ? `the node at ${node.address}` : name;
    if (waits && undo) await untilSettled(node, output, waitMs(settings), waitedFor);
    else if (waits) await untilEmpty(node, waitedFor, output, waitMs(settings));
    output.show({
      kind: "Drain",
      items: [{ node: name, address: node.address, undo, settled: waits }],
      lines: () => [
        undo
          ? `${shown} ${waits ? "has taken" : "takes"} its share back`
          : `${shown} gives its partitions away${waits ? " and has none left" : ""}; it stays a member`,
      ],
    });
    if (!undo && !waits) output.remark("next: ringctl transfers --watch");
    return EXIT.ok;
  });
}

/** How much the transfers carry. */
function sizeText({ moves, tasksToMove, bytesToMove }: PlanReply): string {
  const carried = moves.filter(({ type }) => type === "transfer");
  if (carried.length === 0) return "";
  const unknown = carried.filter(({ tasks }) => tasks === undefined).length;
  const rest = unknown === 0 ? "" : `, and those of ${plural(unknown, "partition")} whose owner does not answer`;
  return `, with ${plural(tasksToMove, "task")} and about ${bytes(bytesToMove)}${rest}`;
}

export function planSheet(reply: PlanReply, { everyMove }: { readonly everyMove: boolean }): Sheet {
  const { moves, ringSize, planId, epoch, staged, steps, members, warnings, cancelled, voters, voterTarget } = reply;
  return {
    kind: "Plan",
    items: [
      {
        ...reply,
        members: members.map((member) => ({
          ...member,
          shareBefore: share(member.partitionsBefore, ringSize),
          shareAfter: share(member.partitionsAfter, ringSize),
        })),
      },
    ],
    lines: (paint) => [
      ...fieldLines(
        [
          ["plan", planId],
          ["epoch", String(epoch)],
          ["staged", staged.length === 0 ? "nothing" : staged.join("; ")],
          ["moves", `${moves.length} of ${ringSize} partitions${forcedText(moves)}${sizeText(reply)}`],
          cancelled.length === 0 ? undefined : ["stops", `transfers of partitions ${ranges(cancelled)}`],
          [
            "voters",
            voters.length === voterTarget ? voters.join(", ") : `${voters.join(", ")}; ${voterTarget} from then on`,
          ],
        ],
        paint,
      ),
      "",
      ...tableLines(memberColumns(ringSize), members, paint),
      ...(moves.length === 0 ? [] : ["", paint("moves", "strong"), ...moveLines(moves, everyMove)]),
      ...(steps.length === 0
        ? []
        : ["", paint("steps", "strong"), ...steps.map(({ text }, at) => `  ${at + 1}. ${text}`)]),
      ...(warnings.length === 0
        ? []
        : [
            "",
            ...warnings.map(({ code, detail }) => `${paint("warning", "warn")} ${paint(code, "strong")}  ${detail}`),
          ]),
    ],
  };
}

async function presentPlan({ client, call }: AskedNode): Promise<string> {
  const { planId, staged } = await client.cluster.plan(call);
  if (staged.length > 0) return planId;
  throw new CliError("NOTHING_STAGED", "nothing is staged, so there is nothing to commit", {
    exit: EXIT.conflict,
    hint: "ringctl stage …, then ringctl plan",
  });
}

/** A commit may need several ring changes; it is over when no transfer is left and nobody is joining, leaving or exiting. */
/** `undrained` takes its share again: the asked node may not know yet that it may. */
async function untilSettled(node: AskedNode, output: Output, withinMs: number, undrained?: string): Promise<void> {
  const begun = performance.now();
  const settled = await pollUntil(
    async () => {
      await untilMoved(node, output, Math.max(1, withinMs - (performance.now() - begun)));
      const [{ members }, ring] = await Promise.all([
        node.client.cluster.members(node.call),
        node.client.cluster.ring(node.call),
      ]);
      const moving =
        members.some(({ status }) => status === "joining" || status === "leaving" || status === "exiting") ||
        members.some(({ name, weight }) => name === undrained && weight === 0) ||
        ring.next.some((next) => next >= 0);
      return moving ? undefined : true;
    },
    { withinMs, everyMs: LOOK_MS },
  );
  if (settled === undefined) throw lateError(withinMs);
}

/** The member that is asked for, or else the asked one; its address may be spelt otherwise than the ring does. */
async function memberOf({ client, call, address }: AskedNode, name: string): Promise<string> {
  if (name !== "") return name;
  const { members } = await client.cluster.members(call);
  const asked = members.find(({ grpcAddress }) => grpcAddress === address);
  if (asked !== undefined) return asked.name;
  throw usage(
    `drain --wait: which member listens at ${address} cannot be told; nothing was changed`,
    "name the member",
  );
}

async function untilEmpty(node: AskedNode, name: string, output: Output, withinMs: number): Promise<void> {
  const begun = performance.now();
  const empty = await pollUntil(
    async () => {
      await untilMoved(node, output, Math.max(1, withinMs - (performance.now() - begun)));
      const { members } = await node.client.cluster.members(node.call);
      const drained = members.find((member) => member.name === name);
      return drained === undefined || drained.partitions === 0 ? true : undefined;
    },
    { withinMs, everyMs: LOOK_MS },
  );
  if (empty === undefined) throw lateError(withinMs);
}

function lateError(withinMs: number): CliError {
  return new CliError("DEADLINE", `not over after ${showDuration(withinMs)}`, {
    exit: EXIT.unreachable,
    hint: "ringctl transfers and ringctl members say what it waits for; it goes on by itself",
    retryable: true,
  });
}

function forcedText(moves: PlanReply["moves"]): string {
  const forced = moves.filter((move) => move.type === "forced").length;
  return forced === 0 ? "" : `, ${forced} at once and without their tasks`;
}

/** Grouped by who gives to whom, or one by one. */
function moveLines(moves: PlanReply["moves"], everyMove: boolean): readonly string[] {
  if (everyMove)
    return moves.map(
      ({ partition, from, to, type }) =>
        `  ${String(partition).padStart(4)}  ${from || "nobody"} to ${to || "nobody"}  ${type}`,
    );
  const groups = new Map<string, number[]>();
  for (const { partition, from, to, type } of moves) {
    const way = `${from || "nobody"} to ${to || "nobody"}${type === "forced" ? " (at once)" : ""}`;
    groups.set(way, [...(groups.get(way) ?? []), partition]);
  }
  return [...groups].map(([way, partitions]) => `  ${way}: ${partitions.length} (${ranges(partitions)})`);
}

type PlanMember = PlanReply["members"][number];

function memberColumns(ringSize: number): readonly Column<PlanMember>[] {
  const change = (row: PlanMember): number => row.partitionsAfter - row.partitionsBefore;
  return [
    { title: "NAME", text: (row) => row.name, tint: () => "strong" },
    { title: "STATUS", text: statusText, tint: (row) => tintOfState(row.statusAfter) },
    { title: "WEIGHT", text: (row) => String(row.weight), right: true },
    { title: "ZONE", text: (row) => row.zone || "-" },
    { title: "BEFORE", text: (row) => String(row.partitionsBefore), right: true },
    { title: "SHARE", text: (row) => percent(row.partitionsBefore, ringSize), right: true },
    { title: "AFTER", text: (row) => String(row.partitionsAfter), right: true },
    { title: "SHARE", text: (row) => percent(row.partitionsAfter, ringSize), right: true },
    {
      title: "CHANGE",
      text: (row) => (change(row) === 0 ? "-" : `${change(row) > 0 ? "+" : ""}${change(row)}`),
      right: true,
      tint: (row) => (change(row) === 0 ? "dim" : "accent"),
    },
  ];
}

function statusText({ statusBefore, statusAfter }: PlanMember): string {
  if (statusBefore === statusAfter) return statusAfter;
  return `${statusBefore || "new"} > ${statusAfter || "gone"}`;
}

function share(partitions: number, ringSize: number): number {
  return ringSize === 0 ? 0 : partitions / ringSize;
}

const LOOK_MS = 250;
