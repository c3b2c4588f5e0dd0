/** `ringctl transfers`: what moves, how far it is, and why each waits; and the way to steer it. */

import type { TransfersReply } from "../proto/messages.ts";
import { type AskedNode, askNode, type CommandRun, pollUntil, waitMs, watching } from "./ask-node.ts";
import { showDuration } from "./duration.ts";
import { CliError, EXIT, usage } from "./exit-codes.ts";
import type { Output, Sheet } from "./output.ts";
import { bytes, type Column, count, plural, tableLines } from "./table.ts";

export function transfers({ settings, output, flags }: CommandRun): Promise<number> {
  return askNode(settings, async (node) => {
    const look = async (): Promise<TransfersReply> => node.client.cluster.transfers(node.call);
    if (flags.watch === true) return watching(async () => output.repaint(transfersSheet(await look())));
    if (flags.wait === true) await untilMoved(node, output, waitMs(settings));
    return show(output, await look());
  });
}

export function limitTransfers({ args, settings, output }: CommandRun): Promise<number> {
  const limit = wholeNumber(args[0] ?? "", "limit");
  return steer({ limit }, { settings, output });
}

export function pauseTransfers(run: CommandRun): Promise<number> {
  return steer({ paused: true }, run);
}

export function resumeTransfers(run: CommandRun): Promise<number> {
  return steer({ paused: false }, run);
}

/** Past a handler that does not return: its attempt may overlap with the next one at the new owner. */
export function forceTransfer({ args, settings, output }: CommandRun): Promise<number> {
  return steer({ force: wholeNumber(args[0] ?? "", "partition") }, { settings, output });
}

/** Waits until nothing is on its way any more. Throws `DEADLINE` with what is left. */
export async function untilMoved({ client, call }: AskedNode, output: Output, withinMs: number): Promise<void> {
  let most = 0;
  let left = 0;
  const moved = await pollUntil(
    async () => {
      const reply = await client.cluster.transfers(call);
      left = reply.transfers.length;
      most = Math.max(most, left);
      if (most > 0) output.progress(most - left, most, reply.paused ? "paused" : (reply.transfers[0]?.reason ?? ""));
      return left === 0 ? true : undefined;
    },
    { withinMs, everyMs: LOOK_MS },
  );
  output.endProgress();
  if (moved === undefined)
    throw new CliError("DEADLINE", `${plural(left, "transfer")} still under way after ${showDuration(withinMs)}`, {
      exit: EXIT.unreachable,
      hint: "ringctl transfers says what each waits for; they go on by themselves",
      retryable: true,
    });
}

function steer(
  change: { readonly limit?: number; readonly paused?: boolean; readonly force?: number },
  { settings, output }: Pick<CommandRun, "settings" | "output">,
): Promise<number> {
  return askNode(settings, async ({ client, call }) =>
    show(output, await client.cluster.setTransferLimit(change, call)),
  );
}

/** A member that did not answer is missing from the list, or did not take the setting: partly done. */
function show(output: Output, reply: TransfersReply): number {
  output.show(transfersSheet(reply));
  if (reply.unreachable.length === 0) return EXIT.ok;
  output.remark(`no answer from ${reply.unreachable.join(", ")}`);
  return EXIT.partly;
}

function transfersSheet(reply: TransfersReply): Sheet {
  const { transfers: list, limit, paused, unreachable } = reply;
  return {
    kind: "Transfer",
    items: list,
    extra: { limit, paused, unreachable },
    lines: (paint) => [
      `${list.length === 0 ? "no transfers" : plural(list.length, "transfer")} under way, at most ${limit} at once on a node${paused ? paint(", paused", "warn") : ""}`,
      ...(list.length === 0 ? [] : ["", ...tableLines(COLUMNS, list, paint)]),
    ],
  };
}

function wholeNumber(text: string, what: string): number {
  if (!/^\d{1,4}$/.test(text)) throw usage(`${what} ${text}: expected a whole number`);
  return Number(text);
}

const COLUMNS: readonly Column<TransfersReply["transfers"][number]>[] = [
  { title: "PARTITION", text: (row) => String(row.partition), right: true },
  { title: "KIND", text: (row) => row.kind },
  { title: "FROM", text: (row) => row.from },
  { title: "TO", text: (row) => row.to },
  { title: "PHASE", text: (row) => row.phase, tint: () => "strong" },
  { title: "ROWS", text: (row) => count(row.rows), right: true },
  { title: "BYTES", text: (row) => bytes(row.bytes), right: true },
  { title: "FOR", text: (row) => showDuration(row.sinceMs), right: true },
  { title: "WHY", text: (row) => row.reason || "-" },
];
const LOOK_MS = 250;
