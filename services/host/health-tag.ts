/**
 * Says in gossip how this node does: `health` is `ok`, or the names of the checks that fail, so that `ringctl members` shows
 * it on every node. Only what the node itself is to blame for counts: its store, its partitions, their progress.
 */

import type { NodeDriver } from "../../ring/io/node.ts";
import type { Health } from "../http/server.ts";

export function tellHealth(node: NodeDriver, readiness: () => Health): { stop(): void } {
  let told = OK;
  let failing = { health: OK, times: 0 };
  const look = (): void => {
    const bad = readiness().checks.filter(({ name, ok }) => !ok && OWN.has(name));
    const health = bad.length === 0 ? OK : bad.map(({ name }) => name).join("+");
    failing = { health, times: health === failing.health ? failing.times + 1 : 1 };
    // A partition that is just being opened is no news.
    if (health === told || (health !== OK && failing.times < STEADY_LOOKS)) return;
    const self = node.member(node.name);
    if (self === undefined) return;
    told = health;
    node.step({ type: "swim", event: { type: "set-tags", tags: new Map([...self.tags, ["health", health]]) } });
  };
  const timer = setInterval(look, LOOK_MS);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}

const OK = "ok";
const OWN: ReadonlySet<string> = new Set(["store", "partitions", "progress"]);
const LOOK_MS = 2_000;
const STEADY_LOOKS = 3;
