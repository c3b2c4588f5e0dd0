/** `ringctl stage …`: changes of the ring that the next commit applies. Staging itself moves nothing. */

import type { StageRequest } from "../proto/messages.ts";
import { askNode, type CommandRun } from "./ask-node.ts";
import { confirm } from "./confirm.ts";
import { usage } from "./exit-codes.ts";

export type StageKind = "join" | "leave" | "replace" | "force-remove" | "down" | "weight" | "zone";

export const stage =
  (kind: StageKind): ((run: CommandRun) => Promise<undefined>) =>
  async ({ args, flags, settings, output }) => {
    const change = stageRequestOf(kind, args, flags);
    const danger = dangerOf(kind, args[0] ?? "");
    if (danger !== undefined) await confirm(danger, { yes: flags.yes === true });
    return askNode(settings, async ({ client, call }) => {
      const { staged } = await client.cluster.stage(change, call);
      output.show({
        kind: "StagedChange",
        items: staged.map((text) => ({ change: text })),
        lines: (paint) => [paint("staged", "strong"), ...staged.map((text) => `  ${text}`)],
      });
      output.remark("next: ringctl plan");
      return undefined;
    });
  };

/** Throws a usage error for what the server would not understand. */
export function stageRequestOf(
  kind: StageKind,
  args: readonly string[],
  flags: Readonly<Record<string, unknown>>,
): StageRequest {
  const [name = "", second = ""] = args;
  switch (kind) {
    case "join":
      return {
        join: {
          name,
          weight: flags.weight === undefined ? 0 : weightOf(String(flags.weight)),
          zone: flags.zone === undefined ? "" : String(flags.zone),
        },
      };
    case "leave":
      return { leave: name };
    case "replace":
      return { replace: { name, by: second } };
    case "force-remove":
      return { forceRemove: name };
    case "down":
      return { down: name };
    case "weight":
      return { setWeight: { name, weight: weightOf(second) } };
    case "zone":
      return { setZone: { name, zone: second } };
  }
}

function weightOf(text: string): number {
  if (!/^\d{1,4}$/.test(text) || Number(text) > 1_000)
    throw usage(`weight ${text}: expected a whole number from 0 to 1000`);
  return Number(text);
}

function dangerOf(kind: StageKind, name: string): string | undefined {
  if (kind === "force-remove")
    return `force-remove ${name}: once committed, the tasks and state on its disk are lost for good`;
  if (kind === "down")
    return `down ${name}: once committed, others take over its partitions; tasks on its disk wait until it returns`;
  return undefined;
}
