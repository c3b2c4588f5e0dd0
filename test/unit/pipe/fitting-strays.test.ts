/** Errors that lose a fitting's calls cost its run, and never the node (P4). */

import { afterEach, beforeEach, expect, test } from "vitest";
import { fitting, pipeline } from "../../../pipe/fitting.ts";
import { PipeEngine } from "../../../pipe/io/engine.ts";
import { byHash, byKey, constant } from "../../../pipe/partition.ts";
import type { NodeName } from "../../../ring/ids.ts";
import { type FittingStray, watchFittings, watchLooks } from "../../../services/host/watched-fittings.ts";
import type { Run } from "../../../services/runner/run.ts";
import { currentRun, insideRun, listenForStrays, outsideFittings } from "../../../services/runner/strays.ts";

// The test runner's own listeners would take every stray error for a failed test.
const KINDS = ["unhandledRejection", "uncaughtException"] as const;
let saved: (readonly [(typeof KINDS)[number], (...args: never) => unknown])[] = [];
let watching: Disposable;
let foreign: unknown[];
let strays: FittingStray[];

beforeEach(() => {
  saved = KINDS.flatMap((kind) => process.listeners(kind as "unhandledRejection").map((one) => [kind, one] as const));
  for (const kind of KINDS) process.removeAllListeners(kind);
  foreign = [];
  strays = [];
  watching = listenForStrays({
    onStray: (_run, error) => foreign.push(error),
    onForeign: (error) => foreign.push(error),
  });
});

afterEach(() => {
  watching[Symbol.dispose]();
  for (const [kind, listener] of saved) process.on(kind as "unhandledRejection", listener as () => void);
});

const later = (): void => {
  setTimeout(() => {
    throw new Error("lost");
  }, 1);
};
const never = new Promise<never>(() => undefined);

const ESCAPES: Readonly<Record<string, (input: number) => unknown>> = {
  "a rejection nobody awaits": () => {
    void Promise.reject(new Error("lost"));
    return never;
  },
  "a throw in a timer": () => {
    later();
    return never;
  },
  "a throw in a microtask": () => {
    queueMicrotask(() => {
      throw new Error("lost");
    });
    return never;
  },
  "a throw in a timer of an async function, later": async () => {
    await undefined;
    later();
    await never;
  },
  "a throw in a timer of a generator": function* () {
    yield 1;
    later();
    yield never;
  },
  "a throw in a timer of a thenable": () => ({
    // biome-ignore lint/suspicious/noThenProperty: as the queries of a database are
    then: () => later(),
  }),
  "a throw in a timer of an iterator of one's own": () => ({
    [Symbol.asyncIterator]: () => ({
      next: () => {
        later();
        return never;
      },
    }),
  }),
  "a rejection of a getter of what it returns": () => ({
    // biome-ignore lint/suspicious/noThenProperty: the same
    get then() {
      void Promise.reject(new Error("lost"));
      return () => undefined;
    },
  }),
  "a throw in a timer of an iterator that a promise gives": async () => ({
    [Symbol.asyncIterator]: () => ({
      next: () => {
        later();
        return never;
      },
    }),
  }),
  "a throw in a timer of a generator that a promise gives": async () =>
    (function* () {
      yield 1;
      later();
      yield never;
    })(),
  "a rejection of a generator that a promise of an async generator gives": async () =>
    (async function* () {
      void Promise.reject(new Error("lost"));
      yield await never;
    })(),
  "a throw in a timer of an async generator": async function* () {
    yield 1;
    await undefined;
    later();
    yield await never;
  },
};

for (const [what, lose] of Object.entries(ESCAPES)) {
  test(`${what} is told as its fitting's, and fails its run`, async () => {
    const line = pipeline("line", [fitting({ name: "odd", process: lose })]);
    const watched = watchFittings((stray) => {
      strays.push(stray);
      if (stray.run !== undefined) engine.node.runs.get(stray.run)?.fail("RUN_FAILED", "a stray error");
    });
    using engine: PipeEngine = new PipeEngine({
      self: "n1" as NodeName,
      ringSize: 8,
      find: (name) => (name === "line" ? watched(line) : undefined),
      send: () => false,
      outside: outsideFittings,
    });
    const run = engine.run<number, unknown>("line", { sink: "drain" });
    await run.send(1);
    const report = await run.report();
    expect(strays[0]).toMatchObject({ pipeline: "line", fitting: "odd", run: run.id, error: { message: "lost" } });
    expect(foreign).toEqual([]);
    if (!what.includes("a generator")) expect(report.state).toBe("failed");
  });
}

test("P4: a listener of a fitting's signal that throws is told as its fitting's", async () => {
  const line = pipeline("line", [
    fitting({
      name: "odd",
      process: (_input: number, { signal }) => {
        signal.addEventListener("abort", () => {
          throw new Error("in the listener");
        });
        return never;
      },
    }),
  ]);
  const watched = watchFittings((stray) => strays.push(stray));
  using engine: PipeEngine = new PipeEngine({
    self: "n1" as NodeName,
    ringSize: 8,
    find: () => watched(line),
    send: () => false,
    outside: outsideFittings,
  });
  const run = engine.run<number, unknown>("line", { sink: "drain" });
  await run.send(1);
  await new Promise((resolve) => setImmediate(resolve));
  engine.cancel(run.id);
  expect((await run.report()).state).toBe("cancelled");
  await new Promise((resolve) => setImmediate(resolve));
  expect(foreign).toEqual([]);
  expect(strays).toMatchObject([{ fitting: "odd", run: run.id, error: { message: "in the listener" } }]);
});

