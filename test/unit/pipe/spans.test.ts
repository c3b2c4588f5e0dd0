/** Spans of sampled inputs, and the trace context that travels with what comes of them. */

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, test } from "vitest";
import { crash, flatMap, map, pass } from "../../../pipe/built-ins.ts";
import { fitting, type Pipeline, pipeline } from "../../../pipe/fitting.ts";
import { PipeEngine } from "../../../pipe/io/engine.ts";
import type { RunOptions } from "../../../pipe/io/run.ts";
import { byKey } from "../../../pipe/partition.ts";
import { type PipeSpan, parseTraceparent } from "../../../pipe/span.ts";
import type { Report } from "../../../pipe/views.ts";
import type { NodeName } from "../../../ring/ids.ts";
import { openSpans } from "../../../services/host/span-export.ts";
import { engine } from "./alone.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const ABOVE = "00f067aa0ba902b7";
const SAMPLED = `00-${TRACE}-${ABOVE}-01`;

function traced(spans: PipeSpan[] | undefined): PipeEngine {
  return engine(spans && ((span) => void spans.push(span)));
}

async function runAll(
  pipe: PipeEngine,
  line: Pipeline<number, unknown>,
  inputs: readonly number[],
  options: RunOptions<unknown>,
): Promise<Report> {
  const run = pipe.run(line, { sink: "drain", ...options });
  for (const input of inputs) await run.send(input);
  run.end();
  return await run.report();
}

const TWO = pipeline("two", [
  pass<number>("first"),
  pass<number>({ name: "second", partition: byKey((n: number) => n) }),
]);

