/** For code of a fitting whose result is needed before anything else can go on: it is no promise. */

/** Throws for a promise, whose rejection is heard. */
export function atOnce(result: unknown): unknown {
  if (!unheard(result)) return result;
  throw new TypeError("a promise, where the result must be there at once");
}

/** True for a promise; that it may reject is nobody's error but of those who wait for it. */
export function unheard(result: unknown): boolean {
  if (!(result instanceof Promise)) return false;
  result.catch(() => undefined);
  return true;
}
