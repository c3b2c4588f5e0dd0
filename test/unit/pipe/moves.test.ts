/** Moves of partitions that nodes hear of at different times. */

import { expect, test } from "vitest";
import { fitting, pipeline } from "../../../pipe/fitting.ts";
import type { PipeNode } from "../../../pipe/node.ts";
import { constant } from "../../../pipe/partition.ts";
import { PipeWorld } from "../../property/pipe-world.ts";

function route(node: PipeNode, epoch: number, owner: string): void {
  const owners = Array.from({ length: 8 }, (_, at) => (at === 0 ? owner : at % 2 === 0 ? "a" : "b"));
  node.route({ epoch, ringSize: 8, owners, alive: new Set(["a", "b"]) });
}

test("an input whose sender knows a newer ring stays where it arrived, and in order", () => {
  const begun: number[] = [];
  const line = pipeline("line", [
    fitting<number, number>({
      name: "one",
      partition: constant(0),
      process: (n) => {
        begun.push(n);
        return world.later(n, 10);
      },
    }),
  ]);
  const world: PipeWorld = new PipeWorld(line, { nodes: ["a", "b"] });
  const [a, b] = [world.node("a"), world.node("b")];
  const home = world.open();
  route(a, 3, "b");
  home.send([1, 2, 3], () => {});
  world.runFor(5);
  expect(begun).toEqual([1]);
  route(b, 2, "a"); // In this ring the partition is not b's; in the one that a knows it is.
  world.runFor(6.5); // The first call ends at 11 ms; what b would send back then is on its way when the fourth comes.
  home.send([4], () => home.end());
  world.runFor(10);
  route(b, 3, "b");
  const read = (): void => {
    home.run.sink?.take();
    home.run.sink?.acknowledge();
    world.agenda.after(1, read);
  };
  read();
  world.runFor(200);
  expect(begun).toEqual([1, 2, 3, 4]);
  expect(world.report).toMatchObject({ state: "done", accepted: 4, acknowledged: 4, resent: 0 });
  expect(a.usage.now([home.run]).every(({ queued }) => queued === 0)).toBe(true);
});