describe("spans", () => {
  test("a sampled input has a span, and below it one of each call for what comes of it", async () => {
    const spans: PipeSpan[] = [];
    await runAll(traced(spans), TWO, [1, 2, 3], { spanRatio: 1 });
    expect(spans).toHaveLength(9);
    expect(new Set(spans.map(({ traceId }) => traceId)).size).toBe(3);
    expect(new Set(spans.map(({ spanId }) => spanId)).size).toBe(9);
    for (const input of spans.filter(({ name }) => name === "two input")) {
      expect(input.parentSpanId).toBeUndefined();
      const first = spans.find(({ parentSpanId }) => parentSpanId === input.spanId);
      const second = spans.find(({ parentSpanId }) => parentSpanId === first?.spanId);
      expect([first?.name, second?.name]).toEqual(["two first", "two second"]);
      expect([first?.traceId, second?.traceId]).toEqual([input.traceId, input.traceId]);
      expect(second?.attributes).toMatchObject({ "taskring.node": "a", "taskring.pipe.fitting": "second" });
      expect(first?.startMs).toBeGreaterThanOrEqual(input.startMs);
      for (const span of [input, first, second]) {
        expect(span?.returnedMs).toBeGreaterThanOrEqual(span?.startMs ?? Number.NaN);
        expect(span?.endMs).toBeGreaterThanOrEqual(span?.returnedMs ?? Number.NaN);
        expect(span?.error).toBeUndefined();
      }
    }
  });

  test("a run's context is the parent of what is sampled, and one that is not sampled makes no span", async () => {
    for (const [traceparent, count] of [
      [SAMPLED, 3],
      [`cc-${TRACE}-${ABOVE}-01-more`, 3],
      [`00-${TRACE}-${ABOVE}-00`, 0],
      [`00-${TRACE}-${ABOVE}-01-more`, 0],
      [`00-${"0".repeat(32)}-${ABOVE}-01`, 0],
      ["garbage", 0],
      ["", 0],
    ] as const) {
      const spans: PipeSpan[] = [];
      await runAll(traced(spans), TWO, [1, 2, 3], { traceparent });
      expect(spans).toHaveLength(count);
      for (const span of spans) expect(span.traceId).toBe(TRACE);
      expect(spans.filter(({ parentSpanId }) => parentSpanId === ABOVE)).toHaveLength(count / 3);
    }
  });

  test("an input with a context of its own has spans whatever the run says", async () => {
    const spans: PipeSpan[] = [];
    const run = traced(spans).run(TWO, { sink: "drain" });
    await run.send(1);
    await run.send(2, { traceparent: SAMPLED });
    await run.sendMany([3, 4], { traceparent: `00-${TRACE}-${ABOVE}-00` });
    run.end();
    await run.report();
    expect(spans.map(({ name }) => name).sort()).toEqual(["two first", "two input", "two second"]);
  });

  test("the ratio is kept evenly, in whatever form inputs come", async () => {
    for (const form of ["send", "sendMany", "offer"] as const) {
      const spans: PipeSpan[] = [];
      const run = traced(spans).run(TWO, { sink: "drain", spanRatio: 0.01 });
      const given = Array.from({ length: 1_000 }, (_, at) => at);
      if (form === "sendMany") await run.sendMany(given);
      for (const input of given) {
        if (form === "send") await run.send(input);
        if (form === "offer") while (!run.offer(input)) await new Promise((resolve) => setImmediate(resolve));
      }
      run.end();
      await run.report();
      const roots = spans.filter(({ name }) => name === "two input");
      const inputs = roots.map(({ attributes }) => Number(attributes["taskring.pipe.input"]));
      expect(inputs.sort((a, b) => a - b)).toEqual(Array.from({ length: 10 }, (_, at) => at * 100));
    }
  });

  test("P5: a sampled input that makes a hundred thousand outputs has a hundred spans below it, and all of its outputs", async () => {
    const spans: PipeSpan[] = [];
    const wide = flatMap<number, number>("wide", (count) => Array.from({ length: count }, (_, at) => at));
    const line = pipeline("wide", [wide, pass<number>("second")]);
    const report = await runAll(traced(spans), line, [100_000], { spanRatio: 1 });
    expect(report).toMatchObject({ state: "done", outputs: 100_000, acknowledged: 1 });
    expect(spans).toHaveLength(2 + 100);
  });

  test("a span lasts until all that came of it has an end, and says what failed, with its retries", async () => {
    const spans: PipeSpan[] = [];
    let tries = 0;
    const again = fitting<number, number>({
      name: "again",
      onCrash: { retry: 1 },
      process: async (n) => {
        tries += 1;
        if (tries === 1) throw new Error("once");
        return n;
      },
    });
    const line = pipeline("fails", [pass<number>("first"), again, crash<number>("boom", () => true)]);
    await runAll(traced(spans), line, [1], { spanRatio: 1 });
    expect(spans.map(({ name, error }) => [name, error])).toEqual([
      ["fails boom", "Error: crashed on purpose"],
      ["fails again", "Error: crashed on purpose"],
      ["fails first", "Error: crashed on purpose"],
      ["fails input", "Error: crashed on purpose"],
    ]);
  });

  test("a run that ends early ends its spans, once, and says so", async () => {
    const spans: PipeSpan[] = [];
    const run = traced(spans).run(
      pipeline("stuck", [map<number, number>("never", () => new Promise<number>(() => undefined))]),
      { spanRatio: 1 },
    );
    await run.send(1);
    await new Promise((resolve) => setImmediate(resolve));
    run.cancel();
    await run.report();
    expect(spans.map(({ name, error }) => [name, error]).sort()).toEqual([
      ["stuck input", "the run has ended"],
      ["stuck never", "the run has ended"],
    ]);
  });

  test("fitting code sees the context of its call, where spans are made and where they are not", async () => {
    for (const spans of [[], undefined] as (PipeSpan[] | undefined)[]) {
      const seen: (string | undefined)[] = [];
      const look = fitting<number, number>({
        name: "look",
        process: (_, { traceparent }) => void seen.push(traceparent),
      });
      const run = traced(spans).run(pipeline("looks", [look]), { sink: "drain" });
      await run.send(1);
      await run.send(2, { traceparent: SAMPLED });
      run.end();
      await run.report();
      expect(seen[0]).toBeUndefined();
      expect(parseTraceparent(seen[1] ?? "")).toMatchObject({ traceId: TRACE, sampled: true });
      const call = spans?.find(({ name }) => name === "looks look")?.spanId;
      expect(parseTraceparent(seen[1] ?? "")?.spanId).toBe(call ?? ABOVE);
    }
  });

  test("a ratio that is none is refused", () => {
    for (const spanRatio of [-1, 2, Number.NaN])
      expect(() => traced([]).run(TWO, { spanRatio })).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining("spanRatio") }),
      );
  });
});

