/** How an error is shown: on stderr, for people or as one line of JSON. */

import type { CliError, ExitCode } from "./exit-codes.ts";

/** Returns the exit code that it stands for. */
export function tell(error: CliError, { json }: { readonly json: boolean }): ExitCode {
  const { code, message, hint, retryable } = error;
  if (json) process.stderr.write(`${JSON.stringify({ error: { code, message, hint, retryable } })}\n`);
  else {
    process.stderr.write(`ringctl: ${message}${code === "USAGE" ? "" : ` (${code})`}\n`);
    if (hint !== "") process.stderr.write(`  ${hint}\n`);
    if (code === "INTERNAL" && error.cause instanceof Error) process.stderr.write(`${error.cause.stack}\n`);
  }
  return error.exit;
}
