/** Runs of some leave room for those of others. */

import { expect, test } from "vitest";
import { fitting, pipeline } from "../../../pipe/fitting.ts";
import type { Home } from "../../../pipe/home.ts";
import type { PipeNode } from "../../../pipe/node.ts";
import { constant } from "../../../pipe/partition.ts";
import { PipeWorld } from "../../property/pipe-world.ts";

const line = pipeline("line", [fitting<unknown, unknown>({ name: "one", partition: constant(1), process: () => {} })]);

test("P4: an app that has as many runs as it may leaves room for those of other apps", () => {
  const node = new PipeWorld(line).node("a");
  const most = fill(node, { app: "many" });
  expect(most).toBeGreaterThan(700);
  expect(fill(node, { app: "few" })).toBeGreaterThan(100);
  expect(fill(node, { app: "fewer" })).toBeGreaterThan(20);
  expect(() => open(node, "over", { app: "many" })).toThrow(expect.objectContaining({ code: "QUEUE_FULL" }));
});

test("P4: runs of one pipeline from elsewhere leave room for others", () => {
  const world = new PipeWorld(line, { nodes: ["a", "b"] });
  const a = world.node("a");
  for (let app = 0; app < 20; app++) {
    for (let run = 0; run < 45; run++) open(a, `${app}-${run}`, { app: `app-${app}` }).send([1], () => undefined);
    world.runFor(10);
  }
  const b = world.node("b");
  expect(b.runs.size).toBeGreaterThan(700);
  expect(fill(b, { app: "other" })).toBeGreaterThan(100);
});

/** How many there was room for. */
function fill(node: PipeNode, of: { readonly app: string }): number {
  for (let run = 0; ; run++) {
    try {
      open(node, `${of.app}-${run}`, of);
    } catch {
      return run;
    }
  }
}

function open(node: PipeNode, id: string, of: { readonly app: string }): Home {
  return node.open({ id, pipeline: line, ...of }, { finished: () => undefined });
}
