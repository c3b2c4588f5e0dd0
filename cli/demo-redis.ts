/**
 * The Redis of `ringctl demo --store …`: one of the demo's own that is killed once (`--store redis`), or the one at an
 * address, of which only the demo's own prefix is used and nothing is left.
 */

import { randomBytes } from "node:crypto";
import { parseRedisAddress } from "../ring/io/store/redis/address.ts";
import { RedisLink } from "../ring/io/store/redis/link.ts";
import { RedisServer } from "../services/lab/redis.ts";

export interface DemoRedis extends AsyncDisposable {
  /** For the nodes' `--store`. */
  readonly url: string;
  /** SIGKILL and a new start, where the server is the demo's own. Resolves with how long it was away. */
  readonly killOnce?: () => Promise<number>;
}

export async function openDemoRedis(store: string): Promise<DemoRedis> {
  if (store === "redis") {
    const server = await RedisServer.open({ sync: "always" });
    return {
      url: server.url,
      killOnce: async () => {
        const begun = performance.now();
        await server.kill();
        await new Promise((resolve) => setTimeout(resolve, AWAY_MS));
        await server.start();
        return performance.now() - begun;
      },
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  }
  const prefix = `demo-${randomBytes(4).toString("hex")}`;
  const url = `${store.replace(/\?.*$/, "")}?prefix=${prefix}`;
  const address = parseRedisAddress(url);
  return {
    url,
    async [Symbol.asyncDispose]() {
      const link = new RedisLink(address, "taskring-demo");
      try {
        let cursor = "0";
        do {
          const [next, keys] = (await link.call("scan", [cursor, "MATCH", `${prefix}:*`, "COUNT", 1_000])) as [
            Buffer,
            Buffer[],
          ];
          cursor = String(next);
          for (const key of keys) await link.call("unlink", [key]);
        } while (cursor !== "0");
      } finally {
        link.close();
      }
    },
  };
}

/** How long the killed server stays away. */
const AWAY_MS = 1_000;
