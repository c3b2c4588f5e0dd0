/** The table of what is known by id agrees with a `Map` over random operations. */

import { expect, test } from "vitest";
import { IdTable } from "../../ring/tasks/id-table.ts";
import { seeded } from "../property/task-world.ts";

interface Entry {
  readonly id: string;
  readonly idHash: number;
}

test("every id is found, and only while it is there, whatever else comes and goes", () => {
  for (const seed of [1, 2, 3]) {
    const random = seeded(seed);
    const table = new IdTable<Entry>(seed);
    const model = new Map<string, Entry>();
    for (let step = 0; step < 4_000; step++) {
      const id = Math.floor(random() * 600)
        .toString(16)
        .padStart(32, "0");
      const known = model.get(id);
      expect(table.get(id)).toBe(known);
      if (known !== undefined && random() < 0.6) {
        table.delete(known);
        model.delete(id);
      } else {
        const made = { id, idHash: table.hash(id) };
        table.set(made);
        model.set(id, made);
      }
      expect(table.size).toBe(model.size);
    }
    expect(new Set(table.values())).toEqual(new Set(model.values()));
  }
});
