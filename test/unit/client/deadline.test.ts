/** What a caller says of how long it is willing to wait, and what its own function throws, hold up nobody else. */

import { afterEach, expect, test, vi } from "vitest";
import type { Entry } from "../../../services/client/entry.ts";
import { connect } from "../../../services/client/index.ts";
import { SubmitSink } from "../../../services/client/submit-sink.ts";
import type { Submitter } from "../../../services/client/submitter.ts";

const TASK = { app: "shop", type: "order", key: "k" };
const NO_TIMES = [Number.NaN, -1, "soon" as unknown as number];

afterEach(() => void vi.unstubAllGlobals());

test.each(NO_TIMES)("a deadline of %s is refused: no wait would end by it", async (deadlineMs) => {
  await using client = connect({ addresses: ["127.0.0.1:1"] });
  const refusal = { code: "INVALID_ARGUMENT" };
  await expect(client.submit(TASK, { deadlineMs })).rejects.toMatchObject(refusal);
  await expect(client.submitMany([TASK], { deadlineMs })).rejects.toMatchObject(refusal);
  expect(() => client.openSink({ deadlineMs })).toThrow(expect.objectContaining(refusal));
  await expect(client.ready({ deadlineMs })).rejects.toMatchObject(refusal);
  await expect(client.watch("0".repeat(32), { deadlineMs })[Symbol.asyncIterator]().next()).rejects.toMatchObject(
    refusal,
  );
});

test("outcomes are told to the end though the function that hears of them throws", async () => {
  const thrown: (() => void)[] = [];
  vi.stubGlobal("queueMicrotask", (run: () => void) => void thrown.push(run));
  const entries: Entry[] = [];
  const submitter = {
    room: true,
    push: (_task: unknown, target: unknown, { index }: { index: number }) =>
      void entries.push({ target, index } as Entry),
  } as unknown as Submitter;
  const sink = new SubmitSink(submitter, {
    onOutcome: (index) => {
      if (index === 0) throw new Error("not mine");
    },
  });
  sink.push(TASK);
  sink.push(TASK);
  const drained = sink.drained();
  for (const entry of entries) sink.settled(entry);
  await drained;
  expect(sink.counts.accepted).toBe(2);
  expect(thrown).toHaveLength(1);
  expect(thrown[0]).toThrow("not mine");
});
