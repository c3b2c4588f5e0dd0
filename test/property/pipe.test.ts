/** The queue, the marks, and the end of inputs of a run, against plain models. */

import { describe, expect, test } from "vitest";
import { type Fitting, fitting, pipeline } from "../../pipe/fitting.ts";
import { byKey } from "../../pipe/partition.ts";
import { ItemQueue } from "../../pipe/queue.ts";
import { Marks } from "../../pipe/stamp.ts";
import { Token } from "../../pipe/token.ts";
import { fc } from "../arbitrary.ts";
import { PipeWorld } from "./pipe-world.ts";

test("P5: a queue gives what it was given, in order, whatever its ring does", () => {
  const token = new Token({ settled: () => {}, checkpointed: () => {} }, 1);
  const operation = fc.oneof(
    { weight: 6, arbitrary: fc.nat(1_000) },
    { weight: 5, arbitrary: fc.constant("take" as const) },
    { weight: 1, arbitrary: fc.constant("clear" as const) },
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 400 }), (operations) => {
      const queue = new ItemQueue();
      let model: number[] = [];
      for (const each of operations) {
        if (each === "clear") {
          queue.clear();
          model = [];
        } else if (each !== "take") {
          queue.push(each, token);
          model.push(each);
        } else if (model.length > 0) {
          expect(queue.token()).toBe(token);
          expect(queue.take()).toBe(model.shift());
        }
        expect(queue.length).toBe(model.length);
      }
    }),
  );
});

test("marks are the set of what was added", () => {
  const stamp = fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 40 }));
  fc.assert(
    fc.property(fc.array(stamp, { maxLength: 200 }), (stamps) => {
      const marks = new Marks();
      const model = new Set<string>();
      for (const [life, number] of stamps) {
        expect(marks.has(life, number)).toBe(model.has(`${life} ${number}`));
        marks.add(life, number);
        model.add(`${life} ${number}`);
      }
      const copy = new Marks();
      copy.load(marks.rows());
      for (let life = 1; life <= 3; life++)
        for (let number = 0; number <= 41; number++)
          expect(copy.has(life, number)).toBe(model.has(`${life} ${number}`));
      for (const [, ...ranges] of marks.rows())
        for (let at = 2; at < ranges.length; at += 2)
          expect(ranges[at]).toBeGreaterThan((ranges[at - 1] as number) + 1); // Ranges that touch are one.
    }),
  );
});

/** How a fitting treats its inputs. */
interface Shape {
  readonly queueLimit: number;
  readonly concurrency: number;
  readonly slow: boolean;
  readonly copies: number;
  readonly recurses: boolean;
  readonly done: boolean;
  readonly modulus: number;
}

const shape: fc.Arbitrary<Shape> = fc.record({
  queueLimit: fc.integer({ min: 1, max: 8 }),
  concurrency: fc.integer({ min: 1, max: 3 }),
  slow: fc.boolean(),
  copies: fc.integer({ min: 0, max: 2 }),
  recurses: fc.boolean(),
  done: fc.boolean(),
  modulus: fc.integer({ min: 1, max: 20 }),
});

describe("the end of inputs", () => {
  test("P6: comes once to each worker, after all of its inputs, fitting after fitting, and nothing is short", () => {
    fc.assert(
      fc.property(
        fc.array(shape, { minLength: 1, maxLength: 4 }),
        fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 60 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 0, max: 20 }),
        (shapes, inputs, nodes, readerMs) => {
          const run = new Rehearsal(shapes, ["a", "b", "c"].slice(0, nodes));
          run.play(inputs, readerMs);
          expect(run.wrong).toEqual([]);
          expect(run.world.report).toMatchObject({
            state: "done",
            accepted: inputs.length,
            acknowledged: inputs.length,
            failed: 0,
          });
          expect(run.outputs).toBe(run.expected(inputs));
        },
      ),
      { numRuns: 300 },
    );
  });
});

