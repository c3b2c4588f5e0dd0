/** JSON of what a caller gives: nothing that would be lost on the way without a word. */

/** Throws a TypeError for what JSON cannot hold: cycles, BigInt, functions, and what it makes `{}` of. */
export function jsonText(value: unknown): string {
  if (isEmptied(value)) throw new TypeError(`a ${value.constructor.name} has no JSON form`);
  const text: string | undefined = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`a ${typeof value} has no JSON form`);
  return text;
}

function isEmptied(value: unknown): value is object {
  if (typeof value !== "object" || value === null || "toJSON" in value) return false;
  return value instanceof Map || value instanceof Set || value instanceof ArrayBuffer || ArrayBuffer.isView(value);
}
