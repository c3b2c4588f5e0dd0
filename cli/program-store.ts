/** Commands for the store, without asking its node. */

import type { Command } from "commander";
import { type Declare, withSettings } from "./declare.ts";
import type { SettingName } from "./settings.ts";

export function declareStore(program: Command, declare: Declare): void {
  const store = program
    .command("store")
    .description("what is stored: on a node's disk (--data), or in Redis (--store)");
  const declared = (name: string, about: string): Command => {
    const command = store.command(name).description(about);
    withSettings(command, PLACE);
    return command;
  };
  declare(declared("stats", "partitions, rows and bytes"), async () => (await import("./store.ts")).storeStats);
  declare(
    declared("check", "reads every row; exit 7 if any cannot be read"),
    async () => (await import("./store.ts")).storeCheck,
  );
  declare(
    declared("backup", "an archive of all of it as it is at one moment; nodes may go on meanwhile")
      .requiredOption("--to <file>", "the archive")
      .option("--yes", "replace a file of that name"),
    async () => (await import("./store.ts")).storeBackup,
  );
  declare(
    declared("restore", "an archive into an empty Redis, or into the directory of a node that does not run")
      .requiredOption("--from <file>", "the archive")
      .option("--yes", "do it"),
    async () => (await import("./store.ts")).storeRestore,
  );
}

const PLACE: readonly SettingName[] = ["store", "data", "name"];
