/** What nodes answer about tasks that they do not know about any more. */

import { expect, test } from "vitest";
import { hashKey, partitionOfHash } from "../../ring/hash.ts";
import type { NodeAnswer } from "../../ring/node/requests.ts";
import { Scene } from "../simulation/scene.ts";

test("P1: a node that lost its lease and does not know its successor does not say that a task is not there", () => {
  const scene = new Scene({ nodes: 3, apart: true });
  scene.begin();
  const [first, second] = scene.hosts;
  const owners = scene.document()!.owners;
  const partition = owners.indexOf(first!.name);
  const key = Array.from({ length: 1_000 }, (_, index) => `k${index}`).find(
    (name) => partitionOfHash(hashKey("alpha", name), 8) === partition,
  )!;
  scene.isolate(first!);
  scene.until(() => !(scene.document(2)?.owners.includes(first!.name) ?? true), 30_000);
  scene.submit(second!, 1, () => key);
  scene.until(() => scene.accepted() === 1, 10_000);
  const [outcome] = [...scene.outcomes.values()];
  const id = outcome?.type === "accepted" ? outcome.id : "";
  expect(first!.machine!.holdsLease(first!.clock)).toBe(false);
  const answers: NodeAnswer[] = [];
  first!.onAnswer = (_id, answer) => void answers.push(answer);
  scene.ask(first!, { type: "task", partition: partition as never, request: { type: "get", id } });
  scene.pass(10);
  expect(answers).toHaveLength(1);
  expect(answers[0]).not.toMatchObject({ code: "TASK_NOT_FOUND" });
  // And what it is asked to change, it does not do as if it were the owner.
  scene.ask(first!, {
    type: "task",
    partition: partition as never,
    request: { type: "key", app: "alpha", key, action: "pause" } as never,
  });
  scene.pass(50);
  expect(answers[1]).not.toMatchObject({ type: "task" });
});

test("P1: a task that waits on the disk of an absent machine is not answered with: there is no such task", () => {
  const scene = new Scene({ nodes: 3, running: 1, apart: true });
  scene.begin();
  const [first] = scene.hosts;
  const owners = scene.document()!.owners;
  const partition = owners.indexOf(first!.name);
  const key = Array.from({ length: 1_000 }, (_, index) => `k${index}`).find(
    (name) => partitionOfHash(hashKey("alpha", name), 8) === partition,
  )!;
  scene.submit(first!, 2_000, () => key);
  scene.until(() => scene.accepted() === 2_000, 5_000);
  const last = scene.outcomes.get(2_000);
  const id = last?.type === "accepted" ? last.id : "";
  first!.crash();
  scene.until(() => !(scene.document(2)?.owners.includes(first!.name) ?? true), 30_000);
  scene.pass(2_000);
  expect(scene.document(2)?.stranded.some((entry) => entry.partition === partition)).toBe(true);
  const answers: NodeAnswer[] = [];
  scene.host(2).onAnswer = (_id, answer) => void answers.push(answer);
  scene.ask(scene.host(2), { type: "task", partition: partition as never, request: { type: "get", id } });
  scene.pass(100);
  expect(answers).toHaveLength(1);
  expect(answers[0]).not.toMatchObject({ code: "TASK_NOT_FOUND" });
});

test("P8: a list over partitions leaves none out without a word", () => {
  const scene = new Scene({ nodes: 3 });
  scene.begin();
  const second = scene.host(2);
  const answers: NodeAnswer[] = [];
  second.onAnswer = (_id, answer) => void answers.push(answer);
  // A drained member has no partitions: it has no schedules either.
  scene.ask(second, { type: "drain", name: second.name, drain: true });
  scene.until(() => !(scene.document()?.owners.includes(second.name) ?? true), 30_000);
  scene.pass(1_000);
  answers.length = 0;
  scene.ask(second, { type: "local-tasks", request: { type: "list-schedules", limit: 10 } });
  scene.pass(10);
  expect(answers).toMatchObject([{ type: "task", answer: { type: "schedules", schedules: [] } }]);
});
