/** What tests of the task engine look at in its world. */

import type { AppName } from "../../ring/ids.ts";
import type { Attempt } from "../../ring/tasks/task.ts";
import type { World } from "../property/task-world.ts";

export const A = "a" as AppName;

export function keysOf(world: World): string[] {
  return world.started.map((attempt) => attempt.record.key);
}

export function newest(world: World): Attempt {
  return world.started.at(-1) as Attempt;
}

export function outcomeOf(world: World, token: number): unknown {
  return world.outcomes.get(token);
}