class Rehearsal {
  readonly world: PipeWorld;
  readonly wrong: string[] = [];
  outputs = 0;
  readonly #shapes: readonly Shape[];
  readonly #ended = new Set<string>();
  /** Calls that have not resolved, by worker. */
  readonly #active = new Map<string, number>();
  /** Fitting whose end has come last. */
  #phase = -1;
  #dones: number[] = [];

  constructor(shapes: readonly Shape[], nodes: readonly string[]) {
    this.#shapes = shapes;
    this.#dones = shapes.map(() => 0);
    const fittings = shapes.map((one, at) => this.#fitting(one, at));
    this.world = new PipeWorld(pipeline("line", fittings as never), { nodes });
  }

  play(inputs: readonly number[], readerMs: number): void {
    const { world } = this;
    const home = world.open();
    home.send(inputs, () => home.end());
    const look = (): void => {
      this.outputs += home.run.sink?.take()?.length ?? 0;
      home.run.sink?.acknowledge();
      this.#watch();
      if (world.report === undefined) world.agenda.after(readerMs + 1, look);
    };
    look();
    world.runFor(1_000_000);
    for (const node of world.nodes.values()) if (node.runs.size > 0) this.wrong.push(`${node.self} still has a run`);
  }

  /** Outputs of the line: each `done` of a worker that had inputs gives one more input to the next fitting. */
  expected(inputs: readonly number[]): number {
    let count = 0;
    let now = [...inputs];
    for (const [at, one] of this.#shapes.entries()) {
      const next: number[] = [];
      for (const input of now)
        for (let value = input; ; value -= 7) {
          for (let copy = 0; copy < one.copies; copy++) next.push(value + copy);
          if (!one.recurses || value < 7) break;
        }
      for (let done = 0; done < (this.#dones[at] ?? 0); done++) next.push(at);
      now = next;
      count = now.length;
    }
    return count;
  }

  #fitting(one: Shape, at: number): Fitting<never> {
    const key = (partition: number): string => `${at} ${partition}`;
    return fitting<number, number>({
      name: `f${at}`,
      partition: byKey((n: number) => (n + at) % one.modulus),
      queueLimit: one.queueLimit,
      concurrency: one.done ? 1 : one.concurrency,
      process: (n, context) => {
        if (this.#ended.has(key(context.partition))) this.wrong.push(`f${at}: ${n} after its end`);
        if (this.#phase > at) this.wrong.push(`f${at}: ${n} after the end of f${this.#phase}`);
        const active = this.#active.get(key(context.partition)) ?? 0;
        if (active >= (one.done ? 1 : one.concurrency)) this.wrong.push(`f${at}: ${active + 1} calls at once`);
        if (one.recurses && n >= 7) context.recurse(n - 7);
        const outputs = Array.from({ length: one.copies }, (_, copy) => n + copy);
        if (!one.slow || n % 3 !== 0) return outputs;
        this.#active.set(key(context.partition), active + 1);
        this.world.agenda.after(1 + (n % 5), () =>
          this.#active.set(key(context.partition), (this.#active.get(key(context.partition)) ?? 1) - 1),
        );
        return this.world.later(outputs, 1 + (n % 5));
      },
      ...(one.done
        ? {
            done: ({ partition }) => {
              if (this.#ended.has(key(partition))) this.wrong.push(`f${at}: a second end`);
              if (this.#phase > at) this.wrong.push(`f${at}: its end after that of f${this.#phase}`);
              this.#ended.add(key(partition));
              this.#phase = at;
              this.#dones[at] = (this.#dones[at] ?? 0) + 1;
              return at;
            },
          }
        : {}),
    }) as Fitting<never>;
  }

  #watch(): void {
    for (const node of this.world.nodes.values())
      for (const run of node.runs.values())
        for (const worker of run.status())
          if (worker.queue > worker.queueLimit) this.wrong.push(`${worker.fitting}: ${worker.queue} in its queue`);
  }
}
