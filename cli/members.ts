/** `ringctl members`, `ring` and `owner`: who is there and who owns what. */

import type { Member, RingReply } from "../proto/messages.ts";
import { askNode, type CommandRun, watching } from "./ask-node.ts";
import type { Sheet } from "./output.ts";
import { type Column, count, fieldLines, percent, tableLines } from "./table.ts";
import { tintOfState } from "./tint.ts";

export function members({ settings, output, flags }: CommandRun): Promise<undefined> {
  return askNode(settings, async ({ client, call }) => {
    const look = async (): Promise<Sheet> => {
      const reply = await client.cluster.members(call);
      return {
        kind: "Member",
        items: reply.members,
        extra: { epoch: reply.epoch, viewChecksum: reply.viewChecksum, ringChecksum: reply.ringChecksum },
        lines: (paint) => tableLines(columnsOf(reply.members), reply.members, paint),
      };
    };
    if (flags.watch === true) await watching(async () => output.repaint(await look()));
    output.show(await look());
    return undefined;
  });
}

export function ring({ settings, output, flags }: CommandRun): Promise<undefined> {
  return askNode(settings, async ({ client, call }) => {
    const reply = await client.cluster.ring(call);
    output.show(flags.partitions === true ? partitionsSheet(reply) : ringSheet(reply));
    return undefined;
  });
}

export function owner({ args, settings, output }: CommandRun): Promise<undefined> {
  const [app = "", key = ""] = args;
  return askNode(settings, async ({ client, call }) => {
    const reply = await client.cluster.locate({ app, key }, call);
    output.show({
      kind: "Owner",
      items: [{ app, key, ...reply }],
      lines: (paint) =>
        fieldLines(
          [
            ["owner", reply.owner === "" ? "none" : reply.owner],
            ["address", reply.grpcAddress === "" ? "-" : reply.grpcAddress],
            ["partition", String(reply.partition)],
            reply.nextOwner === "" ? undefined : ["next owner", `${reply.nextOwner} (a transfer is under way)`],
            ["preflist", reply.preflist.join(", ")],
            ["epoch", count(reply.epoch)],
          ],
          paint,
        ),
    });
    return undefined;
  });
}

interface Share {
  readonly name: string;
  readonly owned: readonly number[];
  readonly incoming: number;
  readonly outgoing: number;
}

function sharesOf(reply: RingReply): readonly Share[] {
  return reply.nodes.map(({ name }, node) => ({
    name,
    owned: reply.owners.flatMap((at, partition) => (at === node ? [partition] : [])),
    incoming: reply.next.filter((at) => at === node).length,
    outgoing: reply.next.filter((at, partition) => at >= 0 && at !== node && reply.owners[partition] === node).length,
  }));
}

function ringSheet(reply: RingReply): Sheet {
  const shares = sharesOf(reply);
  const { ringId, history, epoch, ringSize, voters } = reply;
  return {
    kind: "RingShare",
    items: shares.map(({ name, owned, incoming, outgoing }) => ({
      node: name,
      voter: voters.includes(name),
      partitions: owned.length,
      share: owned.length / ringSize,
      incoming,
      outgoing,
      owned,
    })),
    extra: { ringId, history, epoch, ringSize, voters },
    lines: (paint) => [
      ...fieldLines(
        [
          ["ring", ringId],
          ["epoch", `${count(epoch)}${history > 1 ? ` of history ${history}` : ""}`],
          ["partitions", String(ringSize)],
          ["voters", voters.join(", ")],
        ],
        paint,
      ),
      "",
      ...tableLines<Share>(
        [
          { title: "NODE", text: (row) => row.name, tint: () => "strong" },
          { title: "PARTITIONS", text: (row) => String(row.owned.length), right: true },
          { title: "SHARE", text: (row) => percent(row.owned.length, ringSize), right: true },
          { title: "IN", text: (row) => String(row.incoming), right: true },
          { title: "OUT", text: (row) => String(row.outgoing), right: true },
          {
            title: "",
            text: (row) => "\u2588".repeat(Math.round((BAR * row.owned.length) / ringSize)),
            tint: () => "accent",
          },
        ],
        shares,
        paint,
      ),
    ],
  };
}

function partitionsSheet(reply: RingReply): Sheet {
  const nameOf = (at: number | undefined): string => reply.nodes[at ?? -1]?.name ?? "";
  const rows = reply.owners.map((at, partition) => ({
    partition,
    owner: nameOf(at),
    next: nameOf(reply.next[partition]),
    generation: reply.generations[partition] ?? 0,
  }));
  return {
    kind: "Partition",
    items: rows,
    extra: {
      ringId: reply.ringId,
      history: reply.history,
      epoch: reply.epoch,
      ringSize: reply.ringSize,
      voters: reply.voters,
    },
    lines: (paint) =>
      tableLines(
        [
          { title: "PARTITION", text: (row) => String(row.partition), right: true },
          { title: "OWNER", text: (row) => row.owner || "none", tint: (row) => (row.owner === "" ? "bad" : "plain") },
          { title: "NEXT", text: (row) => row.next || "-" },
          { title: "GENERATION", text: (row) => String(row.generation), right: true },
        ],
        rows,
        paint,
      ),
  };
}

function columnsOf(list: readonly Member[]): readonly Column<Member>[] {
  const total = list.reduce((sum, member) => sum + member.partitions, 0);
  return [
    { title: "NAME", text: (row) => row.name, tint: () => "strong" },
    { title: "STATUS", text: (row) => row.status, tint: (row) => tintOfState(row.status) },
    { title: "ALIVE", text: (row) => row.alive, tint: (row) => tintOfState(row.alive) },
    { title: "HEALTH", text: (row) => row.health || "-", tint: (row) => (isWell(row) ? "plain" : "bad") },
    { title: "VOTER", text: (row) => (row.voter ? "yes" : "-") },
    { title: "PARTITIONS", text: (row) => String(row.partitions), right: true },
    { title: "SHARE", text: (row) => percent(row.partitions, total), right: true },
    { title: "WEIGHT", text: (row) => String(row.weight), right: true },
    { title: "ZONE", text: (row) => row.zone || "-" },
    { title: "GRPC", text: (row) => row.grpcAddress || "-" },
    { title: "HTTP", text: (row) => row.httpAddress || "-" },
    { title: "MACHINE", text: (row) => (row.machine === "" ? "-" : row.machine.slice(0, 12)) },
  ];
}

function isWell({ health }: Member): boolean {
  return health === "" || health === "ok";
}

const BAR = 40;
