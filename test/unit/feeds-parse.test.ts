import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { decodeDocument } from "../../services/feeds/charset.ts";
import { type ParsedFeed, parseFeed } from "../../services/feeds/parse.ts";

const SAMPLES = new URL("../../examples/feeds/", import.meta.url);
const BASE = "https://feeds.example/sample.xml";

async function sample(name: string): Promise<ParsedFeed> {
  return parseFeed({ body: readFileSync(new URL(name, SAMPLES)), url: BASE });
}

async function parse(text: string, options: { entryLimit?: number; contentType?: string } = {}): Promise<ParsedFeed> {
  return parseFeed({ body: Buffer.from(text), url: BASE, ...options });
}

function rss(items: string): string {
  return `<rss version="2.0"><channel><title>t</title>${items}</channel></rss>`;
}

describe("the sample documents are read whole", () => {
  test.each([
    ["harbour-rss2.xml", "rss", "feedsmith", 12],
    ["garden-podcast-rss2.xml", "rss", "feedsmith", 6],
    ["workshop-atom.xml", "atom", "feedsmith", 8],
    ["releases-atom.xml", "atom", "feedsmith", 15],
    ["kitchen.json", "json", "feedsmith", 9],
    ["notes.json", "json", "feedsmith", 5],
    ["sky-rdf.xml", "rdf", "feedsmith", 7],
    ["city-iso-8859-1.xml", "rss", "feedsmith", 6],
    ["river-without-guid-rss2.xml", "rss", "feedsmith", 7],
    ["choir-ill-formed-rss2.xml", "rss", "feedparser", 5],
    ["quiet-empty-rss2.xml", "rss", "feedsmith", 0],
  ])("%s is %s, read by %s: %i entries", async (name, format, parser, entries) => {
    const parsed = await sample(name);
    expect([parsed.format, parsed.parser, parsed.entries.length, parsed.cut]).toEqual([format, parser, entries, 0]);
    expect(parsed.title).not.toBe("");
    expect(new Set(parsed.entries.map((entry) => entry.id)).size).toBe(entries);
  });
});

test("entries come oldest first, with absolute addresses and UTC dates", async () => {
  const { entries } = await sample("workshop-atom.xml");
  const dates = entries.map((entry) => entry.publishedAt ?? "");
  expect(dates).toEqual([...dates].sort());
  expect(entries.at(-1)).toMatchObject({
    id: "tag:workshop.example,2024:8",
    title: "Sharpening a plane iron",
    url: "https://feeds.example/8.html",
    publishedAt: "2024-05-06T08:00:00.000Z",
  });
});

test("an address is no longer than 2,048 characters once it is written in ASCII", async () => {
  const link = (characters: number) =>
    rss(`<item><guid>1</guid><link>https://a.example/${"é".repeat(characters)}</link></item>`);
  expect((await parse(link(300))).entries[0]?.url).toHaveLength(1_818);
  expect((await parse(link(400))).entries[0]).not.toHaveProperty("url");
});

test.each([
  ["Mon, 06 May 2024 08:00:00", "08:00"],
  ["Mon, 06 May 2024 8:00 PM", "20:00"],
  ["2024-05-06T08:00:00", "08:00"],
  ["2024-05-06T08:00:00.5", "08:00"],
  ["2024-05-06 08:00", "08:00"],
  ["06 May 2024", "00:00"],
  ["2024-05-06", "00:00"],
  ["Mon, 06 May 2024 08:00:00 EDT", "12:00"],
  ["Mon, 06 May 2024 08:00:00 -0500", "13:00"],
  ["2024-05-06T08:00:00+02:00", "06:00"],
  ["2024-05-06T08:00:00Z", "08:00"],
])("the date %j is %s, whatever the time zone of the machine", async (date, time) => {
  const before = process.env.TZ;
  process.env.TZ = "America/New_York";
  try {
    const { entries } = await parse(rss(`<item><guid>1</guid><pubDate>${date}</pubDate></item>`));
    expect(entries[0]?.publishedAt?.slice(0, 16)).toBe(`2024-05-06T${time}`);
  } finally {
    if (before === undefined) delete process.env.TZ;
    else process.env.TZ = before;
  }
});

test("an entry without id is told apart by its URL, else by title and content", async () => {
  const { entries } = await sample("river-without-guid-rss2.xml");
  expect(entries.filter((entry) => entry.url !== undefined).every((entry) => entry.id === entry.url)).toBe(true);
  const notices = entries.filter((entry) => entry.title === "Low water notice");
  expect(notices).toHaveLength(2); // three in the document, two of them the same
});

