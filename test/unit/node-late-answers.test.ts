/** Answers to what a process asked that is gone: they come to the next one of its name. */

import { expect, test } from "vitest";
import { hashKey, partitionOfHash } from "../../ring/hash.ts";
import type { Partition } from "../../ring/ids.ts";
import type { NodeMessage } from "../../ring/node/messages.ts";
import type { NodeAnswer } from "../../ring/node/requests.ts";
import { Scene } from "../simulation/scene.ts";

function begun(): { readonly scene: Scene; readonly partition: Partition; readonly key: string } {
  const scene = new Scene({ nodes: 2, running: 1 });
  scene.begin();
  const partition = scene.document()!.owners.indexOf(scene.host(1).name) as Partition;
  const key = Array.from({ length: 1_000 }, (_, index) => `k${index}`).find(
    (name) => partitionOfHash(hashKey("alpha", name), 8) === partition,
  )!;
  return { scene, partition, key };
}

test("P1: the answer to a question of the process before is not taken for one to a question of this one", () => {
  const { scene, partition, key } = begun();
  scene.submit(scene.host(1), 5_000, () => key);
  scene.until(() => scene.accepted() === 5_000, 10_000);
  const ids = [...scene.outcomes.values()].flatMap((outcome) => (outcome.type === "accepted" ? [outcome.id] : []));
  const [before, now] = [ids.at(-1)!, ids.at(-2)!];
  const answers: NodeAnswer[] = [];
  const wait = (id: string, timeoutMs: number): void =>
    scene.ask(scene.host(2), { type: "task", partition, request: { type: "wait", id, timeoutMs } });
  wait(before, 4_000);
  scene.pass(10);
  scene.host(2).crash();
  scene.restart(scene.host(2));
  scene.host(2).onAnswer = (_id, answer) => void answers.push(answer);
  scene.pass(2_000);
  for (let index = 0; index < 20; index++) wait(now, 5_000);
  scene.pass(6_000);
  expect(answers.length).toBeGreaterThanOrEqual(20);
  const told = answers.flatMap((answer) =>
    answer.type === "task" && answer.answer.type === "task" ? [answer.answer.status.id] : [],
  );
  expect(new Set(told)).toEqual(new Set([now]));
});

test("P1: an owner's word on what the process before had forwarded acknowledges nothing of this one", () => {
  const { scene, key } = begun();
  const host = scene.host(2);
  const forwarded: number[] = [];
  const { send } = host.wires;
  host.wires.send = (to, message: NodeMessage) => {
    if (message.type !== "forward") send.call(host.wires, to, message);
    else forwarded.push(message.forwardId); // and it is lost
  };
  scene.submit(host, 1, () => key);
  expect(forwarded).toHaveLength(1);
  host.crash();
  scene.restart(host);
  scene.pass(2_000);
  scene.submit(host, 1, () => key);
  expect(forwarded).toHaveLength(2);
  host.step({
    type: "messages",
    from: scene.host(1).name,
    messages: [
      {
        type: "forwarded",
        forwardId: forwarded[0]!,
        epoch: scene.document()!.epoch,
        outcomes: [{ type: "accepted", id: "first" }],
      },
    ],
  });
  expect(scene.outcomes.get(2)).toBeUndefined();
});

test("P1: nor does one on what a process had forwarded that was gone before its disk knew of its start", () => {
  const { scene, key } = begun();
  const host = scene.host(2);
  const forwarded: number[] = [];
  const { send } = host.wires;
  host.wires.send = (to, message: NodeMessage) => {
    if (message.type !== "forward") send.call(host.wires, to, message);
    else forwarded.push(message.forwardId);
  };
  const starts = host.disk.register?.starts;
  host.disk.registerBusyUntil = scene.agenda.now + 60_000;
  for (let start = 0; start < 2; start++) {
    host.crash();
    scene.restart(host);
    scene.pass(2_000);
    scene.submit(host, 1, () => key);
  }
  expect(host.disk.register?.starts).toBe(starts);
  expect(forwarded).toHaveLength(2);
  expect(forwarded[1]).not.toBe(forwarded[0]);
});
