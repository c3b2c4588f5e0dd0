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

test("a call that is stuck when its partition moves is given its grace, then its input begins again at the new owner", () => {
  const begun: string[] = [];
  const line = pipeline("line", [
    fitting<number, number>({
      name: "one",
      partition: constant(0),
      process: (n, context) => {
        begun.push(`${n} at ${Math.round(world.agenda.now)}`);
        const stuck = n === 2 && begun.length === 2;
        if (stuck) context.signal.addEventListener("abort", () => begun.push("told to stop"));
        return stuck ? world.later(n, 60_000) : n;
      },
    }),
  ]);
  const world: PipeWorld = new PipeWorld(line, { nodes: ["a", "b"] });
  const home = world.open();
  home.send([1, 2, 3], () => home.end());
  world.runFor(10);
  for (const node of world.nodes.values()) route(node, 2, "b");
  world.runFor(500);
  expect(begun).toEqual(["1 at 0", "2 at 0"]);
  const seen: unknown[] = [];
  const read = (): void => {
    seen.push(...(home.run.sink?.take() ?? []));
    home.run.sink?.acknowledge();
    world.agenda.after(1, read);
  };
  read();
  world.runFor(2_000);
  expect(begun).toEqual(["1 at 0", "2 at 0", "told to stop", "2 at 1011", "3 at 1011"]);
  expect(world.report).toMatchObject({ state: "done", acknowledged: 3, resent: 1, failed: 0 });
  world.runFor(100_000); // What the stuck call says in the end is nobody's business any more.
  expect(seen).toEqual([1, 2, 3]);
});

test("a state moves with its partition, and is merged with what came there before it", () => {
  const sum = fitting<number, number, { total: number }>({
    name: "sum",
    partition: constant(0),
    start: () => ({ total: 0 }),
    process: (n, { state }) => {
      state.total += n;
    },
    done: ({ state }) => state.total,
    archive: (state) => state,
    absorb: (state, archived: { total: number }) => ({ total: state.total + archived.total }),
  });
  const world = new PipeWorld(pipeline("sums", [sum]), { nodes: ["a", "b"] });
  const home = world.open();
  const seen: unknown[] = [];
  home.send([1, 2], () => {});
  world.runFor(5);
  for (const node of world.nodes.values()) route(node, 2, "b");
  home.send([4, 8], () => {});
  world.runFor(5);
  for (const node of world.nodes.values()) route(node, 3, "a");
  home.send([16], () => home.end());
  const read = (): void => {
    seen.push(...(home.run.sink?.take() ?? []));
    home.run.sink?.acknowledge();
    world.agenda.after(1, read);
  };
  read();
  world.runFor(200);
  expect(seen).toEqual([31]);
  expect(world.report).toMatchObject({ state: "done", accepted: 5, acknowledged: 5, resent: 0 });
});

test("P6: a kept state that its node gives back before it has heard of the end is answered for", () => {
  const sum = fitting<number, number, { total: number }>({
    name: "sum",
    partition: constant(0),
    start: () => ({ total: 0 }),
    process: (n, { state }) => {
      state.total += n;
    },
    done: ({ state }) => state.total,
    archive: (state) => state,
    absorb: (state, archived: { total: number }) => ({ total: state.total + archived.total }),
    checkpointEvery: 1,
  });
  const world: PipeWorld = new PipeWorld(pipeline("line", [sum]), { nodes: ["a", "b"] });
  const [a, b] = [world.node("a"), world.node("b")];
  for (const node of [a, b]) route(node, 2, "b");
  const home = world.open();
  home.send([1, 2, 4], () => {});
  world.runFor(50);
  expect(home.acknowledged).toBe(3);
  home.end();
  world.runFor(2.5); // a knows that b is quiet; that all shall end their workers is on its way to b
  route(b, 3, "a");
  world.runFor(0.1);
  const seen: unknown[] = [];
  const read = (): void => {
    seen.push(...(home.run.sink?.take() ?? []));
    home.run.sink?.acknowledge();
    world.agenda.after(1, read);
  };
  read();
  world.runFor(20);
  route(a, 3, "a");
  world.runFor(200);
  expect(seen).toEqual([7]);
  expect(world.report).toMatchObject({ state: "done", acknowledged: 3, failed: 0 });
});
