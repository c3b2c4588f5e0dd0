/** Who reads what the program prints, and what becomes of it without them. */

import { EXIT } from "./exit-codes.ts";

export function watchReaders(): void {
  process.stdout.on("error", withoutReader);
  process.stderr.on("error", nobodyIsTold);
}

/** A node has more to do than to print: it goes on. */
export function outliveReaders(): void {
  process.stdout.off("error", withoutReader).on("error", nobodyIsTold);
}

function withoutReader(error: NodeJS.ErrnoException): void {
  // `ringctl … | head`: the reader has what it wanted.
  if (error.code === "EPIPE") process.exit(EXIT.ok);
  process.exitCode = EXIT.failure;
  process.stderr.write(`ringctl: stdout: ${error.message}\n`, () => process.exit(EXIT.failure));
}

function nobodyIsTold(): void {}
