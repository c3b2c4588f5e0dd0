import { EventEmitter } from "node:events";
import { expect, test } from "vitest";
import { encodeBatch } from "../../proto/submit-stream.ts";
import { encodeRecord } from "../../ring/tasks/record-encode.ts";
import { Intake } from "../../services/api/intake.ts";
import { FakeNode } from "../integration/api/fake-node.ts";
import { sessionOver } from "../integration/api/stream-call.ts";

/** A transport that keeps what comes while it is paused. */
class Call extends EventEmitter {
  paused = false;
  frames: Uint8Array[] = [];
  write(): boolean {
    return true;
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
    this.flow();
  }
  end(): void {}
  flow(): void {
    for (let frame = this.frames[0]; frame !== undefined && !this.paused; frame = this.frames[0]) {
      this.frames.shift();
      this.emit("data", frame);
    }
  }
}

test("P8: a burst is taken in over several turns of the event loop, so that the disk's answer is heard between", () => {
  let nextTurn: (() => void) | undefined;
  const intake = new Intake({ most: 480, later: (run) => (nextTurn = run) });
  const call = new Call();
  const node = new FakeNode();
  const session = sessionOver(call, node, intake);
  const bytes = encodeRecord({ app: "shop", type: "t", key: "k" });
  for (let frame = 0; frame < 6; frame++)
    call.frames.push(encodeBatch(1 + frame * 240, new Array<Uint8Array>(240).fill(bytes)));
  const left: number[] = [];
  call.flow();
  for (let turn = 0; turn < 4 && call.paused; turn++) {
    left.push(call.frames.length);
    nextTurn?.();
  }
  expect(left).toEqual([4, 2, 0]);
  expect(call.paused).toBe(false);
  expect(session.outstanding).toBe(0);
});

test.each([
  [1, true],
  [2, false],
  [3, false],
  [1_000, false],
])("P4: a batch of %i from the last number on is taken: %o", (count, taken) => {
  const call = new Call();
  const errors: { readonly details: string }[] = [];
  call.on("error", (error) => errors.push(error));
  const session = sessionOver(call, new FakeNode());
  const bytes = encodeRecord({ app: "shop", type: "t", key: "k" });
  call.frames.push(encodeBatch(Number.MAX_SAFE_INTEGER, new Array<Uint8Array>(count).fill(bytes)));
  expect(() => call.flow()).not.toThrow();
  expect(errors.map(({ details }) => details)).toEqual(taken ? [] : [expect.stringMatching(/2\^53 - 1/)]);
  expect(session.outstanding).toBe(0);
});
