/**
 * Bytes of a feed document to text. What servers, byte order marks and XML declarations say about the encoding often
 * disagrees; the order here is that of RFC 7303 (mark, then header, then declaration), but a claim that the bytes
 * contradict gives way to the next one.
 */

import { TextDecoder } from "node:util";

/** Never throws: bytes that no claim explains are read as windows-1252, or with replacement characters. */
export function decodeDocument(body: Uint8Array, contentType: string | undefined): string {
  const mark = byMark(body);
  if (mark !== undefined) return new TextDecoder(mark).decode(body);
  const claims = [byHeader(contentType), byDeclaration(body), "utf-8"]
    .filter((label) => label !== undefined)
    .filter((label) => !(isWide(label) && isNarrow(body)));
  for (const label of claims) {
    const text = decodeStrictly(body, label);
    if (text !== undefined) return text;
  }
  // One broken byte must not turn a whole document into mojibake: a known claim wins over the guess.
  const known = claims.slice(0, -1).find((label) => decoderFor(label, { fatal: false }) !== undefined);
  return new TextDecoder(known ?? "windows-1252").decode(body);
}

function byMark(body: Uint8Array): string | undefined {
  const [a, b, c] = body;
  if (a === 0xef && b === 0xbb && c === 0xbf) return "utf-8";
  if (a === 0xff && b === 0xfe) return "utf-16le";
  if (a === 0xfe && b === 0xff) return "utf-16be";
  // No mark, but every other byte of "<?" is zero.
  if (a === 0x3c && b === 0x00) return "utf-16le";
  if (a === 0x00 && b === 0x3c) return "utf-16be";
  return undefined;
}

function byHeader(contentType: string | undefined): string | undefined {
  return /;\s*charset\s*=\s*"?([^\s";]{1,40})/i.exec(contentType ?? "")?.[1];
}

function byDeclaration(body: Uint8Array): string | undefined {
  const head = new TextDecoder("latin1").decode(body.subarray(0, DECLARATION_LIMIT_BYTES));
  return /^\s*<\?xml\b[^>]*?\bencoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']/.exec(head)?.[1];
}

/** Many a document was UTF-16 only as a string of the program that wrote it, and still says so. */
function isWide(label: string): boolean {
  return decoderFor(label, { fatal: false })?.encoding.startsWith("utf-16") === true;
}

/** Markup in UTF-16 is full of zeros. */
function isNarrow(body: Uint8Array): boolean {
  return !body.subarray(0, DECLARATION_LIMIT_BYTES).includes(0);
}

function decodeStrictly(body: Uint8Array, label: string): string | undefined {
  try {
    return decoderFor(label, { fatal: true })?.decode(body);
  } catch {
    return undefined;
  }
}

/** Undefined for a label that names no encoding. */
function decoderFor(label: string, options: { readonly fatal: boolean }): TextDecoder | undefined {
  try {
    return new TextDecoder(label, options);
  } catch {
    return undefined;
  }
}

const DECLARATION_LIMIT_BYTES = 1_024;
