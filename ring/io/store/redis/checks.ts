/**
 * What a Redis is set to, and whether tasks can be trusted to it (reliability rule 10).
 */

import { RingError } from "../../../errors.ts";
import type { RedisLink } from "./link.ts";

export interface RedisSettings {
  readonly version: string;
  readonly policy: string;
  readonly aof: boolean;
  /** `always`, `everysec`, `no`, or `unknown` where CONFIG is not allowed. */
  readonly sync: string;
  readonly replicas: number;
  /** Undefined where CONFIG is not allowed. */
  readonly leastReplicas: number | undefined;
}

export async function readSettings(link: RedisLink): Promise<RedisSettings> {
  const info = parseInfo(await link.call("info", []));
  const config = async (name: string): Promise<string | undefined> => {
    try {
      const reply = (await link.call("config", ["get", name])) as readonly Buffer[];
      return reply[1]?.toString();
    } catch {
      return undefined; // Hosted servers forbid it.
    }
  };
  const least = await config("min-replicas-to-write");
  return {
    version: info.get("valkey_version") ?? info.get("redis_version") ?? "unknown",
    policy: info.get("maxmemory_policy") ?? "unknown",
    aof: info.get("aof_enabled") === "1",
    sync: (await config("appendfsync")) ?? "unknown",
    replicas: Number(info.get("connected_slaves") ?? 0),
    leastReplicas: least === undefined ? undefined : Number(least),
  };
}

/** Throws `INVALID_ARGUMENT` for a Redis that throws keys away; returns what is to be warned of. */
export function checkSettings(settings: RedisSettings): readonly string[] {
  if (settings.policy !== SAFE_POLICY)
    throw new RingError(
      "INVALID_ARGUMENT",
      `Redis has maxmemory-policy ${settings.policy}, which throws tasks away when memory is short: CONFIG SET maxmemory-policy noeviction`,
    );
  const warnings: string[] = [];
  if (!settings.aof)
    warnings.push("Redis keeps no append-only file: a restart of it loses what came after its last snapshot");
  else if (settings.sync === "no")
    warnings.push("Redis has appendfsync no: a power cut loses what the system had not written yet");
  if (settings.replicas > 0 && settings.leastReplicas === 0)
    warnings.push("Redis has replicas but min-replicas-to-write 0: a failover loses what was not copied yet");
  return warnings;
}

export interface Memory {
  readonly usedBytes: number;
  /** 0: no limit. */
  readonly limitBytes: number;
  /** It may throw rows away. */
  readonly evicts: boolean;
}

export async function readMemory(link: RedisLink): Promise<Memory> {
  const info = parseInfo(await link.call("info", ["memory"]));
  return {
    usedBytes: Number(info.get("used_memory") ?? 0),
    limitBytes: Number(info.get("maxmemory") ?? 0),
    evicts: (info.get("maxmemory_policy") ?? SAFE_POLICY) !== SAFE_POLICY,
  };
}

export interface Rewriting {
  readonly logBytes: number;
  readonly logShortened: boolean;
}

/** Of the append-only file; where CONFIG is not allowed it counts as rewritten. */
export async function readRewriting(link: RedisLink): Promise<Rewriting> {
  const info = parseInfo(await link.call("info", ["persistence"]));
  const logBytes = Number(info.get("aof_current_size") ?? 0);
  try {
    const reply = (await link.call("config", ["get", "auto-aof-rewrite-percentage"])) as readonly Buffer[];
    return { logBytes, logShortened: String(reply[1]) !== "0" };
  } catch {
    return { logBytes, logShortened: true };
  }
}

function parseInfo(reply: unknown): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const line of String(reply).split("\r\n")) {
    const at = line.indexOf(":");
    if (at > 0) found.set(line.slice(0, at), line.slice(at + 1));
  }
  return found;
}

const SAFE_POLICY = "noeviction";
