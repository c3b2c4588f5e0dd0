/** How commands are declared: settings as options, and a body that is loaded when its command runs. */

import { type Command, Option } from "commander";
import type { CommandBody } from "./ask-node.ts";
import { Output } from "./output.ts";
import { type Flags, SETTINGS, type SettingName, Settings } from "./settings.ts";

/** Gives a command its body. */
export type Declare = (command: Command, load: () => Promise<CommandBody>) => void;

export function declarer(exit: (code: number) => void): Declare {
  return (command, load) => {
    command.action(async () => {
      const flags = flagsOf(command);
      const settings = settingsOf(flags);
      const format = settings.oneOf("output", ["table", "json", "jsonl"])!;
      const output = new Output({ format, stdout: process.stdout, stderr: process.stderr, env: process.env });
      const body = await load();
      exitWith(exit, await body({ args: command.args, flags, settings, output }));
    });
  };
}

export function exitWith(exit: (code: number) => void, code: number | undefined): void {
  if (code !== undefined) exit(code);
}

/** Options of the command and of those above it. */
export function flagsOf(command: Command): Flags {
  return command.optsWithGlobals();
}

export function settingsOf(flags: Flags): Settings {
  return new Settings(flags, { env: process.env, cwd: process.cwd() });
}

export function withSettings(command: Command, names: readonly SettingName[]): void {
  for (const name of names) {
    const setting = SETTINGS.find((known) => known.name === name)!;
    const shown = setting.fallback === undefined ? setting.about : `${setting.about} (default: ${setting.fallback})`;
    const option = new Option(setting.flag, shown);
    if (setting.many === true)
      option.argParser((text: string, before: readonly string[] | undefined) => [...(before ?? []), text]);
    command.addOption(option);
  }
}

export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

export function remark(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** What every command understands; given before or after its name. */
export const CLIENT_SETTINGS: readonly SettingName[] = ["address", "timeout", "output", "token-file", "config"];