test("what the code of a fitting makes the engine do is not in its context", async () => {
  const seen: unknown[] = [];
  const broken = new Error("a bug of the engine");
  const line = pipeline("line", [
    fitting({
      name: "again",
      process: (input: number, { recurse }) => {
        if (input > 0) recurse(input - 1);
        return input;
      },
    }),
  ]);
  const watched = watchFittings((stray) => strays.push(stray));
  using engine: PipeEngine = new PipeEngine({
    self: "n1" as NodeName,
    ringSize: 8,
    find: () => watched(line),
    send: () => false,
    outside: outsideFittings,
    onReport: () => {
      seen.push(broken);
      void Promise.reject(broken);
    },
  });
  const run = engine.run<number, unknown>("line", { sink: "drain" });
  await run.send(3);
  run.end();
  expect((await run.report()).state).toBe("done");
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(seen).toEqual([broken]);
  expect(foreign).toEqual([broken]);
  expect(strays).toEqual([]);
});

for (const partition of [
  byKey((async (input: number) => Promise.reject(new Error(`no key of ${input}`))) as never),
  byHash((async (input: number) => Promise.reject(new Error(`no hash of ${input}`))) as never),
]) {
  test(`P4: an async function as by${partition.type === "key" ? "Key" : "Hash"} fails its inputs, and what it rejects is nobody's`, async () => {
    using engine: PipeEngine = new PipeEngine({
      self: "n1" as NodeName,
      ringSize: 8,
      find: () => undefined,
      send: () => false,
      outside: outsideFittings,
    });
    const line = pipeline("line", [fitting({ name: "odd", partition, process: (input: number) => input })]);
    const run = engine.run<number, unknown>(line, { sink: "drain" });
    await run.sendMany([1, 2]);
    run.end();
    const { state, failed, failures } = await run.report();
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect({ state, failed, foreign }).toEqual({ state: "done", failed: 2, foreign: [] });
    expect(failures[0]?.error).toMatch(/a promise/);
  });
}

const lost = (): string => {
  void Promise.reject(new Error("lost"));
  return "x";
};
const careless = { toJSON: async () => Promise.reject(new Error("lost")) };
const LOOKED_AT: Readonly<Record<string, (input: number) => unknown>> = {
  "a thrown error's message": () => {
    throw Object.defineProperty(new Error("x"), "message", { get: lost });
  },
  "an output that goes to another node": () => careless,
};

for (const [what, process] of Object.entries(LOOKED_AT)) {
  test(`P4: a rejection that ${what} loses where it is read is told as its fitting's, and fails its run`, async () => {
    const line = pipeline("line", [
      fitting({ name: "odd", partition: constant(0), process }),
      fitting({ name: "next", partition: constant(1), process: () => never }),
    ]);
    const names = ["n1", "n2"] as const;
    const engines = new Map<NodeName, PipeEngine>();
    for (const self of names as readonly string[] as readonly NodeName[]) {
      const onStray = (stray: FittingStray): void => {
        strays.push(stray);
        engines
          .get(self)
          ?.node.runs.get(stray.run ?? "")
          ?.fail("RUN_FAILED", "a stray error");
      };
      const watched = watchFittings(onStray);
      const send = (to: NodeName, bytes: Uint8Array): boolean => {
        const copy = bytes.slice();
        setImmediate(() => engines.get(to)?.receive(self, copy));
        return true;
      };
      engines.set(
        self,
        new PipeEngine({
          self,
          ringSize: 8,
          find: () => watched(line),
          send,
          outside: outsideFittings,
          look: watchLooks(onStray),
        }),
      );
    }
    for (const { node } of engines.values())
      node.route({
        epoch: 1,
        ringSize: 8,
        owners: Array.from({ length: 8 }, (_, at) => names[at % 2]),
        alive: new Set(names),
      });
    const run = engines.get("n1" as NodeName)!.run<number, unknown>("line", { sink: "drain" });
    await run.send(1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    run.end();
    expect((await run.report()).state).toBe("failed");
    for (const engine of engines.values()) engine[Symbol.dispose]();
    expect(foreign).toEqual([]);
    expect(strays[0]).toMatchObject({ pipeline: "line", fitting: "odd", run: run.id, error: { message: "lost" } });
  });
}

test("P4: a stray error of a fitting is not that of a task which gave its own run an input in the same turn", async () => {
  const lines = {
    quiet: pipeline("quiet", [fitting({ name: "quiet", process: (input: number) => input })]),
    odd: pipeline("odd", [
      fitting({
        name: "odd",
        process: () => {
          attempts.push(currentRun());
          later();
          return never;
        },
      }),
    ]),
  };
  const attempts: unknown[] = [];
  const watched = watchFittings((stray) => {
    strays.push(stray);
    if (stray.run !== undefined) engine.node.runs.get(stray.run)?.fail("RUN_FAILED", "a stray error");
  });
  using engine: PipeEngine = new PipeEngine({
    self: "n1" as NodeName,
    ringSize: 8,
    find: (name) => watched(lines[name as keyof typeof lines]),
    send: () => false,
    outside: outsideFittings,
  });
  const odd = engine.run<number, unknown>("odd", { sink: "drain" });
  const sent = insideRun({} as Run, () => engine.run<number, unknown>("quiet", { sink: "drain" }).send(1), 0, 0);
  await Promise.all([sent, odd.send(1)]);
  await expect.poll(() => strays.length + foreign.length).toBe(1);
  expect(foreign).toEqual([]);
  expect(strays).toMatchObject([{ fitting: "odd", run: odd.id, error: { message: "lost" } }]);
  expect((await odd.report()).state).toBe("failed");
  expect(attempts).toEqual([undefined]);
});
