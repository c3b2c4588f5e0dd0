/** When a ring is at rest, and what it holds then: no tasks, no transfers, and counters that equal the tasks that ended. */

import type { RingClient } from "../../services/client/ring-client.ts";
import { loadHistory } from "../../services/history/history.ts";
import { isDone } from "../../services/history/rules.ts";
import { decodeValue } from "../../services/runner/value.ts";

/** Resolves when the ring was at rest twice in a row. Throws with what was still under way. */
export async function untilAtRest(
  client: RingClient,
  deadlineMs: number,
  away: ReadonlySet<string> = new Set(),
): Promise<void> {
  const end = performance.now() + deadlineMs;
  let calm = 0;
  for (;;) {
    const unrest = await unrestOf(client, away).catch((error: unknown) => String(error));
    calm = unrest === undefined ? calm + 1 : 0;
    if (calm === 2) return;
    if (performance.now() > end)
      throw new Error(`not at rest after ${deadlineMs / 1_000} s: ${unrest ?? "just now calm"}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** What is still under way, in one line. */
export async function unrestOf(client: RingClient, away: ReadonlySet<string> = new Set()): Promise<string | undefined> {
  const { transfers } = await client.cluster.transfers(CALL);
  const [first] = transfers;
  if (first !== undefined) return `${transfers.length} transfers, first ${JSON.stringify(first)}`;
  const { members } = await client.cluster.members(CALL);
  const odd = members.filter((member) => !away.has(member.name) && !AT_REST.has(`${member.status} ${member.alive}`));
  if (odd.length > 0) return odd.map(({ name, status, alive }) => `${name} is ${status} and ${alive}`).join(", ");
  const { nodes, unreachable } = await client.cluster.status({}, CALL);
  if (unreachable.some(({ node }) => !away.has(node))) return `unreachable: ${JSON.stringify(unreachable)}`;
  for (const node of nodes) {
    if (node.adopting.length > 0) return `${node.name} adopts ${node.adopting.join(", ")}`;
    if (node.stranded.length > 0)
      return `${node.name} tells of ${node.stranded.length} stranded, first ${JSON.stringify(node.stranded[0])}`;
    const open = node.partitions.filter(({ queued, running, delayed }) => queued + running + delayed > 0);
    if (open.length > 0) return `${node.name} has tasks in ${open.length} partitions, first ${JSON.stringify(open[0])}`;
    if (node.queued + node.running > 0) return `${node.name} has ${node.queued} queued and ${node.running} running`;
    if (node.children > 0) return `${node.children} children on ${node.name} wait to reach their owners`;
  }
  return undefined;
}

/** Reads every key's counter through a task, and compares it with the history: a line for each that differs. */
export async function wrongCounters(client: RingClient, historyDirectory: string): Promise<readonly string[]> {
  const ended = new Map<string, number>();
  for (const task of loadHistory(historyDirectory).tasks.values()) {
    if (task.lane.app === "chaos" && task.seq !== undefined && isDone(task))
      ended.set(task.lane.key, (ended.get(task.lane.key) ?? 0) + 1);
  }
  const keys = [...ended.keys()];
  const outcomes = await client.submitMany(keys.map((key) => ({ app: "chaos", type: "read", key })));
  const wrong: string[] = [];
  for (const [index, outcome] of outcomes.entries()) {
    const key = keys[index]!;
    if (outcome.type === "refused") {
      wrong.push(`${key}: ${outcome.code} ${outcome.detail}`);
      continue;
    }
    const { state, result } = await client.wait(outcome.id, { timeoutMs: WAIT_MS });
    const said =
      state === "DONE" ? (decodeValue(result ?? new Uint8Array()) as { readonly count: number }).count : state;
    if (said !== ended.get(key)) wrong.push(`${key}: the counter says ${said}, ${ended.get(key)} tasks ended`);
  }
  return wrong;
}

/** Members as they should be, and nodes that have left: gone, or started again and waiting to be let in. */
const AT_REST: ReadonlySet<string> = new Set(["valid alive", "none left", "none dead", "none alive"]);
const CALL = { deadlineMs: 5_000 };
const LOOK_MS = 100;
const WAIT_MS = 20_000;
