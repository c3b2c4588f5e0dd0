/** The command tree: names, options and texts. What a command does is imported only when it runs. */

import { Command, Option } from "commander";
import { type Flags, SETTINGS, type SettingName, Settings } from "./settings.ts";

export function buildProgram(exit: (code: number) => void): Command {
  const program = new Command("ringctl")
    .description(
      "one ring of partitions over Node processes: every (app, key) has one owner that runs its tasks in order",
    )
    .exitOverride()
    .showSuggestionAfterError()
    .configureHelp({ showGlobalOptions: false });

  const starting = program
    .command("start")
    .description("run one node; founds a ring unless --join is given")
    .addOption(new Option("--ready-json", "the ready line on stdout is JSON"));
  withSettings(starting, [
    "name",
    "join",
    "app",
    "store",
    "data",
    "grpc",
    "http",
    "gossip",
    "advertise",
    "weight",
    "zone",
    "machine",
    "auto-join",
    "ring-size",
    "profile",
    "log-level",
    "grace",
    "timeout",
    "insecure-bind",
  ]);
  starting.action(async (flags: Flags) => {
    const { start } = await import("./start.ts");
    exit(await start({ settings: settingsOf(flags), readyJson: flags.readyJson === true, say, remark }));
  });

  program
    .command("version")
    .description("versions of this program and of Node")
    .action(async () => {
      const { packageVersion } = await import("./version.ts");
      say(`taskring ${packageVersion()} on Node ${process.versions.node}`);
    });
  return program;
}

function settingsOf(flags: Flags): Settings {
  return new Settings(flags, { env: process.env, cwd: process.cwd() });
}

function withSettings(command: Command, names: readonly SettingName[]): Command {
  for (const name of names) {
    const setting = SETTINGS.find((known) => known.name === name)!;
    const shown = setting.fallback === undefined ? setting.about : `${setting.about} (default: ${setting.fallback})`;
    const option = new Option(setting.flag, shown);
    if (setting.many === true)
      option.argParser((text: string, before: readonly string[] | undefined) => [...(before ?? []), text]);
    command.addOption(option);
  }
  command.addOption(new Option("--config <file>", "configuration file (default: taskring.json, if there is one)"));
  return command;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function remark(line: string): void {
  process.stderr.write(`${line}\n`);
}
