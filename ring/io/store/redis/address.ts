/**
 * Where a Redis store is, as people write it:
 *
 *   redis://[USER:PASSWORD@]HOST[:6379][/DB][?prefix=taskring]        rediss:// with TLS
 *   redis+sentinel://HOST:26379,HOST:26379/MASTER[/DB]                rediss+sentinel:// with TLS to the servers
 *   redis+cluster://HOST:6379,HOST:6379                               rediss+cluster:// with TLS
 *
 * `prefix` keeps rings apart that share a server.
 */

import { RingError } from "../../../errors.ts";

export interface RedisAddress {
  readonly kind: "single" | "sentinel" | "cluster";
  readonly tls: boolean;
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  /** The name that the sentinels know the master by. */
  readonly master?: string;
  readonly username?: string;
  readonly password?: string;
  readonly database: number;
  readonly prefix: string;
}

export function isRedisAddress(text: string): boolean {
  return /^rediss?(\+sentinel|\+cluster)?:\/\//.test(text);
}

/** Throws `INVALID_ARGUMENT`. */
export function parseRedisAddress(text: string): RedisAddress {
  const match = PATTERN.exec(text);
  if (match === null) throw invalid(text, "expected redis://HOST[:PORT][/DB]");
  const [, tls, mode, user, secret, hosts = "", path = "", query = ""] = match;
  const kind = mode === "+sentinel" ? "sentinel" : mode === "+cluster" ? "cluster" : "single";
  const fallback = kind === "sentinel" ? 26_379 : 6_379;
  const parsed = hosts.split(",").map((host) => hostOf(text, host, fallback));
  if (parsed.length > HOST_LIMIT || (kind === "single" && parsed.length > 1)) throw invalid(text, "too many hosts");
  const parts = path.split("/").filter((part) => part !== "");
  const master = kind === "sentinel" ? parts.shift() : undefined;
  if (kind === "sentinel" && master === undefined) throw invalid(text, "name the master behind the hosts");
  const database = Number(parts.shift() ?? 0);
  if (!Number.isInteger(database) || database < 0 || database > 1_024 || parts.length > 0)
    throw invalid(text, "the path is the number of a database");
  if (kind === "cluster" && database !== 0) throw invalid(text, "a cluster has database 0 only");
  const settings = new URLSearchParams(query);
  for (const name of settings.keys()) if (name !== "prefix") throw invalid(text, `unknown setting ${name}`);
  const prefix = settings.get("prefix") ?? "taskring";
  if (!/^[\w.-]{1,63}$/.test(prefix)) throw invalid(text, "a prefix has 1 to 63 of A-Z a-z 0-9 . _ -");
  return {
    kind,
    tls: tls === "s",
    hosts: parsed,
    database,
    prefix,
    ...(master === undefined ? {} : { master: decodeURIComponent(master) }),
    ...(user === undefined || user === "" ? {} : { username: decodeURIComponent(user) }),
    ...(secret === undefined || secret === "" ? {} : { password: decodeURIComponent(secret) }),
  };
}

/** Without its password: for logs and errors. */
export function showRedisAddress(address: RedisAddress): string {
  const mode = address.kind === "single" ? "" : `+${address.kind}`;
  const hosts = address.hosts.map(({ host, port }) => `${host.includes(":") ? `[${host}]` : host}:${port}`).join(",");
  const path = [address.master, address.database === 0 ? undefined : String(address.database)].filter(Boolean);
  return `redis${address.tls ? "s" : ""}${mode}://${hosts}${path.map((part) => `/${part}`).join("")}`;
}

function hostOf(text: string, host: string, fallback: number): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/.exec(host);
  const name = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? fallback : Number(match[3]);
  if (name === undefined || port < 1 || port > 65_535) throw invalid(text, "expected HOST:PORT");
  return { host: name, port };
}

function invalid(text: string, why: string): RingError {
  const shown = text.replace(/\/\/[^@/]*@/, "//…@").slice(0, 120);
  return new RingError("INVALID_ARGUMENT", `store ${JSON.stringify(shown)}: ${why}`);
}

const PATTERN = /^redis(s?)(\+sentinel|\+cluster)?:\/\/(?:([^:@/?]*)(?::([^@/?]*))?@)?([^/?]+)(\/[^?]*)?(?:\?(.*))?$/;
const HOST_LIMIT = 64;
