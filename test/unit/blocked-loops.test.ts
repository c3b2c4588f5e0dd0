/** What a node says of handlers that held its event loop, for `doctor`. */

import { expect, test } from "vitest";
import { NodeDriver, type NodeWorld } from "../../ring/io/node.ts";
import type { NodeEffect, NodeEvent } from "../../ring/node/effects.ts";
import type { NodeMessage } from "../../ring/node/messages.ts";
import { BlockedLoops } from "../../services/host/blocked-loops.ts";
import { createNodeMetrics } from "../../services/metrics/node-metrics.ts";

const HANDLER = { app: "acme", type: "work", key: "k", task: "t", attempt: 1 };

test("P4: the last handler that held the event loop is named for ten minutes", () => {
  let now = 0;
  const loops = new BlockedLoops(createNodeMetrics(), () => now);
  expect(loops.warnings()).toEqual([]);
  loops.note({ blockedMs: 2_500, cpuMs: undefined, certain: true, handlers: [HANDLER] });
  const detail = "the event loop was held for 2.5 s by work of app acme (key k)";
  expect(loops.warnings()).toEqual([{ code: "LOOP_BLOCKED", detail }]);
  now = 600_001;
  expect(loops.warnings()).toEqual([]);
});

test("P4: those that may have held it are suspects; nobody is where the process was not scheduled", () => {
  const loops = new BlockedLoops(createNodeMetrics());
  loops.note({ blockedMs: 1_500, cpuMs: 100, certain: false, handlers: [HANDLER] });
  loops.note({ blockedMs: 1_500, cpuMs: 1_500, certain: false, handlers: [] });
  expect(loops.warnings()).toEqual([]);
  loops.note({ blockedMs: 1_500, cpuMs: 1_400, certain: false, handlers: [HANDLER, { ...HANDLER, key: "l" }] });
  expect(loops.warnings()).toMatchObject([
    { detail: expect.stringContaining("perhaps by work of app acme (key k) or work of app acme (key l)") },
  ]);
});

test("P4: it is among the warnings of the node's status", () => {
  const sent: NodeMessage[] = [];
  const answer = { type: "node-status", status: { name: "a", warnings: [{ code: "NO_FAILOVER", detail: "one" }] } };
  const machine = {
    step: (_now: number, _event: NodeEvent) =>
      [{ type: "send", to: "b", message: { type: "answer", askId: 1, answer } }] as unknown as readonly NodeEffect[],
    nextDeadline: () => undefined,
  };
  const driver = new NodeDriver({
    name: "a",
    machine,
    store: { stats: () => ({}) },
    log: {},
    peers: () => ({ send: (_to: string, message: NodeMessage) => sent.push(message) }),
    warnings: () => [{ code: "LOOP_BLOCKED", detail: "work of app acme" }],
  } as unknown as NodeWorld);
  driver.step({ type: "flush" });
  driver.close();
  expect(sent).toMatchObject([
    { answer: { status: { warnings: [{ code: "NO_FAILOVER" }, { code: "LOOP_BLOCKED" }] } } },
  ]);
});
