/** Tasks that wait let go of the message they came in, also when older ones come meanwhile. */

import { expect, test } from "vitest";
import { hashKey } from "../../ring/hash.ts";
import { isRefused, parseRecord } from "../../ring/tasks/record.ts";
import { encodeRecord } from "../../ring/tasks/record-encode.ts";
import type { TaskRecord } from "../../ring/tasks/task.ts";
import { mintId } from "../../ring/tasks/task-id.ts";
import { partitionOf, World } from "../property/task-world.ts";

const P = partitionOf(hashKey("a", "k"));

test.each([
  ["alone", false],
  ["while older tasks come", true],
])("P5: a waiting task is a copy after a moment: %s", (_, comes) => {
  const old = new World({ seed: 1 });
  old.submit(old.record({ app: "a", type: "work", key: "k" }));
  old.sync();
  const world = new World({ seed: 2 });
  world.generation = 2;
  world.run(3_600_000);
  world.crash("away");
  world.run(1_000);
  const first = world.record({ app: "a", type: "plain", key: "k" });
  world.submit(first);
  world.run(1_000);
  expect(world.running.size).toBe(1);
  // One of many in a message of 1 MiB.
  const id = mintId({ wallMs: world.wallMs, random: world.random, app: "a", key: "k" });
  const wire = encodeRecord({ app: "a", type: "plain", key: "k", id });
  const message = new Uint8Array(1_048_576);
  message.set(wire, 500_000);
  const record = parseRecord(message, 500_000, 500_000 + wire.length);
  if (isRefused(record)) throw new Error(record.detail);
  world.submit(record as TaskRecord);
  world.sync();
  if (comes) {
    world.call(
      (engine) =>
        void engine.absorb(world.now, P, old.partitionRows(P), {
          behind: true,
          generation: 1,
          marks: new Map(),
          isLast: true,
        }),
    );
    world.sync();
  }
  world.run(600_000 - 590_000);
  world.done([...world.running.values()][0]!);
  world.sync();
  const attempt = world.started.find((each) => each.record.id === id)!;
  expect((attempt.record as unknown as { bytes: Uint8Array }).bytes.buffer.byteLength).toBeLessThan(100_000);
});
