/** A dangerous change: asked for on a terminal, refused without `--yes` where nobody can be asked. */

import { createInterface } from "node:readline/promises";
import { CliError, EXIT, type ExitCode } from "./exit-codes.ts";

/** Who is asked. */
export interface Terminal {
  readonly input: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly output: NodeJS.WritableStream & { readonly isTTY?: boolean };
}

/** Resolves if the change may go on. */
export async function confirm(
  what: string,
  { yes }: { readonly yes: boolean },
  { input, output }: Terminal = { input: process.stdin, output: process.stderr },
): Promise<void> {
  if (yes) return;
  if (input.isTTY !== true || output.isTTY !== true)
    throw new CliError("CONFIRMATION_MISSING", `${what}; nothing was changed`, {
      exit: EXIT.usage,
      hint: "pass --yes to do it",
    });
  const lines = createInterface({ input, output });
  try {
    const gone = new Promise<never>((_, reject) => {
      lines.once("SIGINT", () => reject(unchanged(EXIT.interrupted)));
      lines.once("close", () => reject(unchanged(EXIT.failure)));
    });
    gone.catch(() => undefined);
    // Once it is closed, some versions of Node leave the question without an answer, and others reject it.
    const asked = lines.question(`${what}\nDo it? [y/N] `).catch(() => gone);
    if (/^y(es)?$/i.test((await Promise.race([asked, gone])).trim())) return;
  } finally {
    lines.close();
  }
  throw unchanged(EXIT.failure);
}

function unchanged(exit: ExitCode): CliError {
  return new CliError("CANCELLED", "nothing was changed", { exit });
}
