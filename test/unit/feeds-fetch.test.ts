import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { FeedFetcher, type FetchSettings, parseRetryAfter } from "../../services/feeds/fetch.ts";

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

let answer: Answer = (_request, response) => response.end();
let requests: IncomingMessage[] = [];
const server = createServer((request, response) => {
  requests.push(request);
  answer(request, response);
});
let base = "";

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  requests = [];
});

async function read(path = "/", settings: FetchSettings = {}, request: object = {}) {
  await using fetcher = new FeedFetcher({ allowAddresses: ["127.0.0.1"], ...settings });
  return await fetcher.fetch({ url: path.startsWith("/") ? `${base}${path}` : path, ...request });
}

function reply(status: number, headers: Record<string, string> = {}, body: string | Uint8Array = ""): Answer {
  return (_request, response) => {
    response.writeHead(status, headers);
    response.end(body);
  };
}

describe("an address that is not public is never connected to", () => {
  test("given as such", async () => {
    await expect(read("/", { allowAddresses: [] })).rejects.toMatchObject({
      code: "ADDRESS_REFUSED",
      retryable: false,
    });
    await expect(read("http://[::1]:80/", { allowAddresses: [] })).rejects.toMatchObject({ code: "ADDRESS_REFUSED" });
    expect(requests).toHaveLength(0);
  });

  test("behind a name", async () => {
    await expect(read(base.replace("127.0.0.1", "localhost"), { allowAddresses: [] })).rejects.toMatchObject({
      code: "ADDRESS_REFUSED",
    });
    expect(requests).toHaveLength(0);
  });

  test("behind a name that also has public addresses: only those are tried", async () => {
    const seen: string[] = [];
    const resolveAddresses: FetchSettings["resolveAddresses"] = (hostname, done) => {
      seen.push(hostname);
      done(null, [
        { address: "10.0.0.1", family: 4 },
        { address: "127.0.0.1", family: 4 },
      ]);
    };
    answer = reply(200, {}, "x");
    const result = await read(base.replace("127.0.0.1", "feeds.example"), { resolveAddresses });
    expect([result.type, seen, requests.length]).toEqual(["body", ["feeds.example"], 1]);
  });

  test("behind a redirect", async () => {
    answer = reply(302, { location: "http://127.0.0.2:1/secret" });
    await expect(read()).rejects.toMatchObject({ code: "ADDRESS_REFUSED" });
    answer = reply(302, { location: "http://[::ffff:a9fe:a9fe]/latest" });
    await expect(read()).rejects.toMatchObject({ code: "ADDRESS_REFUSED" });
    answer = reply(302, { location: "file:///etc/passwd" });
    await expect(read()).rejects.toMatchObject({ code: "URL_INVALID" });
    answer = reply(302, { location: "http://user:secret@127.0.0.1/" });
    await expect(read()).rejects.toMatchObject({ code: "URL_INVALID" });
  });
});

describe("redirects", () => {
  test("are followed, and permanent ones reported", async () => {
    answer = (request, response) => {
      if (request.url === "/new") return reply(200, {}, "feed")(request, response);
      reply(request.url === "/old" ? 301 : 308, { location: request.url === "/old" ? "/middle" : "new" })(
        request,
        response,
      );
    };
    expect(await read("/old")).toMatchObject({ type: "body", url: `${base}/new`, movedTo: `${base}/new` });
  });

  test("are not reported when one of them is temporary", async () => {
    answer = (request, response) => reply(request.url === "/new" ? 200 : 302, { location: "/new" })(request, response);
    expect(await read("/old")).not.toHaveProperty("movedTo");
  });

  test("end after the limit", async () => {
    answer = reply(301, { location: "/again" });
    await expect(read("/", { redirectLimit: 3 })).rejects.toMatchObject({ code: "TOO_MANY_REDIRECTS" });
    expect(requests).toHaveLength(4);
  });
});

describe("conditional requests", () => {
  test("send the validators back and understand 304", async () => {
    answer = (request, response) =>
      reply(
        request.headers["if-none-match"] === '"v1"' ? 304 : 200,
        { etag: '"v1"', "last-modified": "Mon, 06 May 2024 08:00:00 GMT" },
        request.headers["if-none-match"] === '"v1"' ? "" : "x",
      )(request, response);
    expect(await read()).toMatchObject({ type: "body", etag: '"v1"', lastModified: "Mon, 06 May 2024 08:00:00 GMT" });
    expect(await read("/", {}, { etag: '"v1"', lastModified: "Mon, 06 May 2024 08:00:00 GMT" })).toEqual({
      type: "not-modified",
    });
    expect(requests[1]?.headers["if-modified-since"]).toBe("Mon, 06 May 2024 08:00:00 GMT");
  });

  test("send validators to the URL they came from only", async () => {
    answer = (request, response) => reply(request.url === "/b" ? 200 : 302, { location: "/b" }, "x")(request, response);
    await read("/a", {}, { etag: '"v1"', validatedUrl: `${base}/b` });
    expect(requests.map((request) => request.headers["if-none-match"])).toEqual([undefined, '"v1"']);
  });
});

