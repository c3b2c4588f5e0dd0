/** Questions of this process that are asked again, because the partition has moved meanwhile. */

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Partition } from "../../ring/ids.ts";
import { Questions } from "../../ring/io/questions.ts";
import type { NodeEvent } from "../../ring/node/effects.ts";
import type { NodeAnswer, NodeRequest } from "../../ring/node/requests.ts";

type Asked = Extract<NodeEvent, { readonly type: "ask" }>;

const MOVED: NodeAnswer = { type: "refused", code: "NOT_OWNER", detail: "partition 3 has moved" };
const ANSWER: NodeAnswer = { type: "ok" };

let asked: Asked[];
let questions: Questions;

beforeEach(() => {
  vi.useFakeTimers();
  asked = [];
  questions = new Questions((event) => void asked.push(event as Asked));
});

afterEach(() => {
  vi.useRealTimers();
});

function wait(timeoutMs: number): NodeRequest {
  return { type: "task", partition: 3 as Partition, request: { type: "wait", id: "a".repeat(32), timeoutMs } };
}

/** After so long, the newest question is answered like that. */
async function answer(afterMs: number, reply: NodeAnswer): Promise<void> {
  await vi.advanceTimersByTimeAsync(afterMs);
  questions.answered(asked.at(-1)!.askId, reply);
  await vi.advanceTimersByTimeAsync(100);
}

test("a wait whose task has moved is asked again for what is left of its time, so that it is answered before its deadline", async () => {
  const ended = questions.ask(wait(15_000), { deadlineMs: 17_000 });
  await answer(10_000, MOVED);
  await answer(2_000, MOVED);
  expect(asked.map(({ request }) => request)).toEqual([wait(15_000), wait(4_950), wait(2_850)]);
  for (const { request, deadlineMs } of asked)
    expect(deadlineMs).toBeGreaterThanOrEqual(
      (request as { request: { timeoutMs: number } }).request.timeoutMs + 2_000,
    );
  await answer(2_850, ANSWER);
  expect(await ended).toEqual(ANSWER);
});

test("a wait that has moved after its time asks how the task is", async () => {
  const ended = questions.ask(wait(1_000), { deadlineMs: 3_000 });
  await answer(1_500, MOVED);
  expect(asked.at(-1)!.request).toEqual(wait(0));
  await answer(0, ANSWER);
  expect(await ended).toEqual(ANSWER);
});

test("what else has moved is asked again as it was", async () => {
  const request: NodeRequest = {
    type: "task",
    partition: 3 as Partition,
    request: { type: "get", id: "a".repeat(32) },
  };
  const ended = questions.ask(request, { deadlineMs: 5_000 });
  await answer(1_000, MOVED);
  await answer(0, ANSWER);
  expect(await ended).toEqual(ANSWER);
  expect(asked.map((each) => each.request)).toEqual([request, request]);
});
