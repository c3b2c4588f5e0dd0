/** Children of tasks: written with their parent's end, sent until they are accepted. */

import { describe, expect, test } from "vitest";
import type { Attempt } from "../../ring/tasks/task.ts";
import { deriveId } from "../../ring/tasks/task-id.ts";
import { World } from "../property/task-world.ts";
import { newest, outcomeOf } from "./task-looks.ts";

describe("children", () => {
  function parent(world: World): Attempt {
    world.submit(world.record({ app: "a", type: "work", key: "p" }));
    world.sync();
    return newest(world);
  }
  function child(world: World, seed: string): { id: string; wire: Uint8Array } {
    const id = deriveId({ app: "b", key: "c", seed });
    return { id, wire: world.record({ app: "b", type: "plain", key: "c", id }).wire };
  }

  test("P1: are sent when durable with the parent's ack, again after a restart, until their owner has them", () => {
    const world = new World({ seed: 1 });
    world.done(parent(world), { children: [child(world, "1"), child(world, "2")] });
    expect(world.outbox).toHaveLength(0);
    world.sync();
    expect(world.outbox).toHaveLength(2);
    world.crash();
    expect(world.outbox).toHaveLength(2);
    const [first, second] = world.outbox.splice(0);
    world.call((engine) =>
      engine.childSent(world.now, first!.partition, first!.outboxId, { type: "accepted", id: first!.record.id }),
    );
    world.call((engine) =>
      engine.childSent(world.now, second!.partition, second!.outboxId, {
        type: "refused",
        code: "QUEUE_FULL",
        detail: "",
      }),
    );
    world.run(200);
    expect(world.outbox.map((each) => each.record.id)).toEqual([second!.record.id]);
    world.call((engine) =>
      engine.childSent(world.now, second!.partition, world.outbox[0]!.outboxId, {
        type: "duplicate",
        id: "",
        state: "done",
      }),
    );
    world.sync();
    world.crash();
    expect(world.outbox).toHaveLength(0);
  });

  test("of a failed attempt are not sent", () => {
    const world = new World({ seed: 1 });
    world.end(
      parent(world),
      { type: "failed", error: { name: "E", message: "" }, permanent: true },
      { children: [child(world, "1")] },
    );
    world.run(1_000);
    expect(world.outbox).toHaveLength(0);
  });

  test("that are refused for good become dead letters at their parent, and a retry sends them again", () => {
    const world = new World({ seed: 1 });
    world.done(parent(world), { children: [child(world, "1")] });
    world.sync();
    const [sent] = world.outbox.splice(0);
    world.call((engine) =>
      engine.childSent(world.now, sent!.partition, sent!.outboxId, {
        type: "refused",
        code: "TASK_TYPE_UNKNOWN",
        detail: "no",
      }),
    );
    world.sync();
    world.crash();
    expect(world.ask("a", "p", { type: "list-dead", limit: 5 })).toMatchObject({
      statuses: [{ id: sent!.record.id, error: { name: "TASK_TYPE_UNKNOWN" } }],
    });
    expect(world.ask("a", "p", { type: "retry-dead", ids: [sent!.record.id] })).toEqual({ type: "count", count: 1 });
    expect(world.outbox.map((each) => each.record.id)).toEqual([sent!.record.id]);
  });

  test("are accepted once at their owner, also when both sides restart", () => {
    const world = new World({ seed: 1 });
    const { wire } = child(world, "1");
    const record = world.record({ app: "b", type: "plain", key: "c", id: deriveId({ app: "b", key: "c", seed: "1" }) });
    expect([...record.wire]).toEqual([...wire]);
    world.submit(record, "child");
    world.sync();
    world.done(newest(world));
    world.sync();
    world.crash();
    expect(outcomeOf(world, world.submit(record, "child"))).toMatchObject({ type: "duplicate", state: "done" });
  });
});

test("P4: children whose owner is long in answering do not keep those of other apps from leaving", () => {
  const world = new World({ seed: 1, limits: { outboxInFlight: 10 } });
  const parent = (app: string, count: number): void => {
    world.submit(world.record({ app, type: "plain", key: "parent" }));
    world.sync();
    const children = Array.from({ length: count }, (_, index) =>
      world.record({ app, type: "plain", key: `k${index}` }),
    );
    world.done(world.started.at(-1) as Attempt, { children: children.map(({ id, wire }) => ({ id, wire })) });
    world.sync();
  };
  parent("a", 30);
  parent("b", 1);
  expect(world.outbox.map(({ record }) => record.app)).toEqual([..."aaaaaaaa", "b"]);
  for (let sent = 0; sent < world.outbox.length; sent++) {
    const { partition, outboxId, record } = world.outbox[sent]!;
    world.call((engine) => engine.childSent(world.now, partition, outboxId, { type: "accepted", id: record.id }));
  }
  expect(world.outbox).toHaveLength(31);
  expect(world.engine.stats().outbox).toBe(0);
});
