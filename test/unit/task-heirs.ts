/** Owners of a partition to which tasks of an earlier owner come. */

import type { catalogue } from "../property/task-world.ts";
import { World } from "../property/task-world.ts";

export function owner(options: {
  older: "awaited" | "away";
  generation?: number;
  apps?: ReturnType<typeof catalogue>;
  limits?: object;
}): World {
  const world = new World({
    seed: 2,
    ...(options.apps === undefined ? {} : { apps: options.apps }),
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  });
  world.generation = options.generation ?? 2;
  world.crash(options.older);
  return world;
}

export function absorb(
  world: World,
  partition: number,
  rows: ReturnType<World["partitionRows"]>,
  behind: boolean,
  isLast = true,
  m: Map<string, number> = new Map(),
): void {
  world.call((engine) =>
    engine.absorb(world.now, partition as never, rows, { behind, generation: 1, marks: m, isLast }),
  );
}
