/** Memory of membership under churn of names, and a name that is accused with an incarnation nobody has. */

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { type NodeName, parseNodeName } from "../../ring/ids.ts";
import { BroadcastQueue } from "../../ring/membership/broadcasts.ts";
import type { MemberNotice } from "../../ring/membership/events.ts";
import { Liveness } from "../../ring/node/liveness.ts";
import { Returns } from "../../ring/node/returns.ts";
import { A, alive, B, Bench, ME } from "./membership-bench.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

function heldBy(work: () => unknown): number {
  collect();
  const before = process.memoryUsage().heapUsed;
  const kept = work();
  collect();
  const held = process.memoryUsage().heapUsed - before;
  return kept === undefined ? 0 : held;
}

function notice(type: MemberNotice["type"], index: number): MemberNotice {
  const name = parseNodeName(`pod-${index.toString(36)}-${index}`);
  const member = {
    name,
    address: { host: "10.0.0.9", port: 1 },
    state: "dead",
    incarnation: 1,
    tags: new Map([["starts", String(index)]]),
  };
  return { type, member } as MemberNotice;
}

const NAMES = 200_000;
/** A table of the largest ring twice over takes about this. */
const BOUND = 8 * 1024 * 1024;

test("P5: liveness does not remember every name that ever gossiped", () => {
  const held = heldBy(() => {
    const liveness = new Liveness("me" as NodeName);
    for (let index = 0; index < NAMES; index++) {
      liveness.notice(index, notice("member-up", index));
      liveness.notice(index, notice("member-dead", index));
    }
    return liveness;
  });
  expect(held).toBeLessThan(BOUND);
});

test("P5: flap damping does not remember every name that ever died", () => {
  const held = heldBy(() => {
    const returns = new Returns();
    for (let index = 0; index < NAMES; index++) returns.notice(index, notice("member-dead", index));
    return returns;
  });
  expect(held).toBeLessThan(BOUND);
});

test("P5: names that come and leave faster than rumours are sent do not pile up as rumours", () => {
  const bench = new Bench([A]);
  const flood = (from: number, to: number): void => {
    for (let index = from; index < to; index++) {
      const node = parseNodeName(`m${index}`);
      const messages = [alive(node), { type: "dead", node, from: node, incarnation: 1 } as const];
      bench.swim.step(bench.now, { type: "received", from: { host: "10.0.0.2", port: 1 }, messages });
    }
  };
  flood(0, 20_000); // the table is full since the first 8,192
  const held = heldBy(() => {
    flood(20_000, 60_000);
    return bench;
  });
  expect(bench.swim.members().length).toBeLessThanOrEqual(8_192);
  expect(held).toBeLessThan(3 * 1024 * 1024);
});

test("P5: the queue of rumours is bounded", () => {
  const queue = new BroadcastQueue();
  for (let index = 0; index < 50_000; index++)
    queue.push({ type: "dead", node: parseNodeName(`m${index}`), from: A, incarnation: 1 });
  expect(queue.size).toBeLessThanOrEqual(8_192);
  // What is newest is still told.
  expect(queue.has(parseNodeName("m49999"))).toBe(true);
});

test("one packet with a huge incarnation does not make a live member dead for ever", () => {
  const bench = new Bench([A, B]);
  const accused = new Bench([A, B]); // the member ME, as another machine sees it below
  const incarnation = 0x7fff_ffff;
  // ME is told, and refutes as high as it can.
  accused.receive({ type: "suspect", node: ME, from: A, incarnation });
  const refuted = accused.swim.self().incarnation;
  // At another machine the same packet about A, then A's refutation.
  bench.receive({ type: "suspect", node: A, from: B, incarnation });
  bench.receive(alive(A, { incarnation: refuted }));
  expect(bench.state(A)).toMatch(/^alive/);
});
