/** What the driver tells the machine of messages that no link took. */

import { expect, test } from "vitest";
import type { NodeName } from "../../ring/ids.ts";
import { NodeDriver, type NodeWorld } from "../../ring/io/node.ts";
import type { NodeEffect, NodeEvent } from "../../ring/node/effects.ts";
import type { NodeMessage } from "../../ring/node/messages.ts";

const B = "b" as NodeName;

/** The events that follow when the machine sends these, and the link takes what `taken` says. */
function sending(messages: readonly NodeMessage[], taken: boolean): NodeEvent[] {
  const events: NodeEvent[] = [];
  const machine = {
    step: (_now: number, event: NodeEvent): readonly NodeEffect[] => {
      events.push(event);
      return event.type === "flush" ? messages.map((message) => ({ type: "send", to: B, message })) : [];
    },
    nextDeadline: () => undefined,
  };
  const world = { name: "a", machine, store: {}, log: {}, peers: () => ({ send: () => taken }) };
  const driver = new NodeDriver(world as unknown as NodeWorld);
  driver.step({ type: "flush" });
  driver.close();
  return events.slice(1);
}

const AWAITED: readonly NodeMessage[] = [
  { type: "forward", forwardId: 1, epoch: 1 as never, origin: "client", records: [] },
  { type: "ask", askId: 2, epoch: 1 as never, request: { type: "node-status" } },
  { type: "answer", askId: 3, answer: { type: "ok" } },
];

test("P5: tasks, questions and answers that a link did not take come back to the machine", () => {
  expect(sending(AWAITED, false)).toEqual(AWAITED.map((message) => ({ type: "unsent", to: B, message })));
});

test("what was taken does not come back, nor what the machine repeats by itself", () => {
  expect(sending(AWAITED, true)).toEqual([]);
  expect(sending([{ type: "pull-document", epoch: 1 }], false)).toEqual([]);
});