test("an edit changes the content hash, new white space or a new date does not", async () => {
  const item = (text: string, date: string) =>
    rss(`<item><guid>1</guid><title>A</title><description>${text}</description><pubDate>${date}</pubDate></item>`);
  const hashes = await Promise.all([
    parse(item("one two", "Mon, 06 May 2024 08:00:00 GMT")),
    parse(item("one\n   two ", "Tue, 07 May 2024 08:00:00 GMT")),
    parse(item("one three", "Mon, 06 May 2024 08:00:00 GMT")),
  ]).then((all) => all.map((each) => each.entries[0]?.contentHash));
  expect(hashes[0]).toBe(hashes[1]);
  expect(hashes[0]).not.toBe(hashes[2]);
});

describe("what one parser refuses the other reads", () => {
  const good = "<item><title>A</title><guid>1</guid></item>";
  test.each([
    ["a document cut off inside an entry", rss(`${good}<item><title>B</title>`).slice(0, -20)],
    ["an unclosed comment", rss(`${good}<!-- oops`)],
    ["an unclosed CDATA section", rss(`${good}<item><title><![CDATA[B</title></item>`)],
    ["items outside of the channel", `<rss version="2.0">${good}</rss>`],
  ])("%s", async (_what, text) => {
    const parsed = await parse(text);
    expect(parsed.parser).toBe("feedparser");
    expect(parsed.entries.map((entry) => entry.title)).toContain("A");
  });
});

describe("what is not a feed is refused", () => {
  test.each([
    ["nothing", ""],
    ["a web page", "<!doctype html><html><head><title>x</title></head><body>hi</body></html>"],
    ["plain text", "hello"],
    ["other JSON", '{"items":[]}'],
    ["a feed cut off before its first entry", "<rss version='2.0'><channel><title>t"],
    ["zeros", "\0".repeat(1_000)],
  ])("%s", async (_what, text) => {
    await expect(parse(text)).rejects.toMatchObject({ code: "NOT_A_FEED", retryable: false });
  });
});

test("an empty JSON Feed is a feed", async () => {
  const parsed = await parse('{"version":"https://jsonfeed.org/version/1.1","title":"Empty","items":[]}');
  expect([parsed.format, parsed.entries.length]).toEqual(["json", 0]);
});

test("entities are not expanded into bombs", async () => {
  const bomb = `<!DOCTYPE rss [<!ENTITY a "${"a".repeat(1_000)}"><!ENTITY b "${"&a;".repeat(1_000)}"><!ENTITY c "${"&b;".repeat(1_000)}">]>`;
  const parsed = await parse(`<?xml version="1.0"?>${bomb}${rss("<item><title>&c;&c;</title><guid>1</guid></item>")}`);
  expect(parsed.entries[0]?.title.length).toBeLessThan(100);
});

test("P5: a document of too many entries is refused before it is parsed", async () => {
  for (const item of ["<item><guid>1</guid></item>", "<item/>", "<ENTRY\n/>"]) {
    await expect(parse(rss(item.repeat(20_001))), item).rejects.toMatchObject({ code: "TOO_LARGE", retryable: false });
  }
  const attributes = Array.from({ length: 150_001 }, (_, at) => `a${at}="${at}"`).join(" ");
  await expect(parse(rss(`<item ${attributes}><title>x</title></item>`))).rejects.toMatchObject({ code: "TOO_LARGE" });
  const json = `{"version":"https://jsonfeed.org/version/1.1","items":[${'{"id":1},'.repeat(200_000)}{}]}`;
  await expect(parse(json)).rejects.toMatchObject({ code: "TOO_LARGE" });
});

