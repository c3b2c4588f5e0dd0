/** A dangerous change: asked for on a terminal, refused without `--yes` where nobody can be asked. */

import { createInterface } from "node:readline/promises";
import { CliError, EXIT } from "./exit-codes.ts";

/** Resolves if the change may go on. */
export async function confirm(what: string, { yes }: { readonly yes: boolean }): Promise<void> {
  if (yes) return;
  if (process.stdin.isTTY !== true || process.stderr.isTTY !== true)
    throw new CliError("CONFIRMATION_MISSING", `${what}; nothing was changed`, {
      exit: EXIT.usage,
      hint: "pass --yes to do it",
    });
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`${what}\nDo it? [y/N] `);
    if (/^y(es)?$/i.test(answer.trim())) return;
  } finally {
    terminal.close();
  }
  throw new CliError("CANCELLED", "nothing was changed", { exit: EXIT.failure });
}
