/** What a cursor stands for: whoever goes on there, after the node that was at it is gone, misses nothing that came before. */

import { expect, test } from "vitest";
import { type FittingContext, fitting, type Pipeline, pipeline } from "../../../pipe/fitting.ts";
import { PipeEngine } from "../../../pipe/io/engine.ts";
import { broadcast, byHash, byKey, constant } from "../../../pipe/partition.ts";
import { Resumed } from "../../../pipe/resumed.ts";
import type { Report } from "../../../pipe/views.ts";
import type { NodeName } from "../../../ring/ids.ts";
import { PipeWorld } from "../../property/pipe-world.ts";

/** Runs inputs on `b`, which dies while the reader of the results stands still; then all of them are read. */
function lose(
  line: Pipeline<unknown, unknown>,
  inputs: readonly unknown[] = ["root"],
): {
  readonly report: Report | undefined;
  readonly outputs: Set<unknown>;
} {
  const world = new PipeWorld(line, { nodes: ["a", "b"] });
  const home = world.open();
  home.send(inputs, () => undefined);
  home.end();
  world.runFor(100);
  world.kill("b");
  world.node("a").route({ epoch: 2, ringSize: 8, owners: Array(8).fill("a"), alive: new Set(["a"]) });
  const outputs = new Set<unknown>();
  const { sink } = home.run;
  for (let turn = 0; turn < 100 && world.report === undefined; turn++) {
    for (const output of sink?.take() ?? []) outputs.add(output);
    sink?.acknowledge();
    world.runFor(20);
  }
  return { report: world.report, outputs };
}

/** More than a call may have made without an end of it. */
function* many(): Generator<number> {
  for (let output = 0; output < 10_000; output++) yield output;
}

test("P6: what a call has sent to itself before a cursor is not lost with its node", () => {
  const { report, outputs } = lose(
    pipeline("line", [
      fitting<unknown, unknown>({
        name: "tree",
        partition: constant(1),
        *process(input, context: FittingContext): Generator<unknown> {
          if (input === "child") return yield "child";
          if (context.cursor === undefined) {
            context.recurse("child");
            void context.checkpoint("behind the child");
          }
          yield* many();
        },
      }),
    ]),
  );
  expect(report).toMatchObject({ state: "done", failed: 0 });
  expect(outputs).toContain("child");
});

test("P6: the cursor of an input that a call has sent to itself is not the cursor of the call's own", () => {
  const { report, outputs } = lose(
    pipeline("line", [
      fitting<unknown, unknown>({
        name: "tree",
        partition: constant(1),
        *process(input, context: FittingContext): Generator<unknown> {
          if (input === "root") {
            if (context.cursor === undefined) context.recurse("child");
            return yield "root";
          }
          if (context.cursor === undefined) void context.checkpoint("in the child");
          yield* many();
        },
      }),
    ]),
  );
  expect(report).toMatchObject({ state: "done", failed: 0 });
  expect(outputs.size).toBe(10_001);
});

test("P6: a failure before a cursor is in the report, although the node that had recorded it is gone", () => {
  const { report } = lose(
    pipeline("line", [
      fitting<unknown, unknown>({
        name: "pages",
        partition: constant(1),
        *process(_, context: FittingContext): Generator<unknown> {
          for (let page = Number(context.cursor ?? 0); page < 2; page++) {
            yield page === 0 ? "bad" : "good";
            void context.checkpoint(page + 1);
          }
          yield* many();
        },
      }),
      fitting<unknown, unknown>({
        name: "work",
        partition: constant(1),
        process: (input) => {
          if (input === "bad") throw new Error("no");
          return input === "good" ? undefined : [input];
        },
      }),
    ]),
  );
  expect(report).toMatchObject({ state: "done", failed: 1, failures: [{ fitting: "work", input: '"bad"' }] });
});

test("P6: an input that goes on at a cursor has the key that it had at first", async () => {
  type Ban = { readonly profile: { readonly id: string } };
  for (const partition of [
    byKey(({ profile }: Ban) => profile.id),
    byHash(({ profile }: Ban) => profile.id.length << 29),
  ]) {
    const line = pipeline("line", [
      fitting<Ban, unknown>({
        name: "pages",
        partition,
        *process({ profile }, context: FittingContext): Generator<unknown> {
          yield [context.partition, profile.id, context.cursor];
        },
      }),
    ]);
    using engine = new PipeEngine({ self: "a" as NodeName, ringSize: 8, find: () => line, send: () => false });
    const run = engine.run<Ban, unknown>(line);
    const ban = { profile: { id: "p1" } };
    await run.send(ban);
    await run.send(ban, { cursor: 5 });
    run.end();
    const outputs: unknown[] = [];
    for await (const output of run.results) outputs.push(output);
    expect(await run.report()).toMatchObject({ failed: 0, failures: [] });
    const [first] = outputs[0] as [number];
    expect(outputs).toEqual([
      [first, "p1", undefined],
      [first, "p1", 5],
    ]);
  }
});

/** As a generator would do it that stands elsewhere. */
function* pages(input: unknown, context: FittingContext): Generator<unknown> {
  if (context.cursor === undefined && input === "second") yield "head of the second";
  void context.checkpoint("behind the head");
  yield* many();
}

test.each([
  ["the first of a message", ["first", "second"]],
  ["what is sent at a cursor", [new Resumed("first", "behind the head"), "second"]],
])("P6: the cursor of %s is not that of the inputs behind it, where `process` calls a generator", (_, inputs) => {
  const process = (input: unknown, context: FittingContext): unknown => pages(input, context);
  const line = pipeline("line", [fitting<unknown, unknown>({ name: "pages", partition: constant(1), process })]);
  const { report, outputs } = lose(line, inputs);
  expect(report).toMatchObject({ state: "done", failed: 0 });
  expect(outputs).toContain("head of the second");
});

test("P6: of an input that has a copy on each partition no cursor is kept: it would be that of all copies", () => {
  const kept: unknown[] = [];
  const all = fitting<unknown, unknown>({
    name: "all",
    partition: broadcast,
    *process(_input, context: FittingContext): Generator<unknown> {
      if (context.partition === 3) void context.checkpoint("behind what the third has done");
      yield context.partition;
    },
  });
  const world = new PipeWorld(pipeline("line", [all]), { nodes: ["a", "b"] });
  const home = world.open({ checkpoint: (cursor) => kept.push(cursor) });
  home.send(["root"], () => undefined);
  world.runFor(100);
  expect(home.run.sink?.take()).toHaveLength(8);
  expect(kept).toEqual([]);
});
