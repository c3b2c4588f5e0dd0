/** What happens to the rows of a partition when the disk refuses to drop them or to set them aside. */

import { beforeEach, expect, test } from "vitest";
import { RingError } from "../../../ring/errors.ts";
import type { Partition } from "../../../ring/ids.ts";
import { Clearing, type ClearingParts } from "../../../ring/io/store/clearing.ts";
import { keyOf } from "../../../ring/io/store/rows.ts";
import { TermTable } from "../../../ring/io/store/terms.ts";

const P: Partition = 3 as Partition;
const TERM = { history: 1, generation: 7, opens: 2 };

let rows: Map<string, Uint8Array>;
let aside: string[];
let terms: TermTable;
/** How many of the next steps find the disk full. */
let refusals: number;
/** Rows that were read. */
let looks: number;
let writesTwice: boolean;
let clearing: Clearing;

beforeEach(() => {
  looks = 0;
  writesTwice = false;
  rows = new Map(["one", "two"].map((name) => [name, new TextEncoder().encode(name)]));
  aside = [];
  refusals = 0;
  terms = new TermTable();
  terms.load(P, TERM);
  const writer = { put: () => {}, remove: (_space: number, key: Uint8Array) => void rows.delete(textOf(key)) };
  clearing = new Clearing({
    line: {
      submit: async ({ write }: { write(to: typeof writer): void }): Promise<void> => {
        if (refusals-- > 0) throw new RingError("QUEUE_FULL", "the disk is full");
        if (writesTwice) write({ put: () => {}, remove: () => {} }); // no room in its segment: nothing of it counts
        write(writer);
      },
    },
    journal: {
      *range({ start }: { readonly start: Uint8Array }) {
        for (const [name, stored] of [...rows]) {
          const key = keyOf(P, new TextEncoder().encode(name));
          if (Buffer.compare(key, start) < 0) continue;
          looks += 1;
          if (looks > 100_000) throw new Error("it goes round in circles");
          yield { key, stored };
        }
      },
    },
    terms,
    aside: {
      next: () => 1,
      begin: () => {},
      move: (_rows: unknown, _number: number, { stored }: { readonly stored: Uint8Array }) => {
        aside.push(textOf(stored));
        rows.delete(textOf(stored));
      },
      moved: () => {},
    },
    check: () => {},
  } as unknown as ClearingParts);
});

test("P1: rows that could not be set aside are not dropped by what comes next, and are set aside later", async () => {
  refusals = 1;
  const quarantined = clearing.quarantine(P, "a copy that nobody explains");
  const dropped = clearing.drop(P);
  await expect(quarantined).rejects.toMatchObject({ code: "QUEUE_FULL" });
  await expect(dropped).rejects.toMatchObject({ code: "QUEUE_FULL" });
  expect([...rows.keys()]).toEqual(["one", "two"]);
  await clearing.quarantine(P, "a copy that nobody explains");
  await clearing.drop(P);
  expect(aside).toEqual(["one", "two"]);
  expect(rows.size).toBe(0);
});

test("a partition keeps its term while its rows are still there", async () => {
  refusals = 1;
  await expect(clearing.quarantine(P, "a test")).rejects.toMatchObject({ code: "QUEUE_FULL" });
  expect(terms.get(P)).toEqual(TERM);
  await clearing.drop(P);
  expect(terms.get(P)).toBeUndefined();
});

function fill(count: number): void {
  rows = new Map();
  for (let index = 0; index < count; index++) rows.set(String(index).padStart(4, "0"), Uint8Array.of(1));
}

test("a large partition goes in small steps, and none reads again what went before", async () => {
  fill(1_000);
  const removed: string[] = [];
  rows.delete = (name) => removed.push(name) > 0; // what is removed lies in the database a while longer
  await clearing.drop(P);
  expect(removed.slice(0, -1)).toEqual([...rows.keys()]); // the last is the term
  expect(looks).toBeLessThan(1_010);
});

test("a step that has to be written again begins where it began", async () => {
  fill(500);
  writesTwice = true;
  await clearing.drop(P);
  expect(rows.size).toBe(0);
});

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
