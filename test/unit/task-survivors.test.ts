/** No lane outlives its partition: a key whose tasks were cancelled while they waited works again when its partition comes back. */
import { expect, test } from "vitest";
import { hashKey } from "../../ring/hash.ts";
import type { AppName } from "../../ring/ids.ts";
import { partitionOf, World } from "../property/task-world.ts";
import { keysOf, outcomeOf } from "./task-looks.ts";

function reopen(world: World, key: string): void {
  const partition = partitionOf(hashKey("a", key));
  world.call((engine) => engine.close(world.now, partition));
  world.sync();
  world.opens++;
  world.call((engine) =>
    engine.open(world.now, partition, { history: 1, generation: world.generation, opens: world.opens }, "none"),
  );
  world.engine.load(partition, world.partitionRows(partition));
  world.call((engine) => engine.loaded(world.now, partition));
  world.sync();
}

test("P1: a key whose only task was cancelled while it was paused works when its partition comes back", () => {
  const world = new World({ seed: 1 });
  world.ask("a", "k", { type: "key", app: "a" as AppName, key: "k", action: "pause" });
  const record = world.record({ app: "a", type: "plain", key: "k" });
  world.submit(record);
  world.sync();
  expect(world.started).toHaveLength(0);
  world.ask("a", "k", { type: "cancel", id: record.id });
  world.ask("a", "k", { type: "key", app: "a" as AppName, key: "k", action: "describe" });
  reopen(world, "k");
  world.ask("a", "k", { type: "key", app: "a" as AppName, key: "k", action: "resume" });
  const token = world.submit(world.record({ app: "a", type: "plain", key: "k" }));
  world.sync();
  expect(outcomeOf(world, token)).toMatchObject({ type: "accepted" });
  expect(keysOf(world)).toEqual(["k"]);
});

test("P1: a key whose only task was cancelled while its partition was held works when that comes back", () => {
  const world = new World({ seed: 1 });
  const partition = partitionOf(hashKey("a", "k"));
  world.call((engine) => engine.hold(world.now, partition));
  const record = world.record({ app: "a", type: "plain", key: "k" });
  world.submit(record);
  world.sync();
  world.ask("a", "k", { type: "cancel", id: record.id });
  reopen(world, "k");
  const token = world.submit(world.record({ app: "a", type: "plain", key: "k" }));
  world.sync();
  expect(outcomeOf(world, token)).toMatchObject({ type: "accepted" });
  expect(keysOf(world)).toEqual(["k"]);
});

test("a key with state is read after its partition came back, whoever wrote it", () => {
  const world = new World({ seed: 1 });
  world.submit(world.record({ app: "a", type: "work", key: "k" }));
  world.sync();
  world.done([...world.running.values()][0]!, { stateChanges: [{ name: "n", value: Uint8Array.of(1) }] });
  world.sync();
  for (let turn = 0; turn < 3; turn++) {
    reopen(world, "k");
    world.submit(world.record({ app: "a", type: "work", key: "k" }));
    world.sync();
    const attempt = [...world.running.values()][0]!;
    expect(attempt.state.get("n")).toEqual(Uint8Array.of(turn + 1));
    world.done(attempt, { stateChanges: [{ name: "n", value: Uint8Array.of(turn + 2) }] });
    world.sync();
  }
});

test("P1: a key whose only task was cancelled while its state was read works when its partition comes back", () => {
  const world = new World({ seed: 1 });
  world.submit(world.record({ app: "a", type: "work", key: "k" }));
  world.sync();
  world.done([...world.running.values()][0]!, { stateChanges: [{ name: "n", value: Uint8Array.of(1) }] });
  world.sync();
  reopen(world, "k");
  world.started.length = 0;
  const record = world.record({ app: "a", type: "work", key: "k" });
  world.submit(record);
  world.closeGroup();
  world.syncUpTo(world.group); // the read of the state is asked for, and not answered
  expect(world.reads).toHaveLength(1);
  world.request("a", "k", { type: "cancel", id: record.id });
  world.closeGroup();
  world.syncUpTo(world.group);
  const late = world.reads.splice(0);
  reopen(world, "k");
  for (const { readId } of late) world.call((engine) => engine.stateLoaded(world.now, readId, []));
  const token = world.submit(world.record({ app: "a", type: "work", key: "k" }));
  world.sync();
  expect(outcomeOf(world, token)).toMatchObject({ type: "accepted" });
  expect(keysOf(world)).toEqual(["k"]);
});

test("P5: a lane of a paused key whose tasks are all cancelled is forgotten", () => {
  const world = new World({ seed: 1 });
  const before = world.engine.stats().queuedTasks;
  for (let n = 0; n < 3; n++) {
    const record = world.record({ app: "a", type: "plain", key: "k" });
    if (n === 0) world.ask("a", "k", { type: "key", app: "a" as AppName, key: "k", action: "pause" });
    world.submit(record);
    world.sync();
    world.ask("a", "k", { type: "cancel", id: record.id });
  }
  expect(world.engine.stats().queuedTasks).toBe(before);
  const answer = world.ask("a", "k", { type: "key", app: "a" as AppName, key: "k", action: "describe" });
  expect(answer).toMatchObject({ type: "key", key: { queued: 0 } });
});
