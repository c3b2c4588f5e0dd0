/** One run of the program: command line in, exit code out. Every error ends here. */

import { CommanderError } from "commander";
import { CliError, cliErrorOf, EXIT } from "./exit-codes.ts";
import { buildProgram } from "./program.ts";
import { watchReaders } from "./readers.ts";
import { Settings } from "./settings.ts";
import { tell } from "./tell.ts";

export async function run(args: readonly string[]): Promise<number> {
  watchReaders();
  let code: number = EXIT.ok;
  const takeExit = (exit: number): void => {
    code = exit;
  };
  const program = buildProgram(takeExit, { silent: wantsJson(args) });
  try {
    await program.parseAsync(withHelp(args), { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT.ok;
      return wantsJson(args) ? tell(usageOf(error), { json: true }) : EXIT.usage;
    }
    return tell(cliErrorOf(error), { json: wantsJson(args) });
  }
}

/** Commander's own `help` knows commands of the first level only. */
function withHelp(args: readonly string[]): readonly string[] {
  return args[0] === "help" && args.length > 2 ? [...args.slice(1), "--help"] : args;
}

function usageOf(error: CommanderError): CliError {
  const message = error.code === "commander.help" ? "a command is missing" : error.message.replace(/^error: /, "");
  return new CliError("USAGE", message, { exit: EXIT.usage, hint: "see ringctl help" });
}

/** Read from the raw arguments, since parsing them may be what failed; else from where settings come from. */
export function wantsJson(args: readonly string[]): boolean {
  const format =
    given(args, /^(-o|--output)$/, /^(-o|--output=)=?/) ?? configured(given(args, /^--config$/, /^--config=/));
  return (format ?? "").startsWith("json");
}

function given(args: readonly string[], alone: RegExp, joined: RegExp): string | undefined {
  const at = args.findIndex((arg) => alone.test(arg));
  return at >= 0 ? args[at + 1] : args.find((arg) => joined.test(arg))?.replace(joined, "");
}

function configured(config: string | undefined): string | undefined {
  try {
    return new Settings(config === undefined ? {} : { config }, { env: process.env, cwd: process.cwd() }).text(
      "output",
    );
  } catch {
    return process.env.TASKRING_OUTPUT; // what is wrong with the settings is told by who uses them
  }
}
