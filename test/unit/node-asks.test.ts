/** Questions between nodes that no link took: whoever asked hears of it at once. */

import { beforeEach, expect, test } from "vitest";
import type { NodeName, Partition } from "../../ring/ids.ts";
import { Asks } from "../../ring/node/asks.ts";
import type { NodeEffect } from "../../ring/node/effects.ts";
import type { Answer, Ask, NodeMessage } from "../../ring/node/messages.ts";

const B = "b" as NodeName;

let sent: NodeMessage[];
let answered: NodeEffect[];
let asks: Asks;

beforeEach(() => {
  sent = [];
  answered = [];
  const here = {
    self: "a" as NodeName,
    memberId: "id-a" as never,
    now: 1_000,
    document: undefined,
    emit: (effect: NodeEffect) => void answered.push(effect),
    send: (_to: NodeName, message: NodeMessage) => void sent.push(message),
    linked: () => true,
    note: () => {},
  };
  asks = new Asks(here, { numbersFrom: 0 });
});

test("P5: a question that the link did not take is answered at once, and only once", () => {
  asks.forward({ type: "local", askId: 7 }, B, { type: "node-status" }, 30_000);
  asks.unsent(B, sent[0] as Ask);
  expect(answered).toMatchObject([{ askId: 7, answer: { type: "refused", code: "QUEUE_FULL", retryAfterMs: 500 } }]);
  asks.linkDown(B);
  expect(answered).toHaveLength(1);
});

test("P4: waits for tasks, however many, leave room for other questions", () => {
  const wait = { type: "wait", id: "0".repeat(32), timeoutMs: 600_000 } as const;
  for (let askId = 0; askId < 30_000; askId++)
    asks.forward({ type: "local", askId }, B, { type: "task", partition: 1 as Partition, request: wait }, 600_000);
  expect(answered.length).toBeGreaterThan(0);
  expect(answered[0]).toMatchObject({ answer: { type: "refused", code: "QUEUE_FULL" } });
  const before = sent.length;
  for (let askId = 0; askId < 1_000; askId++)
    asks.forward({ type: "local", askId: 30_000 + askId }, B, { type: "node-status" }, 30_000);
  expect(sent.length - before).toBe(1_000);
});

test("P5: an answer that is too large for a link is refused in its place, so that the asker does not wait for it", () => {
  asks.answer({ type: "peer", name: B, askId: 3 }, { type: "apps", apps: [] });
  asks.unsent(B, sent[0] as Answer);
  expect(sent[1]).toMatchObject({ type: "answer", askId: 3, answer: { type: "refused", code: "PAYLOAD_TOO_LARGE" } });
  asks.unsent(B, sent[1] as Answer);
  expect(sent).toHaveLength(2);
});
