/** A planned stop whose handlers take their time: what peers are told meanwhile. */

import { expect, test } from "vitest";
import type { NodeEffect } from "../../ring/node/effects.ts";
import type { NodeMessage } from "../../ring/node/messages.ts";
import { Stopping } from "../../ring/node/stopping.ts";

test("P8: however long its handlers may take, a node that stops and dies is waited for no longer than one that restarts", () => {
  const told: { readonly at: number; readonly until: number }[] = [];
  const done: string[] = [];
  let running = 1;
  const here = {
    now: 1_000,
    emit: ({ type }: NodeEffect) => void done.push(type),
  };
  const stopping = new Stopping(here as never, {
    holdAll: () => {},
    running: () => running,
    abortAll: () => void done.push("abort"),
    whenSynced: (run) => run(),
    toAll: (message: NodeMessage) => {
      if (message.type === "restarting") told.push({ at: here.now, until: here.now + message.graceMs });
    },
  });
  stopping.begin(3_600_000);
  const end = here.now + 600_000;
  while (here.now < end) {
    here.now = Math.min(end, stopping.nextDeadline()!);
    stopping.progress();
  }
  for (const { at, until } of told) expect(until - at).toBeLessThanOrEqual(45_000);
  for (const [index, { at }] of told.slice(1).entries())
    expect(at, "told again well before that is over").toBeLessThan(told[index]!.until - 20_000);
  expect(told.at(-1)!.at).toBeGreaterThan(end - 15_000);
  expect(done).toEqual([]);
  running = 0;
  stopping.progress();
  expect(done).toEqual(["mark-stopping"]);
  expect(stopping.nextDeadline()).toBeUndefined();
});
