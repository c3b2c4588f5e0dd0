/** P5: tasks without an id that turn out to be duplicates (by idempotency key) leave a number each in their stream, for ever. */

import { EventEmitter } from "node:events";
import { expect, test } from "vitest";
import { encodeBatch } from "../../../proto/submit-stream.ts";
import { encodeRecord } from "../../../ring/tasks/record-encode.ts";
import { FakeNode } from "./fake-node.ts";
import { sessionOver } from "./stream-call.ts";

class Call extends EventEmitter {
  write(): boolean {
    return true;
  }
  pause(): void {}
  resume(): void {}
  end(): void {}
}

test("P5: nothing of an answered task is kept by its stream", () => {
  const sets = new Set<Set<unknown>>();
  const { add } = Set.prototype;
  const call = new Call();
  const node = new FakeNode();
  node.judge = ({ id }) => ({ type: "duplicate", id, state: "done" });
  const session = sessionOver(call, node);
  const bytes = encodeRecord({ app: "shop", type: "t", idempotencyKey: "order-1" }); // no task_id: the node mints one
  const tasks = new Array<Uint8Array>(1_000).fill(bytes);
  Set.prototype.add = function (this: Set<unknown>, value: unknown) {
    if (typeof value === "number") add.call(sets, this);
    return add.call(this, value);
  };
  try {
    for (let frame = 0; frame < 50; frame++) call.emit("data", encodeBatch(1 + frame * 1_000, tasks));
  } finally {
    Set.prototype.add = add;
  }
  expect(session.outstanding).toBe(0); // all are answered
  expect([...sets].map(({ size }) => size)).toEqual([0]);
});
