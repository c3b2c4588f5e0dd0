/** `ringctl events [-f]`: what happened to the ring, as the asked node saw it. */

import type { ClusterEvent } from "../proto/messages.ts";
import { answers, askNode, type CommandRun } from "./ask-node.ts";
import { usage } from "./exit-codes.ts";
import { moment, printable } from "./table.ts";
import type { Paint } from "./tint.ts";

export function events({ settings, output, flags }: CommandRun): Promise<undefined> {
  const recent = recentOf(String(flags.recent ?? RECENT));
  return askNode(settings, async (node) => {
    const { client, address } = node;
    // The channel is up after this, so that silence means that there is no more.
    await answers(node);
    const enough = new AbortController();
    const line = (event: ClusterEvent) => (paint: Paint) =>
      `${paint(moment(event.atMs), "dim")}  ${event.node}  ${paint(printable(event.type), "strong")}  ${printable(event.detail)}`;
    const collected: ClusterEvent[] = [];
    let timer = flags.follow === true ? undefined : setTimeout(() => enough.abort(), SILENCE_MS);
    for await (const event of client.cluster.events({ recent }, { address, signal: enough.signal })) {
      clearTimeout(timer);
      if (flags.follow === true) {
        output.item(event, line(event));
        continue;
      }
      collected.push(event);
      if (collected.length >= recent) break;
      timer = setTimeout(() => enough.abort(), SILENCE_MS);
    }
    clearTimeout(timer);
    if (flags.follow === true) return undefined;
    output.show({ kind: "Event", items: collected, lines: (paint) => collected.map((event) => line(event)(paint)) });
    return undefined;
  });
}

function recentOf(text: string): number {
  const value = Number(text);
  if (!/^\d{1,4}$/.test(text) || value < 1 || value > RECENT_MOST)
    throw usage(`--recent ${text}: expected 1 to ${RECENT_MOST}`);
  return value;
}

const RECENT = 100;
const RECENT_MOST = 1_000;
/** The kept events come at once; a stream that is silent for this long has none left. */
const SILENCE_MS = 400;
