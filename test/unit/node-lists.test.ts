/** Lists of a node that has not loaded all that it owns, or of which a partition refuses. */

import { expect, test } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import { foundRing } from "../../ring/founding.ts";
import type { MemberId, NodeName, RingId } from "../../ring/ids.ts";
import { type AnswerParts, Answers } from "../../ring/node/answers.ts";
import type { Asker } from "../../ring/node/asks.ts";
import type { Here } from "../../ring/node/here.ts";
import type { NodeAnswer, NodeRequest } from "../../ring/node/requests.ts";
import { partitionOfId } from "../../ring/tasks/task-id.ts";

const self = "a" as NodeName;
const asker: Asker = { type: "local", askId: 1 };

test("P6: a list of a node that still loads a partition does not look whole", () => {
  // Partition 1 may hold dead letters and is not loaded yet.
  const { ask, answered } = begin({ loaded: [0] });
  ask();
  expect(answered([{ type: "tasks", statuses: [] }])).not.toEqual([WHOLE]);
});

test("P6: what one of many partitions refuses is not left out of a list", () => {
  const { ask, answered } = begin({ loaded: [0, 1, 2, 3, 4, 5, 6, 7] });
  ask();
  const refused = { type: "refused", code: "NOT_OWNER", detail: "partition 7 is not served here" };
  const parts = Array.from({ length: 7 }, () => ({ type: "tasks", statuses: [] }));
  expect(answered([...parts, refused])).not.toEqual([WHOLE]);
});

test("a list over all that a node owns is whole", () => {
  const { ask, answered } = begin({ loaded: [0, 1, 2, 3, 4, 5, 6, 7] });
  ask();
  expect(answered(Array.from({ length: 8 }, () => ({ type: "tasks", statuses: [] })))).toEqual([WHOLE]);
});

test("P1: what changes dead letters of all partitions is asked of those that are served, under a lease, and says what is missing", () => {
  const request = { type: "local-tasks", request: { type: "retry-dead", ids: ["0".repeat(32)] } } as const;
  const { ask, answered, asked } = begin({ loaded: [0, 1, 2, 3, 4, 5, 6, 7], serving: [2, 3] });
  ask(request);
  expect(asked).toEqual([2, 3]);
  const counts = [0, 1].map((count) => ({ type: "count", count }));
  expect(answered(counts)).toEqual([{ type: "task", answer: { type: "count", count: 1 }, missing: 6 }]);
  const parked = begin({ loaded: [0], serving: [] });
  parked.ask(request);
  expect(parked.answered([])).toEqual([{ type: "task", answer: { type: "count", count: 0 }, missing: 8 }]);
  const without = begin({ loaded: [0], serving: [0], leaseMs: 0 });
  without.ask(request);
  expect(without.answered([])).toMatchObject([{ type: "refused", code: "NO_LEASE" }]);
});

test("P8: a dead letter that lies where its id leads was retried there already, and is not once more with those that lie elsewhere", () => {
  const ids = Array.from({ length: 16 }, (_, index) => index.toString(16).repeat(32));
  const { ask, wanted } = begin({ loaded: [0, 1, 2, 3, 4, 5, 6, 7] });
  ask({ type: "local-tasks", request: { type: "retry-dead", ids } });
  expect(wanted).toHaveLength(8);
  for (const [partition, request] of wanted.entries())
    expect(request).toEqual({ type: "retry-dead", ids: ids.filter((id) => partitionOfId(id, 8) !== partition) });
  expect(ids.filter((id) => partitionOfId(id, 8) === 7)).not.toEqual([]);
});

const WHOLE = { type: "task", answer: { type: "tasks", statuses: [] } };

/** A node that owns eight partitions. Its answers may say in any way that they are not whole. */
function begin({
  loaded,
  serving = loaded,
  leaseMs = 1,
}: {
  readonly loaded: readonly number[];
  readonly serving?: readonly number[];
  readonly leaseMs?: number;
}) {
  const asked: number[] = [];
  const answers: NodeAnswer[] = [];
  const requests: number[] = [];
  const wanted: object[] = [];
  const here = { self, now: 0, document: ring(), linked: () => true, note: () => {} } as unknown as Here;
  const node = new Answers(here, {
    asks: { answer: (_asker: Asker, answer: NodeAnswer) => void answers.push(answer) },
    hosting: {
      partitions: () => [0, 1, 2, 3, 4, 5, 6, 7],
      loaded: (partition: number) => loaded.includes(partition),
      serving: (partition: number) => serving.includes(partition),
    },
    engine: {
      request: (_now: number, partition: number, request: object, id: number) => {
        asked.push(partition);
        wanted.push(request);
        requests.push(id);
      },
    },
    leaseMs: () => leaseMs,
  } as unknown as AnswerParts);
  const list = { type: "local-tasks", request: { type: "list-dead", limit: 10 } } as const;
  return {
    asked,
    wanted,
    ask: (request: NodeRequest = list) => node.ask(asker, request, { to: self, deadlineMs: 1_000 }),
    answered: (parts: readonly object[]) => {
      for (const [index, id] of requests.entries()) node.answered(id, parts[index] as never);
      return answers;
    },
  };
}

function ring(): RingDocument {
  return foundRing({
    ringId: "ring-1" as RingId,
    ringSize: 8,
    member: {
      name: self,
      id: "id-a" as MemberId,
      weight: 100,
      machine: "m",
      directory: "/data/a",
    } as Parameters<typeof foundRing>[0]["member"],
  });
}
