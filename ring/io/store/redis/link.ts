/**
 * One connection to Redis, to a sentinel's master or to a cluster, kept up: calls with a deadline, built anew when it is
 * silent.
 *
 * L1  Every call ends within its deadline, whatever the server or the network does. A call that ran into it takes the
 *     connection down, as what stands behind it would wait as well.
 * L2  Nothing is sent again from here: whether a call may be repeated is for its caller to know.
 * L3  Nothing is sent on a connection that could not choose its database: it would go to database 0.
 */

import { createHash } from "node:crypto";
import { Cluster, Redis } from "ioredis";
import { RingError } from "../../../errors.ts";
import type { RedisAddress } from "./address.ts";

export type RedisArgument = string | Buffer | number;

/** What a failed call means for its caller. */
export type Trouble =
  /** No answer, or not now: the same call may succeed later. It may have been carried out. */
  | "again"
  /** The memory is full: nothing was done. */
  | "full"
  /** It will not succeed, however often it is tried. */
  | "refused";

export class RedisTrouble extends Error {
  readonly kind: Trouble;

  constructor(kind: Trouble, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "RedisTrouble";
    this.kind = kind;
  }
}

export interface Script {
  readonly text: string;
  readonly sha: string;
}

export function scriptOf(text: string): Script {
  return { text, sha: createHash("sha1").update(text).digest("hex") };
}

interface Call {
  readonly timer: NodeJS.Timeout;
  readonly fail: (error: RedisTrouble) => void;
}

export class RedisLink {
  readonly #address: RedisAddress;
  readonly #name: string;
  readonly #calls = new Set<Call>();
  readonly #waiting = new Set<() => void>();
  #client: Redis | Cluster;
  #closed = false;
  #lastError = "not connected yet";
  /** L3: the server has no such database. */
  #refusal: RedisTrouble | undefined;
  /** When the answer to the newest call that was answered came. */
  answeredAt: number = performance.now();

  constructor(address: RedisAddress, name: string) {
    this.#address = address;
    this.#name = name;
    this.#client = this.#connect();
  }

  get lastError(): string {
    return this.#lastError;
  }

  get up(): boolean {
    return this.#client.status === "ready";
  }

  /** Rejects with `RedisTrouble`. */
  async call(command: string, args: readonly RedisArgument[], deadlineMs: number = CALL_MS): Promise<unknown> {
    const until = performance.now() + deadlineMs;
    if (!this.up) await this.#ready(deadlineMs);
    return this.#send(command, args, Math.max(1, until - performance.now()));
  }

  async script(
    script: Script,
    keys: readonly RedisArgument[],
    args: readonly RedisArgument[],
    deadlineMs: number = CALL_MS,
  ): Promise<unknown> {
    try {
      return await this.call("evalsha", [script.sha, keys.length, ...keys, ...args], deadlineMs);
    } catch (error) {
      // Its cache was flushed, or it is another server than a moment ago.
      if (!(error instanceof RedisTrouble) || !error.message.startsWith("NOSCRIPT")) throw error;
      return this.call("eval", [script.text, keys.length, ...keys, ...args], deadlineMs);
    }
  }

  /** Gives the connection up and builds another one. */
  rebuild(why: string): void {
    if (this.#closed) return;
    this.#lastError = why;
    const old = this.#client;
    this.#client = this.#connect();
    drop(old);
    this.#failAll(why);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    drop(this.#client);
    this.#failAll("the store is closed");
  }

  #send(command: string, args: readonly RedisArgument[], deadlineMs: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const client = this.#client;
      const call: Call = {
        fail: (error) => {
          clearTimeout(call.timer);
          if (this.#calls.delete(call)) reject(error);
        },
        timer: setTimeout(() => {
          call.fail(new RedisTrouble("again", `no answer to ${command} within ${Math.round(deadlineMs)} ms`));
          // L1
          if (client === this.#client) this.rebuild(`no answer within ${Math.round(deadlineMs)} ms`);
        }, deadlineMs),
      };
      this.#calls.add(call);
      client.callBuffer(command, args as (string | Buffer | number)[]).then(
        (reply) => {
          this.answeredAt = performance.now();
          clearTimeout(call.timer);
          if (this.#calls.delete(call)) resolve(reply);
        },
        (error: unknown) => {
          const trouble = troubleOf(error);
          if (isMoved(trouble.message) && client === this.#client) this.rebuild(trouble.message);
          call.fail(trouble);
        },
      );
    });
  }

  async #ready(deadlineMs: number): Promise<void> {
    if (this.#closed) throw new RedisTrouble("refused", "the store is closed");
    await new Promise<void>((resolve, reject) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(done);
        reject(this.#refusal ?? new RedisTrouble("again", `no connection: ${this.#lastError}`));
      }, deadlineMs);
      this.#waiting.add(done);
    });
    if (!this.up) throw new RedisTrouble("again", `no connection: ${this.#lastError}`);
  }

