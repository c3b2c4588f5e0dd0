/**
 * The feeds of `ringctl demo`: the packaged documents, served on loopback from a copy to which new entries are added
 * while the demo runs; or a folder, or addresses, that the demo has never seen.
 */

import { cp, mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startFeedServer } from "../examples/feed-server.ts";
import { FeedError } from "../services/feeds/errors.ts";
import { parseFeed } from "../services/feeds/parse.ts";
import { feedIdOf } from "../services/feeds/read.ts";
import { usage } from "./exit-codes.ts";

export interface DemoFeed {
  readonly url: string;
  /** Key of its `entry` tasks. */
  readonly id: string;
  readonly title: string;
}

export interface Publisher extends AsyncDisposable {
  readonly feeds: readonly DemoFeed[];
  /** Answers by HTTP status; empty for feeds that others serve. */
  readonly answers: ReadonlyMap<number, number>;
  /** Adds an entry to each JSON Feed; how many. Feeds of others are left as they are. */
  publish(): Promise<number>;
  /** Entries in the documents as they are now, by feed id; undefined for feeds that others serve. */
  expected(): Promise<ReadonlyMap<string, number> | undefined>;
}

/** `source`: undefined for the packaged feeds, a folder, or addresses separated by commas or white space. */
export async function openPublisher(options: {
  readonly folder: string;
  readonly source: string | undefined;
}): Promise<Publisher> {
  const { source, folder } = options;
  if (source?.includes("://") === true) return remoteFeeds(source.split(/[\s,]+/).filter((url) => url !== ""));
  if (source !== undefined) {
    const found = await stat(source).catch(() => undefined);
    if (found?.isDirectory() !== true) throw usage(`--feeds ${source}: not a folder, and not an address`);
    return serveFolder(source, { editable: false });
  }
  const copy = join(folder, "feeds");
  await mkdir(copy, { recursive: true });
  await cp(PACKAGED, copy, { recursive: true });
  return serveFolder(copy, { editable: true });
}

async function serveFolder(directory: string, { editable }: { readonly editable: boolean }): Promise<Publisher> {
  const server = await startFeedServer({ directory });
  if (server.feedUrls.length === 0) {
    await server[Symbol.asyncDispose]();
    throw usage(`--feeds ${directory}: no feeds in it`, "files that end in .xml, .rss, .rdf, .atom or .json are feeds");
  }
  const names = server.feedUrls.map((url) => decodeURIComponent(url.slice(server.url.length + 1)));
  let edition = 0;
  return {
    feeds: server.feedUrls.map((url, at) => ({ url, id: feedIdOf(url), title: names[at] ?? url })),
    answers: server.answers,
    async publish() {
      if (!editable) return 0;
      edition += 1;
      const json = names.filter((name) => name.endsWith(".json"));
      for (const name of json) await addEntry(join(directory, name), edition);
      return json.length;
    },
    async expected() {
      const counts = new Map<string, number>();
      for (const [at, url] of server.feedUrls.entries()) {
        const body = await readFile(join(directory, names[at] ?? ""));
        counts.set(feedIdOf(url), await countEntries(url, body));
      }
      return counts;
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

function remoteFeeds(urls: readonly string[]): Publisher {
  return {
    feeds: urls.map((url) => ({ url, id: feedIdOf(url), title: url })),
    answers: new Map(),
    publish: async () => 0,
    expected: async () => undefined,
    [Symbol.asyncDispose]: async () => {},
  };
}

/** By renaming, since the server may be reading. */
async function addEntry(path: string, edition: number): Promise<void> {
  const document = JSON.parse(await readFile(path, "utf8")) as { readonly items: readonly object[] };
  const entry = {
    id: `demo-edition-${edition}`,
    url: `https://example.org/demo/${edition}`,
    title: `Edition ${edition}`,
    content_text: `Published while the demo ran, edition ${edition}.`,
  };
  await writeFile(`${path}.next`, JSON.stringify({ ...document, items: [entry, ...document.items] }));
  await rename(`${path}.next`, path);
}

/** None for what is not a feed. */
async function countEntries(url: string, body: Uint8Array): Promise<number> {
  try {
    return (await parseFeed({ body, url })).entries.length;
  } catch (error) {
    if (error instanceof FeedError) return 0;
    throw error;
  }
}

/** examples/ is in the package beside dist/. */
const PACKAGED = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "../examples/feeds" : "../../examples/feeds", import.meta.url),
);
