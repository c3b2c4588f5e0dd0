/** Nodes that come back as other processes while a run goes on, before the ring has noticed. */

import { expect, test } from "vitest";
import { type Fitting, fitting, pipeline } from "../../../pipe/fitting.ts";
import { constant } from "../../../pipe/partition.ts";
import { PipeWorld } from "../../property/pipe-world.ts";

test("P6: what was sent by a process that is gone is not acknowledged to the one after it", () => {
  const [first, second]: Fitting<unknown, unknown>[] = [
    fitting({ name: "first", partition: constant(1), process: (input: unknown) => [input] }),
    fitting({
      name: "second",
      partition: constant(2),
      process: (input: unknown) => {
        if (input === "bad") throw new Error("no");
        return input === "slow" ? world.later(["slow"], 1_000) : [input];
      },
    }),
  ];
  const world: PipeWorld = new PipeWorld(pipeline("line", [first!, second!]), { nodes: ["a", "b", "c"] });
  const routes = {
    epoch: 1,
    ringSize: 8,
    owners: Array.from({ length: 8 }, (_, at) => ["a", "b", "c"][at % 3]),
    alive: new Set(["a", "b", "c"]),
  };
  const home = world.open();
  const send = (input: string): void => {
    home.send([input], () => undefined);
    world.runFor(50);
    home.run.sink?.take();
    home.run.sink?.acknowledge();
    world.runFor(50);
  };
  send("quick");
  send("slow");
  world.restart("b", routes);
  for (const name of ["a", "c"]) world.node(name).linkUp("b" as never);
  world.runFor(50);
  send("bad");
  home.end();
  for (let turn = 0; turn < 100 && world.report === undefined; turn++) {
    world.runFor(100);
    home.run.sink?.take();
    home.run.sink?.acknowledge();
  }
  expect(world.report).toMatchObject({ state: "done", accepted: 3, failed: 1, failures: [{ input: '"bad"' }] });
});

test("P5: a node that asks for days after a run whose coordinator does not answer keeps no more for it than at first", () => {
  const line = pipeline("line", [
    fitting<unknown, unknown>({ name: "one", partition: constant(1), process: (input) => [input] }),
  ]);
  const world = new PipeWorld(line, { nodes: ["a", "b"] });
  world.open().send([1], () => undefined);
  world.runFor(100);
  world.kill("a");
  const b = world.node("b");
  const kept = (): number => b.channel(b.peerOf("a")).keptBytes;
  world.runFor(60_000);
  const first = kept();
  expect(first).toBeGreaterThan(0);
  world.runFor(600_000);
  expect(kept()).toBe(first);
});

test("P5: events for a listener whose node does not take them are dropped, and not kept", () => {
  const line = pipeline("line", [
    fitting<unknown, unknown>({
      name: "one",
      partition: constant(1),
      process: (_, context) => {
        for (let event = 0; event < 20_000; event++) context.trace(`${event} ${"x".repeat(990)}`);
      },
    }),
  ]);
  const world = new PipeWorld(line, { nodes: ["a", "b"] });
  const { run } = world.open();
  const heard: string[] = [];
  run.trace.listen(({ text }) => heard.push(text));
  world.runFor(10);
  run.home?.send([1], () => undefined);
  world.runFor(1);
  world.kill("a");
  world.runFor(100);
  const b = world.node("b");
  expect(b.runs.get("run")?.status()).toMatchObject([{ processed: 1 }]);
  expect(b.channel(b.peerOf("a")).keptBytes).toBeLessThan(8 * 1024 * 1024);
});
