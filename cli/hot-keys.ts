/** `ringctl key hot`: the keys that have the most to do in the whole ring, each live member counting its own for a while. */

import type { HotKey, HotKeysReply } from "../proto/key-messages.ts";
import type { KeyReply } from "../proto/messages.ts";
import { type AskedNode, askNode, type CommandRun } from "./ask-node.ts";
import { parseDuration } from "./duration.ts";
import { cliErrorOf, EXIT, usage } from "./exit-codes.ts";
import { type Column, count, tableLines } from "./table.ts";
import type { Tint } from "./tint.ts";

interface HotRow {
  readonly app: string;
  readonly key: string;
  readonly node: string;
  readonly attemptsPerSecond: number;
  /** Of the time that was counted: how much of it one of its tasks was running. At 1 the key can do no more. */
  readonly busy: number;
  /** Absent when its owner did not say. */
  readonly queued?: number;
  readonly paused?: boolean;
}

export function hotKeys({ args, settings, output, flags }: CommandRun): Promise<number> {
  const forMs = Math.round(parseDuration(String(flags.for ?? "5s"), "--for"));
  if (forMs < 100 || forMs > 60_000) throw usage("--for must be 100ms to 60s");
  const limit = Number(flags.limit ?? 20);
  if (!Number.isInteger(limit) || limit < 1 || limit > 100) throw usage("--limit must be 1 to 100");
  return askNode(settings, async (node) => {
    const { replies, silent } = await countedOf(node, { app: args[0] ?? "", forMs, limit });
    const seconds = forMs / 1_000;
    const hottest = hottestOf(replies, { forMs, limit });
    const lanes = await Promise.all(hottest.map(({ app, key }) => laneOf(node, { app, key })));
    const rows = hottest.map(
      ({ app, key, node: owner, attempts, busyMs }, at): HotRow => ({
        app,
        key,
        node: owner,
        attemptsPerSecond: Math.round((attempts / seconds) * 10) / 10,
        busy: Math.min(1, Math.round((busyMs / forMs) * 1_000) / 1_000),
        ...(lanes[at] === undefined ? {} : { queued: lanes[at].queued, paused: lanes[at].paused }),
      }),
    );
    const attempts = replies.reduce((sum, reply) => sum + reply.attempts, 0);
    output.show({
      kind: "HotKey",
      items: rows,
      extra: { seconds, attempts, unreachable: silent.map(({ name }) => name) },
      lines: (paint) => (rows.length === 0 ? [] : tableLines(COLUMNS, rows, paint)),
    });
    if (rows.length === 0) output.remark(`no attempt ended in ${seconds} s`);
    else output.remark(`${count(attempts)} attempts ended in ${seconds} s`);
    for (const { name, reason } of silent) output.remark(`${name} is missing: ${cliErrorOf(reason).message}`);
    return silent.length === 0 ? EXIT.ok : EXIT.partly;
  });
}

interface Counted extends HotKey {
  readonly node: string;
}

/** By the larger of a key's two shares: of all attempts that ended, and of the time, in which it runs one at a time. */
export function hottestOf(
  replies: readonly HotKeysReply[],
  { forMs, limit }: { readonly forMs: number; readonly limit: number },
): readonly Counted[] {
  const all = replies.reduce((sum, reply) => sum + reply.attempts, 0);
  const found = new Map<string, Counted>();
  for (const { node, keys } of replies)
    for (const { app, key, attempts, busyMs } of keys) {
      const name = `${app}\0${key}`;
      const other = found.get(name); // it moved meanwhile
      found.set(name, {
        app,
        key,
        node,
        attempts: attempts + (other?.attempts ?? 0),
        busyMs: busyMs + (other?.busyMs ?? 0),
      });
    }
  const heat = ({ attempts, busyMs }: Counted): number => Math.max(attempts / all, Math.min(1, busyMs / forMs));
  return [...found.values()]
    .sort((left, right) => heat(right) - heat(left) || right.attempts - left.attempts)
    .slice(0, limit);
}

/** All at once, so that they count the same time. It is known when they are done: who is frozen is not waited for as elsewhere. */
async function countedOf(
  { client, call }: AskedNode,
  request: { readonly app: string; readonly forMs: number; readonly limit: number },
) {
  const { members } = await client.cluster.members(call);
  const there = members.filter(({ alive, grpcAddress }) => (alive === "alive" || alive === "suspect") && grpcAddress);
  const asked = await Promise.allSettled(
    there.map(({ grpcAddress: address }) =>
      client.apps.hotKeys(request, { address, deadlineMs: request.forMs + answerMs(call) }),
    ),
  );
  const replies = asked.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const silent = asked.flatMap((one, at) =>
    one.status === "rejected" ? [{ name: there[at]!.name, reason: one.reason as unknown }] : [],
  );
  if (replies.length === 0 && silent[0] !== undefined) throw silent[0].reason;
  return { replies, silent };
}

async function laneOf(
  { client, call }: AskedNode,
  at: { readonly app: string; readonly key: string },
): Promise<KeyReply | undefined> {
  return client.tasks.describeKey(at, { ...call, deadlineMs: answerMs(call) }).catch(() => undefined);
}

const COLUMNS: readonly Column<HotRow>[] = [
  { title: "APP", text: ({ app }) => app },
  { title: "NODE", text: ({ node }) => node },
  { title: "ATTEMPTS/S", text: ({ attemptsPerSecond }) => count(attemptsPerSecond), right: true },
  {
    title: "BUSY",
    text: ({ busy }) => `${Math.round(busy * 100)}%`,
    right: true,
    tint: ({ busy }): Tint => (busy >= 0.9 ? "bad" : busy >= 0.5 ? "warn" : "plain"),
  },
  { title: "QUEUED", text: ({ queued }) => (queued === undefined ? "-" : count(queued)), right: true },
  { title: "KEY", text: ({ key, paused }) => (paused === true ? `${key} (paused)` : key) },
];

function answerMs({ deadlineMs = ANSWER_MS }: AskedNode["call"]): number {
  return Math.min(deadlineMs, ANSWER_MS);
}

const ANSWER_MS = 2_000;