describe("two nodes", () => {
  test("what goes to another node is below what it comes from", async () => {
    const spans: PipeSpan[] = [];
    const engines = new Map<string, PipeEngine>();
    const line = pipeline("far", [
      pass<number>({ name: "first", partition: byKey((n: number) => n) }),
      pass<number>({ name: "second", partition: byKey((n: number) => n + 1) }),
    ]);
    for (const self of ["a", "b"] as NodeName[]) {
      const pipe = new PipeEngine({
        self,
        ringSize: 16,
        find: () => line,
        send: (to, bytes) => {
          const copy = bytes.slice();
          setImmediate(() => engines.get(to)?.receive(self, copy));
          return true;
        },
        onSpan: (span) => spans.push(span),
      });
      engines.set(self, pipe);
      const owners = Array.from({ length: 16 }, (_, at) => (at % 2 === 0 ? "a" : "b"));
      pipe.node.route({ epoch: 1, ringSize: 16, owners, alive: new Set(["a", "b"]) });
    }
    const inputs = Array.from({ length: 200 }, (_, at) => at);
    const report = await runAll(engines.get("a") as PipeEngine, line, inputs, { spanRatio: 1 });
    expect(report).toMatchObject({ state: "done", acknowledged: 200, outputs: 200 });
    expect(spans).toHaveLength(600);
    const byId = new Map(spans.map((span) => [span.spanId, span]));
    const nodes = new Set<string>();
    for (const span of spans) {
      if (span.name === "far input") continue;
      const above = byId.get(span.parentSpanId ?? "");
      expect(above?.traceId).toBe(span.traceId);
      expect(above?.name).toBe(span.name === "far first" ? "far input" : "far first");
      nodes.add(`${above?.attributes["taskring.node"]} to ${span.attributes["taskring.node"]}`);
    }
    expect([...nodes].sort()).toEqual(["a to a", "a to b", "b to a", "b to b"]);
    for (const pipe of engines.values()) pipe[Symbol.dispose]();
  });
});

describe("a collector", () => {
  test("gets OTLP over HTTP; spans that it does not take are lost and nobody waits for them", async () => {
    const bodies: unknown[] = [];
    let status = 503;
    const server = createServer((request, reply) => {
      let text = "";
      request.on("data", (chunk) => {
        text += String(chunk);
      });
      request.on("end", () => {
        bodies.push([request.url, JSON.parse(text)]);
        reply.writeHead(status).end("{}");
        status = 200;
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const warnings: string[] = [];
    const log = { warn: (_: object, text: string) => void warnings.push(text) };
    const all: PipeSpan[] = [];
    try {
      for (const _ of ["refused", "taken"]) {
        const open = openSpans(
          { name: "a", onSpan: (span) => all.push(span), tracesUrl: `http://127.0.0.1:${port}/v1/traces` },
          log,
        );
        await runAll(engine(open.take), TWO, [1], { traceparent: SAMPLED });
        await open[Symbol.asyncDispose]();
        expect(warnings).toHaveLength(1);
      }
    } finally {
      server.close();
    }
    expect(all).toHaveLength(6);
    expect(bodies).toHaveLength(2);
    const [path, body] = bodies[1] as [string, { resourceSpans: { scopeSpans: { spans: object[] }[] }[] }];
    expect(path).toBe("/v1/traces");
    const spans = body.resourceSpans[0]?.scopeSpans[0]?.spans ?? [];
    expect(spans).toHaveLength(3);
    expect(spans[2]).toMatchObject({
      traceId: TRACE,
      parentSpanId: ABOVE,
      name: "two input",
      startTimeUnixNano: expect.stringMatching(/^\d{19}$/),
      status: {},
      attributes: expect.arrayContaining([{ key: "taskring.pipe", value: { stringValue: "two" } }]),
    });
  });
});
