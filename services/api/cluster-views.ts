/** Ring, members, plan and status as the `.proto` messages show them. */

import type * as messages from "../../proto/messages.ts";
import type { Member, RingDocument, StagedChange } from "../../ring/document.ts";
import { encodeDocument } from "../../ring/document-codec.ts";
import { murmur3 } from "../../ring/hash.ts";
import type { NodeName, Partition } from "../../ring/ids.ts";
import { addressText } from "../../ring/membership/address.ts";
import { viewChecksum } from "../../ring/membership/checksum.ts";
import type { MemberView } from "../../ring/membership/events.ts";
import { encodeMsgpack } from "../../ring/membership/msgpack.ts";
import type { RingNode } from "../../ring/node/port.ts";
import type { NodeStatus, TransferView } from "../../ring/node/requests.ts";
import type { Plan, PlanTransition } from "../../ring/plan.ts";
import type { PlanSizes } from "./plan-sizes.ts";

export function ringMessage(node: RingNode, document: RingDocument): messages.RingReply {
  const names = [
    ...new Set([
      ...document.members.map((member) => member.name),
      ...document.owners.filter((owner) => owner !== undefined),
    ]),
  ];
  const indexOf = new Map<NodeName, number>(names.map((name, index) => [name, index]));
  const index = (name: NodeName | undefined): number => (name === undefined ? -1 : (indexOf.get(name) ?? -1));
  return {
    ringId: document.ringId,
    history: document.history,
    epoch: document.epoch,
    ringSize: document.ringSize,
    nodes: names.map((name) => ({ name, grpcAddress: node.addressesOf(name)?.grpc ?? "" })),
    owners: document.owners.map(index),
    next: document.next.map(index),
    generations: document.generations,
    voters: document.voters,
  };
}

export function membersMessage(node: RingNode): messages.MembersReply {
  const document = node.document();
  const gossip = new Map(node.members().map((member) => [member.name, member]));
  const inRing = new Map<NodeName, Member>((document?.members ?? []).map((member) => [member.name, member]));
  const owned = new Map<NodeName, number>();
  for (const owner of document?.owners ?? []) if (owner !== undefined) owned.set(owner, (owned.get(owner) ?? 0) + 1);
  const names = [...new Set([...inRing.keys(), ...gossip.keys(), node.name])].sort();
  const members = names.map((name): messages.Member => {
    const member = inRing.get(name);
    const seen = gossip.get(name);
    const addresses = node.addressesOf(name);
    return {
      name,
      status: member?.status ?? "none",
      alive: name === node.name ? "alive" : (seen?.state ?? "unknown"),
      weight: member?.weight ?? 0,
      zone: member?.zone ?? seen?.tags.get("zone") ?? "",
      voter: document?.voters.includes(name) ?? false,
      partitions: owned.get(name) ?? 0,
      grpcAddress: addresses?.grpc ?? "",
      httpAddress: addresses?.http ?? "",
      machine: member?.machine ?? seen?.tags.get("machine") ?? "",
      gossipAddress: seen === undefined ? "" : addressText(seen.address),
      incarnation: seen?.incarnation ?? 0,
      health: healthOf(seen),
      unwell: member?.unwell === true,
      tags: Object.fromEntries(seen?.tags ?? []),
    };
  });
  return {
    members,
    epoch: document?.epoch ?? 0,
    viewChecksum: viewChecksum(node.members()),
    ringChecksum: document === undefined ? "" : ringChecksum(document),
  };
}

/** A stock serf agent says nothing of its health, and what a dead node said last counts no more. */
function healthOf(seen: MemberView | undefined): string {
  if (seen === undefined || (seen.state !== "alive" && seen.state !== "suspect")) return "";
  return seen.tags.get("health") ?? (seen.tags.get("role") === "taskring" ? "ok" : "");
}

function ringChecksum(document: RingDocument): string {
  return murmur3(encodeMsgpack(encodeDocument(document), { dialect: "modern" }))
    .toString(16)
    .padStart(8, "0");
}

export function statusMessage(status: NodeStatus): messages.NodeStatus {
  return {
    name: status.name,
    version: status.version,
    state: status.state,
    epoch: status.epoch,
    history: status.history,
    queued: status.queued,
    running: status.running,
    dead: status.dead,
    children: status.children,
    partitions: status.partitions.map((view) => ({
      partition: view.partition,
      queued: view.queued,
      delayed: view.delayed,
      running: view.running,
      dead: view.dead,
      schedules: view.schedules,
      runnable: view.runnable,
      oldestWaitMs: Math.round(view.oldestWaitMs),
    })),
    stranded: status.stranded.map((entry) => ({ ...entry, rows: entry.rows ?? 0 })),
    apps: status.apps,
    warnings: status.warnings,
    store: { ...status.store, broken: status.store.broken ?? "" },
    adopting: status.adopting,
    ...(status.leaseMs === undefined ? {} : { leaseMs: Math.max(0, Math.round(status.leaseMs)) }),
  };
}

export function transferMessage(view: TransferView): messages.TransfersReply["transfers"][number] {
  return { ...view, sinceMs: Math.round(view.sinceMs) };
}

export function planMessage(document: RingDocument, plan: Plan, sizes: PlanSizes): messages.PlanReply {
  return {
    planId: plan.id,
    epoch: plan.epoch,
    ringSize: plan.ringSize,
    staged: document.staged.map(changeText),
    steps: plan.transitions.map((step) => ({ type: step.type, text: stepText(step) })),
    members: plan.members.map((member) => ({
      name: member.name,
      statusBefore: member.statusBefore ?? "",
      statusAfter: member.statusAfter ?? "",
      weight: member.weight,
      zone: member.zone ?? "",
      partitionsBefore: member.partitionsBefore,
      partitionsAfter: member.partitionsAfter,
    })),
    moves: plan.moves.map((move) => ({
      partition: move.partition,
      from: move.from ?? "",
      to: move.to ?? "",
      type: move.type,
      ...tasksIn(move.partition, sizes),
    })),
    cancelled: plan.cancelled,
    voters: plan.voters.before,
    voterTarget: plan.voters.target,
    warnings: plan.warnings.map((warning) => ({ code: warning.code, detail: warning.text })),
    tasksToMove: [...sizes.tasks.values()].reduce((sum, tasks) => sum + tasks, 0),
    bytesToMove: sizes.bytes,
  };
}

function tasksIn(partition: Partition, sizes: PlanSizes): { readonly tasks?: number } {
  const tasks = sizes.tasks.get(partition);
  return tasks === undefined ? {} : { tasks };
}

function stepText(step: PlanTransition): string {
  switch (step.type) {
    case "commit":
      return `${step.changes === 1 ? "1 change takes" : `${step.changes} changes take`} effect${step.forced === 0 ? "" : `, ${step.forced} partitions change hands at once`}`;
    case "transfer":
      return `${step.partitions} partitions are transferred`;
    case "voters":
      return `voters go from ${step.from} to ${step.to}, one at a time`;
    case "retire":
      return `removed once they own nothing: ${step.members.join(", ")}`;
  }
}

export function changeText(change: StagedChange): string {
  switch (change.type) {
    case "join":
      return `join ${change.member.name} with weight ${change.member.weight}`;
    case "leave":
    case "force-remove":
    case "down":
      return `${change.type} ${change.name}`;
    case "replace":
      return `replace ${change.name} by ${change.by}`;
    case "set-weight":
      return `set-weight ${change.name} ${change.weight}`;
    case "set-zone":
      return `set-zone ${change.name} ${change.zone ?? "(none)"}`;
  }
}
