/** Children that their owner refused, in directories that come again: each is one dead letter, until an operator decides. */

import { expect, test } from "vitest";
import type { SubmitOutcome } from "../../ring/tasks/task.ts";
import type { World } from "../property/task-world.ts";
import { newest } from "./task-looks.ts";
import { absorb, dead, owner, P } from "./task-owners.ts";

/** A parent that is done, and a child that waits to be sent. */
function left() {
  const world = owner(1);
  world.submit(world.record({ app: "a", type: "work", key: "k" }));
  world.sync();
  const child = world.record({ app: "a", type: "gone", key: "z" });
  const wire = child.bytes.slice(child.start, child.end);
  world.done(newest(world), { children: [{ id: child.id, wire }] });
  world.sync();
  return { world, child };
}

function sent(world: World, outcome: SubmitOutcome) {
  const tasks = world.outbox.splice(0);
  for (const { partition, outboxId } of tasks)
    world.call((engine) => engine.childSent(world.now, partition, outboxId, outcome));
  world.sync();
  return tasks.length;
}
const refused: SubmitOutcome = { type: "refused", code: "TASK_TYPE_UNKNOWN", detail: "" };

test("P1: a dead child that was sent again and taken does not come back with an older directory", () => {
  const { world: old, child } = left();
  sent(old, refused);
  const world = owner(2);
  absorb(world, old);
  world.ask("a", "k", { type: "retry-dead", ids: [child.id] });
  expect(sent(world, { type: "accepted", id: child.id })).toBe(1);
  absorb(world, old);
  expect(dead(world)).toBe(0);
});

test.each([true, false])("P1: one that waits to be sent again is sent, older first %s", (olderFirst) => {
  const { world: old, child } = left();
  sent(old, refused);
  const since = owner(2);
  absorb(since, old);
  since.ask("a", "k", { type: "retry-dead", ids: [child.id] });
  const world = owner(3);
  for (const each of olderFirst ? [old, since] : [since, old]) absorb(world, each);
  expect(dead(world)).toBe(0);
  expect(sent(world, refused)).toBe(1);
  expect(dead(world)).toBe(1);
  const next = owner(4);
  for (const each of [since, world]) absorb(next, each);
  sent(next, refused);
  expect(dead(next)).toBe(1);
});

test("P1: one that was dropped does not come back when it is found in an older outbox", () => {
  const { world: old, child } = left();
  const world = owner(2);
  absorb(world, old);
  sent(world, refused);
  world.ask("a", "k", { type: "drop-dead", ids: [child.id] });
  world.crash("away");
  absorb(world, old);
  expect(sent(world, refused)).toBe(0);
  expect(dead(world)).toBe(0);
});

test("P1: one that is found in an older outbox is not a second one, which a drop would leave", () => {
  const { world: old, child } = left();
  const world = owner(2);
  absorb(world, old);
  sent(world, refused);
  world.crash("away");
  absorb(world, old);
  sent(world, refused);
  expect(world.engine.stats().dead).toBe(1);
  world.ask("a", "k", { type: "drop-dead", ids: [child.id] });
  world.call((engine) => engine.olderDone(world.now, P));
  world.sync();
  world.crash("none");
  expect([dead(world), world.engine.stats().dead]).toEqual([0, 0]);
});
