/** The table of what is known by id agrees with a `Map` over random operations. */

import { expect, test } from "vitest";
import { IdTable } from "../../ring/tasks/id-table.ts";
import { bitsOfId, idOfBits } from "../../ring/tasks/task-id.ts";
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
        const made = { id, idHash: table.hash(bitsOfId(id)) };
        table.set(made);
        model.set(id, made);
      }
      expect(table.size).toBe(model.size);
    }
    expect(new Set(table.values())).toEqual(new Set(model.values()));
  }
});

test("P5: ids that differ anywhere, in their first digits alone too, lie apart", () => {
  const table = new IdTable<Entry>(7);
  for (const at of [0, 4, 12, 20, 28]) {
    const ids = Array.from(
      { length: 4_096 },
      (_, number) =>
        "0190a1b2c3d4e5f60718293a4b5c6d7e".slice(0, at) +
        number.toString(16).padStart(4, "0") +
        "0190a1b2c3d4e5f60718293a4b5c6d7e".slice(at + 4),
    );
    expect(new Set(ids.map((id) => table.hash(bitsOfId(id)))).size, `digits from ${at}`).toBeGreaterThan(4_090);
  }
});

test("an id is its bits", () => {
  for (const id of [
    "0".repeat(32),
    "f".repeat(32),
    "0190a1b2c3d4e5f60718293a4b5c6d7e",
    "80000000ffffffff7fffffff00000001",
  ])
    expect(idOfBits(bitsOfId(id))).toBe(id);
});