describe("P5: a body is bounded in size and time", () => {
  const limit = { bodyLimitBytes: 10_000 };
  test("when its length is announced", async () => {
    answer = reply(200, {}, "x".repeat(10_001));
    await expect(read("/", limit)).rejects.toMatchObject({ code: "TOO_LARGE", retryable: false });
  });

  test("when it is not", async () => {
    answer = (_request, response) => {
      const more = (): void => {
        while (!response.destroyed && response.write("x".repeat(1_000)));
      };
      response.on("drain", more);
      more();
    };
    await expect(read("/", limit)).rejects.toMatchObject({ code: "TOO_LARGE" });
  });

  test("when it is a decompression bomb, in one layer or two", async () => {
    const zeros = Buffer.alloc(20_000_000);
    for (const [encoding, body] of [
      ["gzip", gzipSync(zeros)],
      ["br", brotliCompressSync(zeros.subarray(0, 2_000_000))],
      ["deflate", deflateSync(zeros)],
      ["gzip, gzip", gzipSync(gzipSync(zeros))],
    ] as const) {
      answer = reply(200, { "content-encoding": encoding }, body);
      await expect(read("/", { bodyLimitBytes: 100_000 }), encoding).rejects.toMatchObject({ code: "TOO_LARGE" });
    }
  });

  test("when it drips", async () => {
    answer = (_request, response) => {
      const dripping = setInterval(() => response.write("x"), 5);
      response.on("close", () => clearInterval(dripping));
    };
    await expect(read("/", { totalTimeoutMs: 100 })).rejects.toMatchObject({ code: "TIMEOUT", retryable: true });
  });

  test("when no header comes", async () => {
    answer = () => {};
    await expect(read("/", { totalTimeoutMs: 100 })).rejects.toMatchObject({ code: "TIMEOUT" });
  });

  test("when the caller gives up", async () => {
    answer = () => {};
    await expect(read("/", {}, { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({ code: "CANCELLED" });
  });

  test("when the server sends endless headers", async () => {
    answer = reply(200, { "x-long": "x".repeat(20_000) }, "x");
    await expect(read()).rejects.toMatchObject({ code: "UNREACHABLE" });
  });
});

describe("encodings", () => {
  const text = "a feed, or so it says ".repeat(100);
  test.each([
    ["gzip", gzipSync(text)],
    ["x-gzip", gzipSync(text)],
    ["br", brotliCompressSync(text)],
    ["deflate", deflateSync(text)],
    ["deflate", deflateRawSync(text)],
    ["gzip, br", brotliCompressSync(gzipSync(text))],
    ["identity", Buffer.from(text)],
  ])("%s is undone", async (encoding, body) => {
    answer = reply(200, { "content-encoding": encoding }, body);
    const result = await read();
    expect(result.type === "body" && Buffer.from(result.body).toString()).toBe(text);
  });

  test("two in header lines of their own are both undone", async () => {
    answer = (_request, response) => {
      response.setHeader("content-encoding", ["gzip", "br"]);
      response.end(brotliCompressSync(gzipSync(text)));
    };
    const result = await read();
    expect(result.type === "body" && Buffer.from(result.body).toString()).toBe(text);
  });

  test("an unknown one, or a pile of them, is refused", async () => {
    answer = reply(200, { "content-encoding": "rot13" }, "x");
    await expect(read()).rejects.toMatchObject({ code: "ENCODING_UNKNOWN", retryable: false });
    answer = reply(200, { "content-encoding": "gzip, gzip, gzip" }, gzipSync("x"));
    await expect(read()).rejects.toMatchObject({ code: "ENCODING_UNKNOWN" });
  });

  test("a body that does not decompress, or ends early, can be tried again", async () => {
    answer = reply(200, { "content-encoding": "gzip" }, "this is no gzip");
    await expect(read()).rejects.toMatchObject({ code: "BODY_BROKEN", retryable: true });
    answer = reply(200, { "content-encoding": "gzip" }, gzipSync(text).subarray(0, 40));
    await expect(read()).rejects.toMatchObject({ code: "BODY_BROKEN" });
    answer = (_request, response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("x", () => response.destroy());
    };
    await expect(read()).rejects.toMatchObject({ retryable: true });
  });
});

describe("statuses", () => {
  test("410 is an end, not an error", async () => {
    answer = reply(410);
    expect(await read()).toEqual({ type: "gone" });
  });

  test("Retry-After is handed on", async () => {
    answer = reply(429, { "retry-after": "120" });
    expect(await read()).toEqual({ type: "deferred", status: 429, retryAfterMs: 120_000 });
    answer = reply(503, { "retry-after": "0" });
    expect(await read()).toMatchObject({ type: "deferred", retryAfterMs: 0 });
  });

  test.each([
    [404, "STATUS_REFUSED", false],
    [403, "STATUS_REFUSED", false],
    [204, "STATUS_REFUSED", false],
    [429, "STATUS_FAILED", true],
    [408, "STATUS_FAILED", true],
    [500, "STATUS_FAILED", true],
    [503, "STATUS_FAILED", true],
  ])("%i is %s", async (status, code, retryable) => {
    answer = reply(status);
    await expect(read()).rejects.toMatchObject({ code, retryable });
  });

  test("nobody listening can be tried again", async () => {
    await expect(read("http://127.0.0.1:1/")).rejects.toMatchObject({ code: "UNREACHABLE", retryable: true });
    const resolveAddresses: FetchSettings["resolveAddresses"] = (_name, done) =>
      done(Object.assign(new Error("no such name"), { code: "ENOTFOUND" }), []);
    await expect(read("http://nowhere.example/", { resolveAddresses })).rejects.toMatchObject({ code: "UNREACHABLE" });
  });
});

test.each([
  ["5", 5_000],
  [" 5 ", 5_000],
  ["Mon, 06 May 2024 08:01:00 GMT", 60_000],
  ["Mon, 06 May 2024 07:00:00 GMT", 0],
  ["999999999", 86_400_000],
  ["-5", undefined],
  ["soon", undefined],
  ["", undefined],
  [undefined, undefined],
])("Retry-After %j is %s ms", (text, expected) => {
  expect(parseRetryAfter(text, Date.parse("2024-05-06T08:00:00Z"))).toBe(expected);
});
