/** Lists over all partitions of a node as one page. */

import { expect, test } from "vitest";
import type { NodeName, Partition } from "../../ring/ids.ts";
import { encodeMessage } from "../../ring/io/peer/frame.ts";
import { PEER_LIMITS } from "../../ring/io/peer/limits.ts";
import { merged } from "../../ring/node/gathering.ts";
import type { TaskAnswer } from "../../ring/tasks/engine-contract.ts";
import type { TaskStatus } from "../../ring/tasks/task.ts";

const asker = { type: "peer", name: "b" as NodeName, askId: 1 } as const;

function dead(index: number, stackLength: number): TaskStatus {
  return {
    id: index.toString(16).padStart(32, "0"),
    app: "acme",
    type: "mail.send",
    key: `k${index}`,
    state: "dead",
    attempts: 3,
    partition: (index % 8) as Partition,
    acceptedAtMs: 1_700_000_000_000,
    error: { name: "Error", message: "it broke", stack: "ü".repeat(stackLength) },
  };
}

/** Two partitions with every other one of them. */
function answersOf(statuses: readonly TaskStatus[]): TaskAnswer[] {
  return [0, 1].map((odd) => ({ type: "tasks", statuses: statuses.filter((_, index) => index % 2 === odd) }));
}

test("P5: a page of dead tasks fits into a message between nodes, and the pages together hold all of them", () => {
  let left = Array.from({ length: 1_000 }, (_, index) => dead(index, 4_000));
  const seen: string[] = [];
  for (let pages = 0; left.length > 0 && pages < 20; pages++) {
    const answer = merged({ asker, limit: 1_000, paged: true, missing: 0, answers: answersOf(left) });
    if (answer.type !== "tasks") throw new Error(answer.type);
    const message = encodeMessage({ type: "answer", askId: 1, answer: { type: "task", answer } });
    expect(message.length).toBeLessThan(PEER_LIMITS.messageBytes);
    seen.push(...answer.statuses.map(({ id }) => id));
    const { next } = answer;
    left = next === undefined ? [] : left.filter(({ id }) => id > next);
  }
  expect(seen).toEqual(Array.from({ length: 1_000 }, (_, index) => dead(index, 0).id));
});

test("a list that nobody goes on with is cut by its limit only", () => {
  const all = Array.from({ length: 1_000 }, (_, index) => dead(index, 4_000));
  const answer = merged({ asker, limit: 999, paged: false, missing: 0, answers: answersOf(all) });
  expect(answer).toMatchObject({ type: "tasks", next: all[998]!.id });
  expect(answer.type === "tasks" ? answer.statuses : []).toHaveLength(999);
});

test("one task that is larger than a page is a page", () => {
  const all = [dead(0, 3_000_000), dead(1, 10)];
  const answer = merged({ asker, limit: 100, paged: true, missing: 0, answers: answersOf(all) });
  expect(answer).toMatchObject({ type: "tasks", statuses: [{ id: all[0]!.id }], next: all[0]!.id });
});
