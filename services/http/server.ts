/**
 * The node's HTTP port: metrics, probes, the JSON API for people and scripts, and a plain start page. It only reads.
 *
 * T1  GET and HEAD only; every request is answered within `requestMs`, and a slow or silent peer is cut off.
 * T2  Garbage on the socket gets a 400 and a closed connection; connections beyond the limit are closed at once.
 * T3  A connection that asks on without waiting for answers is cut off: it would keep the node from all others.
 * T4  Readiness is what the host says it is, by progress; this file only writes it down.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { ERRORS, type ErrorCode, RingError } from "../../ring/errors.ts";
import type { Log } from "../runner/log.ts";
import { SILENT } from "../runner/log.ts";
import { startPage } from "./start-page.ts";

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail?: string;
}

export interface Health {
  readonly ready: boolean;
  readonly checks: readonly Check[];
}

/**
 * Answers `/api/v1/<path>`: a JSON-able value, or undefined for "no such thing". May throw `RingError`. The signal aborts
 * when nobody waits for the answer any more.
 */
export type ApiHook = (path: string, query: URLSearchParams, signal: AbortSignal) => unknown;

export interface HttpOptions {
  /** Port 0: the system chooses. */
  readonly host: string;
  readonly port: number;
  /** Prometheus text. */
  readonly metrics: () => string;
  readonly readiness: () => Health | Promise<Health>;
  /** Default: always alive, since an answer is proof enough. */
  readonly liveness?: () => Health;
  /** Default: as readiness, but once passed for ever. */
  readonly startup?: () => Health | Promise<Health>;
  readonly api?: ApiHook;
  /** Shown on the start page. */
  readonly title?: string;
  readonly log?: Log;
  readonly limits?: Partial<HttpLimits>;
}

export interface HttpLimits {
  /** Default 256. */
  readonly connections: number;
  /** From the first byte of a request to the end of its headers, and from there to the answer. Default 5,000. */
  readonly requestMs: number;
  /** Default 8 KiB. */
  readonly headerBytes: number;
}

export interface HttpServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** Connections open now. */
  readonly connections: number;
}

/** Throws `INVALID_ARGUMENT` that names the address and the remedy when it cannot be bound. */
export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  const limits: HttpLimits = { ...DEFAULT_LIMITS, ...options.limits };
  const server = createServer(
    {
      headersTimeout: limits.requestMs,
      requestTimeout: limits.requestMs,
      keepAliveTimeout: limits.requestMs,
      connectionsCheckingInterval: Math.max(50, Math.round(limits.requestMs / 4)),
      maxHeaderSize: limits.headerBytes,
    },
    new Responder(options, limits).respond,
  );
  server.maxConnections = limits.connections;
  server.maxRequestsPerSocket = REQUESTS_PER_CONNECTION;
  // A peer that does not take its answer counts as gone; an answer itself may take `requestMs`, hence twice.
  server.timeout = limits.requestMs * 2;
  server.on("clientError", refuseGarbage);
  await listen(server, options);
  const address = server.address() as AddressInfo;
  let connections = 0;
  server.on("connection", (socket: Socket) => {
    connections++;
    socket.on("close", () => connections--);
  });
  return {
    host: address.address,
    port: address.port,
    get connections() {
      return connections;
    },
    async [Symbol.asyncDispose](): Promise<void> {
      const closed = new Promise<void>((done) => server.close(() => done()));
      server.closeAllConnections();
      await closed;
    },
  };
}

class Responder {
  readonly #options: HttpOptions;
  readonly #limits: HttpLimits;
  readonly #log: Log;
  #started = false;
  /** Requests of each connection that have no answer yet. */
  readonly #open = new WeakMap<Socket, number>();

  constructor(options: HttpOptions, limits: HttpLimits) {
    this.#options = options;
    this.#limits = limits;
    this.#log = options.log ?? SILENT;
  }

