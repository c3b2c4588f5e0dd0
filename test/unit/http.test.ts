import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { RingError } from "../../ring/errors.ts";
import { type Health, type HttpOptions, type HttpServer, startHttp } from "../../services/http/server.ts";

const open: (HttpServer | Socket)[] = [];

afterEach(async () => {
  for (const one of open.splice(0)) {
    if ("port" in one) await one[Symbol.asyncDispose]();
    else one.destroy();
  }
});

const READY: Health = {
  ready: true,
  checks: [
    { name: "store", ok: true },
    { name: "lease", ok: true, detail: "4.2 s left" },
  ],
};
const STALLED: Health = {
  ready: false,
  checks: [
    { name: "store", ok: true },
    { name: "progress", ok: false, detail: "STALLED: partition 3, 31 s" },
  ],
};

async function start(options: Partial<HttpOptions> = {}): Promise<{ server: HttpServer; url: string }> {
  const server = await startHttp({
    host: "127.0.0.1",
    port: 0,
    metrics: () => "taskring_up 1\n",
    readiness: () => READY,
    ...options,
  });
  open.push(server);
  return { server, url: `http://127.0.0.1:${server.port}` };
}

/** Sends bytes as they are and gives everything that comes back until the other side closes. */
function raw(port: number, bytes: string | Uint8Array, options: { readonly end?: boolean } = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    open.push(socket);
    let text = "";
    socket.setTimeout(3_000, () => reject(new Error("the server kept a connection open")));
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
    });
    socket.on("error", () => resolve(text));
    socket.on("close", () => resolve(text));
    socket.write(bytes);
    if (options.end) socket.end();
  });
}