  #connect(): Redis | Cluster {
    const { hosts, kind, tls, username, password, database, master } = this.#address;
    const shared = {
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...(tls ? { tls: {} } : {}),
      connectTimeout: CONNECT_MS,
      disconnectTimeout: DISCONNECT_MS,
      keepAlive: KEEP_ALIVE_MS,
      connectionName: this.#name,
      disableClientInfo: true,
      autoResendUnfulfilledCommands: false,
      autoResubscribe: false,
      enableReadyCheck: false,
      enableOfflineQueue: false,
      maxRetriesPerRequest: null,
      protocol: 2 as const,
    };
    /** Connections in a row without their database: the client takes each of them for a good one. */
    let elsewhere = 0;
    const retryStrategy = (times: number): number =>
      Math.min(RETRY_MOST_MS, RETRY_MS * 2 ** Math.min(times + elsewhere, 8));
    let client: Redis | Cluster;
    if (kind === "cluster") {
      client = new Cluster([...hosts], {
        redisOptions: shared,
        enableOfflineQueue: false,
        clusterRetryStrategy: retryStrategy,
        slotsRefreshTimeout: CONNECT_MS,
        enableReadyCheck: true,
      });
    } else if (kind === "sentinel") {
      client = new Redis({
        ...shared,
        sentinels: [...hosts],
        name: master!,
        role: "master",
        db: database,
        retryStrategy,
        sentinelRetryStrategy: retryStrategy,
        ...(tls ? { enableTLSForSentinelMode: false } : {}),
      });
    } else {
      client = new Redis({ ...shared, host: hosts[0]!.host, port: hosts[0]!.port, db: database, retryStrategy });
    }
    let isElsewhere = false;
    client.on("connect", () => {
      isElsewhere = false;
    });
    client.on("error", (error: Error) => {
      this.#lastError = error.message === "" ? String((error as NodeJS.ErrnoException).code) : advised(error.message);
      if (!isOfSelect(error) || client !== this.#client) return;
      const trouble = troubleOf(error);
      if (trouble.kind === "refused") this.#refusal = trouble;
      isElsewhere = true;
      elsewhere += 1;
      client.disconnect(true); // L3
    });
    client.on("close", () => {
      if (client === this.#client && kind !== "cluster") this.#failAll(`the connection broke: ${this.#lastError}`);
    });
    client.on("ready", () => {
      if (client !== this.#client || isElsewhere) return;
      this.#refusal = undefined;
      elsewhere = 0;
      for (const done of [...this.#waiting]) done();
    });
    return client;
  }

  #failAll(why: string): void {
    for (const call of [...this.#calls]) call.fail(new RedisTrouble("again", why));
  }
}

function drop(client: Redis | Cluster): void {
  client.removeAllListeners();
  client.on("error", () => undefined);
  client.disconnect();
}

/** What an error means for whoever called. */
export function troubleOf(error: unknown): RedisTrouble {
  const message = advised(error instanceof Error ? error.message : String(error));
  // Redis 6 wraps what a script ran into: "ERR Error running script (call to f_…): @user_script:4: -OOM command not …".
  const within = /^-?ERR Error running script .*?: -([A-Z]+) /.exec(message)?.[1];
  const code = within ?? /^-?([A-Z]+)\b/.exec(message)?.[1];
  if (message.includes(CROWDED)) return new RedisTrouble("again", message, error);
  if (code === "OOM") return new RedisTrouble("full", message, error);
  if (code === undefined || AGAIN.has(code)) return new RedisTrouble("again", message, error);
  return new RedisTrouble("refused", message, error);
}

/** Who set a password on a Redis in use has not set it here: nobody else can say what to change. */
function advised(message: string): string {
  return LOCKED.test(message) ? `${message} (give its password in --store: redis://USER:PASSWORD@HOST)` : message;
}

/** The server that answers is no longer the one that writes go to. */
function isMoved(message: string): boolean {
  return /(^|-)READONLY /.test(message) || message.startsWith("UNBLOCKED");
}

/** The client tells of it as of any error, and goes on. */
function isOfSelect(error: Error): boolean {
  return (error as { readonly command?: { readonly name?: string } }).command?.name === "select";
}

/** As `RingError`, for callers of the store. */
export function asRingError(error: unknown): RingError {
  if (error instanceof RingError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof RedisTrouble && error.kind === "again" ? "DEADLINE" : "STORE_BROKEN";
  return new RingError(code, `Redis: ${message}`, { cause: error });
}

/** Of an answer to whoever comes as one too many. */
const CROWDED = "max number of clients reached";
/** To whoever has not logged in, or as somebody whom it does not know; a long call is not even read before that. */
const LOCKED = /\b(NOAUTH|WRONGPASS|unauthenticated)\b/;
/** Answers that pass: while it loads, fails over, runs a long script, or cannot write its own disk. */
const AGAIN: ReadonlySet<string> = new Set([
  "LOADING",
  "BUSY",
  "MASTERDOWN",
  "READONLY",
  "UNBLOCKED",
  "CLUSTERDOWN",
  "TRYAGAIN",
  "MOVED",
  "ASK",
  "MISCONF",
  "NOREPLICAS",
  "NOREPLICASTOWRITE",
  "NOSCRIPT",
]);
const CALL_MS = 2_000;
const CONNECT_MS = 2_000;
const DISCONNECT_MS = 500;
const KEEP_ALIVE_MS = 5_000;
const RETRY_MS = 25;
const RETRY_MOST_MS = 500;