  readonly respond = (request: IncomingMessage, response: ServerResponse): void => {
    const { socket } = request;
    if (socket.destroyed) return;
    const open = (this.#open.get(socket) ?? 0) + 1;
    if (open > OPEN_REQUESTS_MOST) {
      socket.destroy(); // T3
      return;
    }
    this.#open.set(socket, open);
    response.once("close", () => this.#open.set(socket, (this.#open.get(socket) ?? 1) - 1));
    this.#route(request, response).catch((error: unknown) => {
      if (!(error instanceof RingError))
        this.#log.error({ error: String(error), url: request.url?.slice(0, 200) }, "an HTTP request failed");
      sendError(request, response, error);
    });
  };

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("Allow", "GET, HEAD");
      return send(request, response, { status: 405, type: TEXT, body: "only GET and HEAD are answered here\n" });
    }
    const url = urlOf(request);
    if (url === undefined)
      return send(request, response, { status: 400, type: TEXT, body: "the request target is no path\n" });
    switch (url.pathname) {
      case "/":
        return send(request, response, { status: 200, type: HTML, body: startPage(this.#options.title ?? "taskring") });
      case "/metrics":
        return send(request, response, { status: 200, type: PROMETHEUS, body: this.#options.metrics() });
      case "/livez":
        return this.#probe("livez", this.#options.liveness?.() ?? ALIVE, { request, response, url });
      case "/readyz":
        return this.#probe("readyz", await this.#options.readiness(), { request, response, url });
      case "/startupz":
        return this.#probe("startupz", await this.#startup(), { request, response, url });
      default:
        if (url.pathname.startsWith(API)) return this.#api(url, request, response);
        return send(request, response, { status: 404, type: TEXT, body: "no such page; / lists what there is\n" });
    }
  }

  async #startup(): Promise<Health> {
    if (this.#options.startup !== undefined) return this.#options.startup();
    if (this.#started) return ALIVE;
    const health = await this.#options.readiness();
    this.#started = health.ready;
    return health;
  }

  #probe(name: string, health: Health, exchange: Exchange): void {
    const { request, response, url } = exchange;
    const verbose = url.searchParams.has("verbose") || !health.ready;
    const lines = verbose ? health.checks.map(checkLine) : [];
    const verdict = !verbose ? "ok" : `${name} check ${health.ready ? "passed" : "failed"}`;
    send(request, response, { status: health.ready ? 200 : 503, type: TEXT, body: [...lines, verdict, ""].join("\n") });
  }

  async #api(url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { api } = this.#options;
    if (api === undefined) throw new RingError("UNIMPLEMENTED", "this node has no API over HTTP");
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    const deadline = deadlineAfter(this.#limits.requestMs, gone);
    try {
      const answer = await Promise.race([
        Promise.resolve(api(url.pathname.slice(API.length), url.searchParams, gone.signal)),
        deadline.passed,
      ]);
      if (answer === undefined) throw new RingError("NOT_FOUND", `there is no ${url.pathname}`);
      sendJson(request, response, { status: 200, value: answer });
    } finally {
      deadline.clear();
    }
  }
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
}

function checkLine({ name, ok, detail }: Check): string {
  return `${ok ? "[+]" : "[-]"}${name} ${ok ? "ok" : "failed"}${detail === undefined ? "" : `: ${detail}`}`;
}

function urlOf(request: IncomingMessage): URL | undefined {
  const target = request.url ?? "";
  if (!target.startsWith("/") || target.startsWith("//")) return undefined;
  try {
    return new URL(target, "http://node.invalid");
  } catch {
    return undefined;
  }
}

function sendError(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  const known =
    error instanceof RingError ? error : new RingError("INTERNAL", "the request failed; see the node's log");
  const { status, hint, retryable } = ERRORS[known.code];
  if (known.retryAfterMs !== undefined && !response.headersSent) {
    response.setHeader("Retry-After", String(Math.ceil(known.retryAfterMs / 1_000)));
  }
  const value = { error: { code: known.code satisfies ErrorCode, message: known.message, hint, retryable } };
  sendJson(request, response, { status: HTTP_STATUS[status], value });
}

function sendJson(
  request: IncomingMessage,
  response: ServerResponse,
  answer: { status: number; value: unknown },
): void {
  send(request, response, {
    status: answer.status,
    type: JSON_TYPE,
    body: `${JSON.stringify(answer.value, jsonSafe)}\n`,
  });
}

/** Fences are bigints, ids and payloads may be bytes; maps are objects to a reader of JSON. */
function jsonSafe(_name: string, value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Map) return Object.fromEntries(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  return value;
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  answer: { status: number; type: string; body: string },
): void {
  if (response.headersSent || response.destroyed) return;
  const body = Buffer.from(answer.body);
  response.writeHead(answer.status, {
    "Content-Type": answer.type,
    "Content-Length": body.length,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    // A body that nobody reads would be taken for the next request's head.
    ...(hasBody(request) ? { Connection: "close" } : {}),
  });
  response.end(request.method === "HEAD" ? undefined : body);
}

function hasBody(request: IncomingMessage): boolean {
  return request.headers["transfer-encoding"] !== undefined || Number(request.headers["content-length"] ?? 0) !== 0;
}

function refuseGarbage(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable || socket.bytesWritten > 0) {
    socket.destroy();
    return;
  }
  const status = GARBAGE_STATUS[error.code ?? ""] ?? "400 Bad Request";
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
}

function deadlineAfter(
  requestMs: number,
  gone: AbortController,
): { readonly passed: Promise<never>; readonly clear: () => void } {
  let timer: NodeJS.Timeout | undefined;
  const passed = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      gone.abort();
      reject(new RingError("DEADLINE", `no answer within ${requestMs} ms`));
    }, requestMs);
  });
  return { passed, clear: () => clearTimeout(timer) };
}

function listen(server: Server, { host, port }: HttpOptions): Promise<void> {
  return new Promise((done, reject) => {
    const refused = (error: NodeJS.ErrnoException): void => {
      const why =
        error.code === "EADDRINUSE"
          ? "the port is taken; choose another with --http, or stop what holds it"
          : error.message;
      reject(new RingError("INVALID_ARGUMENT", `HTTP cannot listen on ${host}:${port}: ${why}`, { cause: error }));
    };
    server.once("error", refused);
    server.listen({ host, port, backlog: 128 }, () => {
      server.off("error", refused);
      done();
    });
  });
}

const HTTP_STATUS = {
  INVALID_ARGUMENT: 400,
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  ABORTED: 409,
  FAILED_PRECONDITION: 409,
  RESOURCE_EXHAUSTED: 429,
  CANCELLED: 499,
  INTERNAL: 500,
  UNIMPLEMENTED: 501,
  UNAVAILABLE: 503,
  DEADLINE_EXCEEDED: 504,
} as const satisfies Record<(typeof ERRORS)[ErrorCode]["status"] | "ALREADY_EXISTS", number>;
const GARBAGE_STATUS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: "431 Request Header Fields Too Large",
  ERR_HTTP_REQUEST_TIMEOUT: "408 Request Timeout",
};
const ALIVE: Health = { ready: true, checks: [{ name: "process", ok: true }] };
const API = "/api/v1/";
const TEXT = "text/plain; charset=utf-8";
const HTML = "text/html; charset=utf-8";
const JSON_TYPE = "application/json; charset=utf-8";
const PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_REQUESTS_MOST = 8;
const REQUESTS_PER_CONNECTION = 10_000;
const DEFAULT_LIMITS: HttpLimits = { connections: 256, requestMs: 5_000, headerBytes: 8 * 1024 };
