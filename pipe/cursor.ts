/**
 * Where a generator can go on. A cursor is kept as JSON has it, and as it was when it was given: whoever goes on with it may be
 * another node, and the generator may use the object again.
 */

import { RingError } from "../ring/errors.ts";
import { CURSOR_CHARACTERS } from "./limits.ts";
import { errorTextOf } from "./token.ts";

/** A copy. Throws `INVALID_ARGUMENT`. */
export function keptCursor(cursor: unknown): unknown {
  if (cursor === undefined || cursor === null || Number.isFinite(cursor)) return cursor;
  const encoded = encodedCursor(cursor);
  if (encoded.length > CURSOR_CHARACTERS)
    throw new RingError(
      "INVALID_ARGUMENT",
      `checkpoint: a cursor of ${encoded.length} characters is more than ${CURSOR_CHARACTERS}`,
    );
  return typeof cursor === "string" ? cursor : (JSON.parse(encoded) as unknown);
}

function encodedCursor(cursor: unknown): string {
  let encoded: string | undefined;
  try {
    encoded = JSON.stringify(cursor) as string | undefined;
  } catch (error) {
    throw new RingError("INVALID_ARGUMENT", `checkpoint: a cursor without JSON form: ${errorTextOf(error)}`);
  }
  if (encoded === undefined)
    throw new RingError("INVALID_ARGUMENT", `checkpoint: a cursor without JSON form: ${typeof cursor}`);
  return encoded;
}
