/**
 * How much markup a document has, told by one cheap pass before a parser that cannot be interrupted reads it.
 *
 * M1  Counted are tags and the words in them: with or without values, quoted or not, each costs the parser a microsecond or more.
 * M2  Words in quotes count too: whoever opens a quote that the parser takes for none hides nothing behind it.
 */

export function hasMoreMarkup(text: string, limit: number): boolean {
  let words = 0;
  for (let at = text.indexOf("<"); at >= 0; at = text.indexOf("<", at)) {
    const section = SECTIONS.find(({ opening }) => text.startsWith(opening, at));
    if (section !== undefined) {
      const end = text.indexOf(section.closing, at + section.opening.length);
      if (end < 0) return false; // no parser reads on
      at = end;
      continue;
    }
    const tag = readTag(text, at);
    words += tag.words;
    at = tag.end;
    if (words > limit) return true;
  }
  return false;
}

/** From its `<` to its `>`, or to the end of the text. */
function readTag(text: string, from: number): { readonly words: number; readonly end: number } {
  const isInstruction = text.charCodeAt(from + 1) === QUESTION_MARK;
  let words = 1;
  let quote = 0;
  let at = from + 1;
  for (; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === quote) quote = 0;
    else if (quote === 0 && (code === QUOTATION_MARK || code === APOSTROPHE)) quote = code;
    else if (quote === 0 && code === GREATER && (!isInstruction || text.charCodeAt(at - 1) === QUESTION_MARK)) break;
    else if (isBetweenWords(code) && !isBetweenWords(text.charCodeAt(at - 1))) words += 1;
  }
  return { words, end: at };
}

function isBetweenWords(code: number): boolean {
  return code <= SPACE || code === EQUALS || (code > LAST_ASCII && /\s/.test(String.fromCharCode(code)));
}

const SECTIONS = [
  { opening: "<!--", closing: "-->" },
  { opening: "<![CDATA[", closing: "]]>" },
] as const;
const SPACE = 0x20;
const QUOTATION_MARK = 0x22;
const APOSTROPHE = 0x27;
const EQUALS = 0x3d;
const GREATER = 0x3e;
const QUESTION_MARK = 0x3f;
const LAST_ASCII = 0x7f;
