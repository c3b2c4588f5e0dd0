/**
 * A feed publisher on loopback: serves the documents of a directory over HTTP with ETag and Last-Modified, and answers
 * 304 to those who have them already. `node dist/examples/feed-server.js [DIR] [PORT]` prints the addresses.
 */

import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import { pathToFileURL } from "node:url";

export interface FeedServer extends AsyncDisposable {
  /** Without a slash at the end. */
  readonly url: string;
  /** One for each document that the directory had at the start. */
  readonly feedUrls: readonly string[];
  /** Answers by status. */
  readonly answers: ReadonlyMap<number, number>;
}

/** Documents are read anew for each request, so a demo may change them. `port` 0: the system chooses. */
export async function startFeedServer(options: {
  readonly directory: string;
  readonly port?: number;
}): Promise<FeedServer> {
  const answers = new Map<number, number>();
  const server = createServer((request, response) => {
    response.on("finish", () => answers.set(response.statusCode, (answers.get(response.statusCode) ?? 0) + 1));
    serve(options.directory, request, response).catch(() => {
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });
  const names = (await readdir(options.directory)).filter((name) => TYPES.has(extname(name))).sort();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(options.port ?? 0, "127.0.0.1", resolve);
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    feedUrls: names.map((name) => `${url}/${encodeURIComponent(name)}`),
    answers,
    async [Symbol.asyncDispose](): Promise<void> {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function serve(directory: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const name = nameOf(request.url ?? "/");
  const type = name === undefined ? undefined : TYPES.get(extname(name));
  if (name === undefined || type === undefined) return finish(response, 404);
  const path = join(directory, name);
  const [body, { mtime }] = await Promise.all([readFile(path), stat(path)]).catch(
    () => [undefined, { mtime: new Date() }] as const,
  );
  if (body === undefined) return finish(response, 404);
  const etag = `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`;
  response.setHeader("etag", etag);
  response.setHeader("last-modified", mtime.toUTCString());
  if (request.headers["if-none-match"] === etag) return finish(response, 304);
  response.writeHead(200, { "content-type": type, "content-length": body.length });
  response.end(request.method === "HEAD" ? undefined : body);
}

/** Undefined for anything but a plain file name. */
function nameOf(path: string): string | undefined {
  try {
    const name = decodeURIComponent(path.slice(1).split("?", 1)[0] ?? "");
    return /^[\w][\w.-]{0,199}$/.test(name) ? name : undefined;
  } catch {
    return undefined;
  }
}

function finish(response: ServerResponse, status: number): void {
  response.writeHead(status);
  response.end();
}

/** No charset: the documents say theirs themselves. */
const TYPES: ReadonlyMap<string, string> = new Map([
  [".xml", "application/xml"],
  [".rss", "application/rss+xml"],
  [".rdf", "application/rdf+xml"],
  [".atom", "application/atom+xml"],
  [".json", "application/feed+json"],
]);

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [directory = "examples/feeds", port = "0"] = process.argv.slice(2);
  const server = await startFeedServer({ directory, port: Number(port) });
  process.stdout.write(`${server.feedUrls.join("\n")}\n`);
}