describe("pages", () => {
  test("metrics, probes and the start page are served", async () => {
    const { url } = await start({ title: "node <1>" });
    const metrics = await fetch(`${url}/metrics`);
    expect([metrics.status, metrics.headers.get("content-type"), await metrics.text()]).toEqual([
      200,
      "text/plain; version=0.0.4; charset=utf-8",
      "taskring_up 1\n",
    ]);
    expect(await (await fetch(`${url}/livez`)).text()).toBe("ok\n");
    expect(await (await fetch(`${url}/readyz`)).text()).toBe("ok\n");
    expect(await (await fetch(`${url}/readyz?verbose`)).text()).toBe(
      "[+]store ok\n[+]lease ok: 4.2 s left\nreadyz check passed\n",
    );
    const page = await (await fetch(url)).text();
    expect(page).toContain("node &lt;1&gt;");
    expect(page).toContain('href="/metrics"');
  });

  test("a node that makes no progress is not ready and says why, without being asked", async () => {
    const { url } = await start({ readiness: () => STALLED });
    const answer = await fetch(`${url}/readyz`);
    expect([answer.status, await answer.text()]).toEqual([
      503,
      "[+]store ok\n[-]progress failed: STALLED: partition 3, 31 s\nreadyz check failed\n",
    ]);
    expect((await fetch(`${url}/livez`)).status).toBe(200);
  });

  test("startup has passed once the node has been ready once", async () => {
    let health = STALLED;
    const { url } = await start({ readiness: () => health });
    expect((await fetch(`${url}/startupz`)).status).toBe(503);
    health = READY;
    expect((await fetch(`${url}/startupz`)).status).toBe(200);
    health = STALLED;
    expect((await fetch(`${url}/startupz`)).status).toBe(200);
  });

  test("HEAD has the headers and no body; other methods and paths are refused", async () => {
    const { url } = await start();
    const head = await fetch(`${url}/metrics`, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length"), await head.text()]).toEqual([200, "14", ""]);
    const post = await fetch(`${url}/metrics`, { method: "POST", body: "x".repeat(100_000) });
    expect([post.status, post.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
    expect((await fetch(`${url}/etc/passwd`)).status).toBe(404);
  });
});

describe("the API", () => {
  test("the host's answer is sent as JSON, with the path and the query it was given", async () => {
    const { url } = await start({
      api: (path, query) => ({
        path,
        key: query.get("key"),
        fence: 5n,
        at: new Map([["a", 1]]),
        bytes: new Uint8Array([1]),
      }),
    });
    const answer = await fetch(`${url}/api/v1/owner?key=a%20b`);
    expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "application/json; charset=utf-8"]);
    expect(await answer.json()).toEqual({ path: "owner", key: "a b", fence: "5", at: { a: 1 }, bytes: "AQ==" });
  });

  test("errors have the code, the hint and a status that fits", async () => {
    const { url } = await start({
      api: async (path) => {
        if (path === "full") throw new RingError("QUEUE_FULL", "full", { retryAfterMs: 1_200 });
        if (path === "bug") throw new Error("secret detail");
        return undefined;
      },
    });
    const full = await fetch(`${url}/api/v1/full`);
    expect([full.status, full.headers.get("retry-after")]).toEqual([429, "2"]);
    expect(await full.json()).toMatchObject({
      error: { code: "QUEUE_FULL", message: "full", retryable: true, hint: expect.any(String) },
    });
    const bug = await fetch(`${url}/api/v1/bug`);
    expect([bug.status, await bug.text()]).toEqual([500, expect.not.stringContaining("secret")]);
    expect((await fetch(`${url}/api/v1/nothing`)).status).toBe(404);
  });

  test("an answer that never comes ends with a timeout and an aborted signal", async () => {
    let signal: AbortSignal | undefined;
    const { url } = await start({
      limits: { requestMs: 100 },
      api: (_path, _query, given) => {
        signal = given;
        return new Promise(() => {});
      },
    });
    expect((await fetch(`${url}/api/v1/slow`)).status).toBe(504);
    expect(signal?.aborted).toBe(true);
  });

  test("without an API the answer says so", async () => {
    const { url } = await start();
    expect((await fetch(`${url}/api/v1/status`)).status).toBe(501);
  });
});

describe("garbage", () => {
  const GARBAGE: Readonly<Record<string, string | Uint8Array>> = {
    "no HTTP at all": "hello\r\n\r\n",
    "binary noise": new Uint8Array(Array.from({ length: 2_000 }, (_, at) => (at * 7919) % 256)),
    "a TLS greeting": new Uint8Array([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]),
    "an HTTP/2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an absolute target": "GET http://elsewhere/metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "a target that is no path": "GET //%zz:99999 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "two lengths": "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "headers without end": `GET / HTTP/1.1\r\nHost: x\r\n${"A: b\r\n".repeat(5_000)}`,
    "a CONNECT": "CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere:443\r\n\r\n",
    "an upgrade": "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
  };
  for (const [what, bytes] of Object.entries(GARBAGE)) {
    test(`${what} is answered or cut off, and the server goes on`, async () => {
      const { server, url } = await start({ limits: { requestMs: 200 } });
      const text = await raw(server.port, bytes);
      expect(text).toMatch(what === "an upgrade" ? /^HTTP\/1\.1 200 / : /^(HTTP\/1\.1 (400|431|405) |$)/);
      expect((await fetch(`${url}/livez`)).status).toBe(200);
    });
  }

  test("P5: a peer that never finishes its request is cut off", async () => {
    const { server } = await start({ limits: { requestMs: 100 } });
    expect(await raw(server.port, "GET / HTTP/1.1\r\nHost: x\r\n")).toMatch(/^HTTP\/1\.1 408 /);
  });

  test("P5: a peer that never says anything, or stays after its answer, is cut off", async () => {
    const { server } = await start({ limits: { requestMs: 100 } });
    expect(await raw(server.port, "")).toBe(
      "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    );
    expect(await raw(server.port, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")).toMatch(/^HTTP\/1\.1 200 /);
  });

  test("P5: connections beyond the limit are closed at once", async () => {
    const { server } = await start({ limits: { connections: 2, requestMs: 2_000 } });
    const held = [raw(server.port, "GET"), raw(server.port, "GET")];
    while (server.connections < 2) await delay(1);
    expect(await raw(server.port, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")).toBe("");
    expect(server.connections).toBe(2);
    for (const one of open) if (!("port" in one)) (one as Socket).destroy();
    await Promise.all(held);
  });
});

test("P5: thousands of requests at once on one connection cost no more than a few of them", async () => {
  let rendered = 0;
  const metrics = (): string => {
    rendered += 1;
    return "x".repeat(10_000);
  };
  const { server } = await start({ metrics });
  await raw(server.port, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20_000));
  expect(rendered).toBeLessThanOrEqual(8);
});

test("a few requests at once are answered in order", async () => {
  const { server } = await start();
  const paths = ["/livez", "/nothing", "/metrics"];
  const requests = [1, 2].map(() => paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`).join(""));
  const last = "GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  const text = await raw(server.port, requests.join("") + last);
  expect(text.match(/HTTP\/1.1 (\d+)/g)?.map((line) => line.slice(9))).toEqual([
    ..."200 404 200 200 404 200 200".split(" "),
  ]);
});

test("a taken port is named with its remedy", async () => {
  const { server } = await start();
  await expect(start({ port: server.port })).rejects.toThrow(
    `HTTP cannot listen on 127.0.0.1:${server.port}: the port is taken; choose another with --http`,
  );
});

test("closing does not wait for idle or silent connections", async () => {
  const { server, url } = await start();
  await fetch(`${url}/livez`);
  const silent = raw(server.port, "GET");
  while (server.connections < 1) await delay(1);
  await server[Symbol.asyncDispose]();
  expect(await silent).toBe("");
});
