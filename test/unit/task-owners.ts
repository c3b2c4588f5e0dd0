/** Owners of one partition, one after another, and what each left in its directory. */

import { hashKey } from "../../ring/hash.ts";
import type { Partition } from "../../ring/ids.ts";
import type { TaskType } from "../../ring/tasks/definition.ts";
import type { TaskRecord } from "../../ring/tasks/task.ts";
import { catalogue, partitionOf, taskType, World } from "../property/task-world.ts";
import { newest } from "./task-looks.ts";

export const types: TaskType[] = [taskType("work"), taskType("plain", { state: "none" })];

/** Of key `k` of app `a`. */
export const P: Partition = partitionOf(hashKey("a", "k"));

/** The first one finds nothing older; for others older rows are away, unless it is said otherwise. */
export function owner(
  generation: number,
  more: { older?: "away" | "awaited"; limits?: object; apps?: ReturnType<typeof catalogue> } = {},
): World {
  const { older = "away", limits = {}, apps = catalogue({ types }) } = more;
  const world = new World({ seed: generation, apps, limits });
  world.generation = generation;
  if (generation > 1) world.crash(older);
  return world;
}

export function absorb(world: World, from: World, behind: boolean = true): void {
  const rows = from.partitionRows(P);
  const { generation } = from;
  world.call((engine) => engine.absorb(world.now, P, rows, { behind, generation, marks: new Map(), isLast: true }));
  world.sync();
}

/** A task that is a dead letter at once. */
export function fails(world: World, more: object = {}): TaskRecord {
  const record = world.record({ app: "a", type: "plain", key: "k", ...more });
  world.submit(record);
  world.sync();
  world.end(newest(world), { type: "failed", error: { name: "E", message: "" }, permanent: true });
  world.sync();
  return record;
}

/** How many dead letters the partition has. */
export function dead(world: World): number {
  const answer = world.ask("a", "k", { type: "list-dead", limit: 9 });
  return (answer as unknown as { statuses: unknown[] }).statuses.length;
}
