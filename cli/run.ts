/** One run of the program: command line in, exit code out. Every error ends here. */

import { CommanderError } from "commander";
import { CliError, cliErrorOf, EXIT } from "./exit-codes.ts";
import { buildProgram } from "./program.ts";
import { watchReaders } from "./readers.ts";

export async function run(args: readonly string[]): Promise<number> {
  watchReaders();
  let code: number = EXIT.ok;
  const takeExit = (exit: number): void => {
    code = exit;
  };
  const program = buildProgram(takeExit, { silent: wantsJson(args) });
  try {
    await program.parseAsync(args, { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT.ok;
      return wantsJson(args) ? fail(usageOf(error), args) : EXIT.usage;
    }
    return fail(cliErrorOf(error), args);
  }
}

function fail(error: CliError, args: readonly string[]): number {
  const { code, message, hint, retryable } = error;
  if (wantsJson(args)) process.stderr.write(`${JSON.stringify({ error: { code, message, hint, retryable } })}\n`);
  else {
    process.stderr.write(`ringctl: ${message}${code === "USAGE" ? "" : ` (${code})`}\n`);
    if (hint !== "") process.stderr.write(`  ${hint}\n`);
    if (code === "INTERNAL" && error.cause instanceof Error) process.stderr.write(`${error.cause.stack}\n`);
  }
  return error.exit;
}

function usageOf(error: CommanderError): CliError {
  return new CliError("USAGE", error.message.replace(/^error: /, ""), { exit: EXIT.usage, hint: "see ringctl help" });
}

/** Read from the raw arguments, since parsing them may be what failed. */
export function wantsJson(args: readonly string[]): boolean {
  const at = args.findIndex((arg) => arg === "-o" || arg === "--output");
  const format =
    at >= 0 ? args[at + 1] : args.find((arg) => /^(-o|--output=)/.test(arg))?.replace(/^(-o|--output=)=?/, "");
  return (format ?? process.env.TASKRING_OUTPUT ?? "").startsWith("json");
}
