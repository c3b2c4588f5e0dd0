/** Readable transcripts of runs: what fittings, senders and the sink see, step by step. A change here is a change of behaviour. */

import { expect, test } from "vitest";
import { type Fitting, fitting, pipeline } from "../../pipe/fitting.ts";
import type { Home } from "../../pipe/home.ts";
import { byKey, constant } from "../../pipe/partition.ts";
import { PipeWorld } from "../property/pipe-world.ts";

/** Makes the world with fittings that speak in it. */
function worldOf(
  make: (world: () => PipeWorld) => readonly Fitting<number, number>[],
  nodes: readonly string[] = ["a"],
): PipeWorld {
  const holder: { world?: PipeWorld } = {};
  const line = pipeline("line", make(() => holder.world as PipeWorld) as never);
  const world = new PipeWorld(line, { nodes });
  holder.world = world;
  return world;
}

/** One send after the other; each says when there was room. */
function sendEach(world: PipeWorld, home: Home, inputs: readonly number[]): void {
  const [first, ...rest] = inputs;
  if (first === undefined) {
    world.say("client: end");
    return home.end();
  }
  home.send([first], () => {
    world.say(`client: ${first} is taken`);
    sendEach(world, home, rest);
  });
}

function readEvery(world: PipeWorld, home: Home, everyMs: number): void {
  const look = (): void => {
    const values = home.run.sink?.take();
    if (values !== undefined) world.say(`sink: reads ${values.join(" ")}`);
    home.run.sink?.acknowledge();
    if (world.report === undefined) world.agenda.after(everyMs, look);
  };
  look();
}

test("P5: a slow fitting stops its senders, one after the other, back to the client", async () => {
  const world = worldOf((at) => [
    fitting<number, number>({
      name: "fast",
      partition: constant(1),
      queueLimit: 2,
      process: (n) => {
        at().say(`fast: ${n}`);
        return n;
      },
    }),
    fitting<number, number>({
      name: "slow",
      partition: constant(2),
      queueLimit: 2,
      process: (n) => {
        at().say(`slow: ${n} begins`);
        return at().later(n, 10);
      },
    }),
  ]);
  const home = world.open();
  home.run.trace.listen(({ fitting: name, type }) => world.say(`${name}: ${type}`));
  readEvery(world, home, 1);
  sendEach(world, home, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  world.runFor(200);
  expect(world.report?.state).toBe("done");
  await expect(world.text).toMatchFileSnapshot("pipe/back-pressure.txt");
});

test("recursion goes on while the end of inputs is told, and done comes once, after all of it", async () => {
  const world = worldOf((at) => [
    fitting<number, number>({
      name: "down",
      partition: byKey((n: number) => n % 2),
      process: (n, { recurse }) => {
        at().say(`down: ${n}`);
        if (n >= 2) recurse(n - 2);
        return n % 2 === 0 ? at().later(n, 3) : n;
      },
      done: () => {
        at().say("down: done");
        return 100;
      },
    }),
    fitting<number, number>({
      name: "last",
      partition: constant(0),
      process: (n) => {
        at().say(`last: ${n}`);
        return n;
      },
      done: () => {
        at().say("last: done");
        return -1;
      },
    }),
  ]);
  const home = world.open();
  readEvery(world, home, 1);
  sendEach(world, home, [4, 5]);
  world.runFor(200);
  expect(world.report?.state).toBe("done");
  expect(world.lines.filter((line) => line.includes("last: done"))).toHaveLength(1);
  await expect(world.text).toMatchFileSnapshot("pipe/recursion-and-end.txt");
});

test("P6: a worker that cannot restart hands its queue to the next of the preflist, on another node", async () => {
  let starts = 0;
  const world = worldOf(
    (at) => [
      fitting<number, number>({
        name: "fragile",
        partition: constant(0),
        nval: 2,
        stateAfterCrash: "reset",
        start: () => {
          starts += 1;
          if (starts === 2) throw new Error("no licence");
          return undefined;
        },
        process: (n, context) => {
          at().say(`fragile ${context.partition}: ${n}`);
          if (n === 2) throw new Error("crash");
          return at().later(n, 2);
        },
        done: () => undefined,
      }),
    ],
    ["a", "b"],
  );
  const home = world.open();
  home.run.trace.listen(({ node, partition, type, text }) => world.say(`trace: ${node} ${partition} ${type} ${text}`));
  readEvery(world, home, 1);
  home.send([1, 2, 3, 4], () => world.say("client: all are taken"));
  home.end();
  world.runFor(500);
  expect(world.report).toMatchObject({ state: "done", acknowledged: 4, failed: 2, outputs: 3 });
  await expect(world.text).toMatchFileSnapshot("pipe/worker-that-cannot-restart.txt");
});
