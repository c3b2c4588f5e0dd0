/**
 * Texts of errors as they are kept: a hundred thousand tasks that failed for one reason hold one text, and none of them holds the
 * megabytes that it was cut out of, as a part of a JavaScript string does.
 */

const known = new Map<string, string>();

/** The text, or one that is equal. What is no text in UTF-8 is replaced, as on the wire. */
export function sharedText(text: string): string {
  const same = known.get(text);
  if (same !== undefined) return same;
  const own = ownText(text);
  if (known.size >= KNOWN_MOST) known.clear();
  known.set(own, own);
  return own;
}

/** The beginning of a text, at most so many characters of it, and nothing of the rest. */
export function startOf(text: string, characters: number): string {
  return text.length <= characters ? text : ownText(text.slice(0, characters));
}

function ownText(text: string): string {
  return decoder.decode(encoder.encode(text));
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
/** Of at most some kilobytes each. */
const KNOWN_MOST = 256;
