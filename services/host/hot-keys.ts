/**
 * Which keys have the most to do, counted while somebody asks: between two questions it costs nothing.
 *
 * A key's tasks run one at a time, so one key can keep a core's worth of work or its app's latency to itself, and no counter of apps
 * or nodes shows it.
 */

import { RingError } from "../../ring/errors.ts";
import type { RingNode } from "../../ring/node/port.ts";
import type { AskHotKeys } from "../api/apps-service.ts";
import { FrequentItems } from "../metrics/frequent.ts";

interface Place {
  readonly app: string;
  readonly key: string;
}

/** Throws `RATE_LIMITED` while too many others ask. */
export function hotKeysOf(node: Pick<RingNode, "name" | "onTaskEvents">): AskHotKeys {
  let asking = 0;
  return async ({ app, forMs, limit }, onGone) => {
    if (asking >= ASKING_MOST)
      throw new RingError("RATE_LIMITED", `${ASKING_MOST} others have keys counted on ${node.name} now`, {
        retryAfterMs: forMs,
      });
    asking++;
    const found = new FrequentItems<Place>(WIDTH);
    const stop = node.onTaskEvents((events) => {
      for (const event of events) {
        if (event.type !== "ended" || event.outcome === "cancelled") continue; // many are, without having run
        if (app !== undefined && event.app !== app) continue;
        const { key } = event;
        found.add(`${event.app}\0${key}`, event.runMs, () => ({ app: event.app, key }));
      }
    });
    try {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, forMs);
        onGone(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    } finally {
      stop();
      asking--;
    }
    return {
      node: node.name,
      forMs,
      attempts: found.seen,
      keys: found.top(limit).map(({ item, count, weight }) => ({ ...item, attempts: count, busyMs: weight })),
    };
  };
}

const ASKING_MOST = 4;
/** Some megabytes for each that asks, at most. */
const WIDTH = 10_000;
