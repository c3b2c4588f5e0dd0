/** Whether tests have a redis-server: where it is missing they skip with one line, and in CI they fail. */

import { hasRedis } from "../services/lab/redis.ts";

let known: boolean | undefined;

export function redisThere(): boolean {
  if (known !== undefined) return known;
  known = hasRedis();
  if (known) return true;
  if (process.env.CI === "true") throw new Error("redis-server is missing: apt-get install redis-server");
  console.warn("skipped: tests on Redis, for want of redis-server");
  return false;
}