describe("P5: what would hold the event loop for seconds is refused before it is parsed", () => {
  const item = (inside: string) => rss(`<item><guid>1</guid>${inside}</item>`);
  test.each([
    ["elements", item("<b/>".repeat(500_001))],
    ["attributes without values", item(`<b ${"a ".repeat(500_001)}/>`)],
    ["attributes behind a quote that is none", item(`<!-- <a ' --><b x=">" ${"a ".repeat(500_001)}/>`)],
    ["words apart by equals signs", item(`<b ${"a=".repeat(500_001)}/>`)],
    ["words of an instruction", item(`<?x > ${"a ".repeat(500_001)}?>`)],
    ["attributes of unusual names", item(`<b ${'é="" '.repeat(150_001)}/>`)],
    ["entries of a named space", rss("<a:item/>".repeat(20_001))],
    ["arrays in arrays", `{"version":"https://jsonfeed.org/version/1.1","items":[${"[],".repeat(200_001)}[]]}`],
  ])("%s", async (_what, text) => {
    await expect(parse(text)).rejects.toMatchObject({ code: "TOO_LARGE" });
  });

  test("text, comments and sections are no markup", async () => {
    const words = "a = b ".repeat(600_000);
    const parsed = await parse(
      item(`<!-- ${words} --><title>A</title><description><![CDATA[<p ${words}]]></description>`),
    );
    expect(parsed.entries.map((entry) => entry.title)).toEqual(["A"]);
  });
});

test("a document with more entries than the limit gives the newest, and says how many it left out", async () => {
  const item = (n: number) =>
    `<item><guid>${n}</guid><pubDate>${new Date(n * 86_400_000).toUTCString()}</pubDate></item>`;
  const oldestOnTop = rss(Array.from({ length: 10 }, (_, n) => item(n)).join(""));
  const parsed = await parse(oldestOnTop, { entryLimit: 3 });
  expect([parsed.entries.map((entry) => entry.id), parsed.cut]).toEqual([["7", "8", "9"], 7]);
});

test("a document nested without end is given up, and the event loop goes on meanwhile", async () => {
  let turns = 0;
  const ticking = setInterval(() => {
    turns += 1;
  }, 5);
  const started = performance.now();
  const parsed = await parse(rss(`<item><guid>1</guid></item>${"<a>".repeat(300_000)}`)).catch(
    (error: unknown) => error,
  );
  clearInterval(ticking);
  expect(parsed).toBeDefined();
  expect(performance.now() - started).toBeLessThan(8_000);
  expect(turns).toBeGreaterThan(3);
});

describe("the encoding is found out", () => {
  const text = '<?xml version="1.0" encoding="X"?><rss>Größe</rss>';
  const latin = Buffer.from(text.replace('"X"', '"ISO-8859-1"'), "latin1");
  const cyrillic = Buffer.concat([
    Buffer.from('<?xml version="1.0" encoding="windows-1251"?><t>'),
    Buffer.from([0xd6, 0xe8, 0xf2, 0xe0, 0xf2, 0xe0]),
  ]);
  test.each<[string, Uint8Array, string | undefined, string]>([
    ["by the declaration", latin, undefined, "Größe"],
    ["by the declaration, in Cyrillic", cyrillic, undefined, "Цитата"],
    ["by the header, without a declaration", Buffer.from("Größe", "latin1"), "text/xml; charset=ISO-8859-1", "Größe"],
    ["by the header in quotes", cyrillic, 'text/xml; charset="windows-1251"', "Цитата"],
    ["by the bytes when the header is wrong", latin, "text/xml; charset=utf-8", "Größe"],
    [
      "by the bytes when header and declaration are unknown",
      Buffer.from("Größe"),
      "text/xml; charset=klingon",
      "Größe",
    ],
    ["as windows-1252 when nothing fits", Buffer.from("Größe", "latin1"), undefined, "Größe"],
    ["by the UTF-8 mark", Buffer.from("\ufeffGröße"), "text/xml; charset=ISO-8859-1", "Größe"],
    [
      "by the bytes when the declaration says UTF-16",
      Buffer.from('<?xml version="1.0" encoding="utf-16"?><t>Größe</t> '),
      undefined,
      "Größe",
    ],
    ["by the bytes when the header says UTF-16", Buffer.from("<t>Größe</t>"), "text/xml; charset=UTF-16BE", "Größe"],
    ["by the UTF-16 mark", Buffer.from("\ufeffGröße", "utf16le"), undefined, "Größe"],
    ["as UTF-16 without a mark", Buffer.from("<rss>Größe", "utf16le"), undefined, "Größe"],
  ])("%s", (_how, body, contentType, expected) => {
    expect(decodeDocument(body, contentType)).toContain(expected);
  });

  test("one broken byte costs one character, not the document", () => {
    const broken = Buffer.concat([
      Buffer.from('<?xml version="1.0" encoding="UTF-8"?>Größe'),
      Buffer.from([0xff]),
      Buffer.from("ß"),
    ]);
    expect(decodeDocument(broken, undefined)).toMatch(/Größe\ufffdß$/);
  });
});
