/**
 * `ringctl keys`: the keys that gossip is encrypted with, changed on every node while the ring runs.
 *
 * Each live member is asked by itself, so that the answer says on which nodes it was done; partly done is exit 8. The order
 * for a new key: install, use, remove the old one, each complete before the next.
 */

import { readFileSync } from "node:fs";
import type { Command } from "commander";
import type { Member } from "../proto/messages.ts";
import { askNode, type CommandRun } from "./ask-node.ts";
import type { Declare } from "./declare.ts";
import { EXIT, usage } from "./exit-codes.ts";
import { type Column, tableLines } from "./table.ts";

type Action = "list" | "install" | "use" | "remove";

export function declareKeys(program: Command, declare: Declare): void {
  const keys = program.command("keys").description("keys that gossip is encrypted with");
  const action = (name: Action, command: Command): void => declare(command, async () => (run) => changeKeys(name, run));
  action("list", keys.command("list").description("which node has which keys, by fingerprint"));
  action(
    "install",
    keys
      .command("install")
      .description("let every node open what is sealed with it")
      .argument("<key>", "16, 24 or 32 bytes in base64 (`openssl rand -base64 32`), @FILE or - for stdin"),
  );
  action("use", keys.command("use").description("let every node seal with it").argument("<fingerprint>"));
  action("remove", keys.command("remove").description("forget it on every node").argument("<fingerprint>"));
}

interface KeyRow {
  readonly node: string;
  /** Empty for a node that did not do it. */
  readonly fingerprint: string;
  readonly bits: number;
  readonly primary: boolean;
  readonly error: string;
}

function changeKeys(action: Action, { args, settings, output }: CommandRun): Promise<number | undefined> {
  const key = action === "install" ? secretOf(args[0] ?? "") : (args[0] ?? "");
  return askNode(settings, async ({ client, call, address }) => {
    const { members } = await client.cluster.members(call);
    // First the asked node alone: what it refuses is refused before anything has changed.
    const here = await client.cluster.keys({ action, key }, call);
    const others = members.filter((member) => member.name !== here.node && isThere(member));
    const rows: KeyRow[] = rowsOf(here.node, here.keys);
    let failed = 0;
    for (const { name, grpcAddress } of others) {
      try {
        const reply = await client.cluster.keys({ action, key }, { ...call, address: grpcAddress });
        rows.push(...rowsOf(name, reply.keys));
      } catch (error) {
        failed++;
        const why = error instanceof Error ? error.message : String(error);
        rows.push({ node: name, fingerprint: "", bits: 0, primary: false, error: why });
      }
    }
    output.show({
      kind: "GossipKey",
      items: rows,
      extra: { asked: address },
      lines: (paint) => tableLines(COLUMNS, rows, paint),
    });
    return failed > 0 ? EXIT.partly : undefined;
  });
}

function isThere({ alive, grpcAddress }: Member): boolean {
  return (alive === "alive" || alive === "suspect") && grpcAddress !== "";
}

function rowsOf(node: string, keys: readonly Omit<KeyRow, "node" | "error">[]): KeyRow[] {
  return keys.length === 0
    ? [{ node, fingerprint: "", bits: 0, primary: false, error: "gossips in clear" }]
    : keys.map(({ fingerprint, bits, primary }) => ({ node, fingerprint, bits, primary, error: "" }));
}

function secretOf(text: string): string {
  if (text !== "-" && !text.startsWith("@")) return text;
  try {
    return readFileSync(text === "-" ? 0 : text.slice(1), "utf8").trim();
  } catch (error) {
    throw usage(`the key cannot be read: ${(error as Error).message}`);
  }
}

const COLUMNS: readonly Column<KeyRow>[] = [
  { title: "NODE", text: (row) => row.node, tint: () => "strong" },
  { title: "KEY", text: (row) => (row.fingerprint === "" ? "-" : row.fingerprint) },
  { title: "BITS", text: (row) => (row.bits === 0 ? "-" : String(row.bits)), right: true },
  { title: "USE", text: (row) => (row.fingerprint === "" ? row.error : row.primary ? "seals and opens" : "opens") },
];
