/** Row changes in numbered groups: what waits for a group, and whose changes enter it. */

import { describe, expect, test } from "vitest";
import type { Partition } from "../../ring/ids.ts";
import { Commits } from "../../ring/node/commits.ts";
import type { RowChange, RowGroup, Term } from "../../ring/store.ts";
import { Written } from "../../ring/tasks/written.ts";

const [P0, P1] = [0, 1] as Partition[] as [Partition, Partition];
const SILENT = { synced: () => {} };

function change(byte: number): RowChange {
  return { key: Uint8Array.of(byte), value: Uint8Array.of(byte) };
}

function commits(terms: Map<Partition, Term> = new Map([P0, P1].map((each) => [each, term(1)]))): Commits {
  return new Commits((partition) => terms.get(partition));
}

function term(opens: number): Term {
  return { history: 1, generation: 1, opens };
}

describe("commit groups", () => {
  test("P1: what waits for a group runs when that group is on disk, not with the one before it", () => {
    const all = commits();
    const ran: string[] = [];
    all.add(P0, change(1));
    all.whenSynced(() => void ran.push("first"));
    const first = all.flush()!;
    all.add(P0, change(2));
    all.whenSynced(() => void ran.push("second"));
    expect(all.flush()).toBeUndefined();
    expect(ran).toEqual([]);
    all.settled(first.group, SILENT);
    expect(ran).toEqual(["first"]);
    const second = all.flush()!;
    expect(second.groups.map(({ partition, changes }) => [partition, ...changes])).toEqual([[P0, change(2)]]);
    all.settled(second.group, SILENT);
    expect(ran).toEqual(["first", "second"]);
    expect(all.idle).toBe(true);
  });

  test("what waits with nothing to write runs after the commit in flight", () => {
    const all = commits();
    let ran = false;
    all.add(P0, change(1));
    const first = all.flush()!;
    all.whenSynced(() => {
      ran = true;
    });
    all.settled(first.group, SILENT);
    expect(ran).toBe(false);
    const empty = all.flush()!;
    expect(empty.groups).toEqual([]);
    all.settled(empty.group, SILENT);
    expect(ran).toBe(true);
  });

  test("P3: a change made before the partition was opened anew does not enter under the new term", () => {
    const terms = new Map([
      [P0, term(1)],
      [P1, term(1)],
    ]);
    const all = commits(terms);
    all.add(P0, change(1));
    all.add(P1, change(2));
    terms.set(P0, term(2));
    expect(all.flush()?.groups.map(({ partition }) => partition)).toEqual([P1]);
  });

  test("P1: what an engine wrote and what came otherwise leaves in the order in which it was added", () => {
    const all = commits();
    const written = new Written(P0);
    const byEngine = (value: number): void => {
      if (written.add(change(value))) all.collect(written);
    };
    byEngine(1);
    all.add(P0, change(2));
    byEngine(3);
    const first = all.flush()!;
    byEngine(4); // while the first is on its way
    expect(valuesOf(first)).toEqual([[P0, 1, 2, 3]]);
    all.settled(first.group, SILENT);
    const second = all.flush()!;
    expect(valuesOf(second)).toEqual([[P0, 4]]);
    all.settled(second.group, SILENT);
    all.add(P0, change(5));
    byEngine(6);
    all.add(P0, change(7));
    byEngine(8);
    all.add(P1, change(9));
    expect(valuesOf(all.flush()!)).toEqual([
      [P0, 5, 6, 7, 8],
      [P1, 9],
    ]);
  });

  test("P3: what an engine wrote before its partition was closed is nobody's, and what the next one wrote is not lost", () => {
    const terms = new Map([[P0, term(1)]]);
    const all = commits(terms);
    const [before, after] = [new Written(P0), new Written(P0)];
    if (before.add(change(1))) all.collect(before);
    terms.delete(P0);
    if (before.add(change(2))) all.collect(before);
    terms.set(P0, term(2));
    if (after.add(change(3))) all.collect(after);
    if (after.add(change(4))) all.collect(after);
    expect(valuesOf(all.flush()!)).toEqual([[P0, 3, 4]]);
  });

  test("P1: what is in flight stays as it is when others and then the engine write in the same partition", () => {
    const all = commits();
    const written = new Written(P0);
    const byEngine = (value: number): void => {
      if (written.add(change(value))) all.collect(written);
    };
    byEngine(1);
    const first = all.flush()!;
    all.add(P0, change(2)); // such as a seal
    byEngine(3);
    expect(valuesOf(first)).toEqual([[P0, 1]]);
    const heard: number[] = [];
    all.settled(first.group, { synced: (_, changes) => void heard.push(...[...changes].map(({ key }) => key[0]!)) });
    expect(heard).toEqual([1]);
    expect(valuesOf(all.flush()!)).toEqual([[P0, 2, 3]]);
  });

  test("P1: what is in flight stays as it is when the engine writes in a partition that is closed", () => {
    const terms = new Map([[P0, term(1)]]);
    const all = commits(terms);
    const written = new Written(P0);
    if (written.add(change(1))) all.collect(written);
    const first = all.flush()!;
    terms.delete(P0);
    if (written.add(change(2))) all.collect(written);
    expect(valuesOf(first)).toEqual([[P0, 1]]);
  });

  test("P1: what is written in the very step in which a commit is settled is in the next one", () => {
    const all = commits();
    const written = new Written(P0);
    let told: Written[] = [];
    const write = (value: number): void => {
      if (written.add(change(value))) told.push(written);
    };
    const drain = (): void => {
      for (const each of told) all.collect(each);
      told = [];
    };
    write(1);
    drain();
    const first = all.flush()!;
    all.add(P0, change(2));
    write(3);
    drain();
    write(4);
    all.settled(first.group, SILENT);
    drain();
    expect(valuesOf(all.flush()!)).toEqual([[P0, 2, 3, 4]]);
  });

  test("what a commit held is there until it is settled, and is let go of then", () => {
    const all = commits();
    const written = new Written(P0);
    if (written.add(change(1))) all.collect(written);
    const { group, groups } = all.flush()!;
    const heard: number[] = [];
    if (written.add(change(2))) all.collect(written);
    all.settled(group, { synced: (_, changes) => void heard.push(...[...changes].map(({ key }) => key[0]!)) });
    expect(heard).toEqual([1]);
    expect(groups[0]!.changes).toHaveLength(0);
    expect(valuesOf(all.flush()!)).toEqual([[P0, 2]]);
  });

  test("a partition's listener hears of its changes only if they were not refused", () => {
    const all = commits();
    const heard: Partition[] = [];
    all.add(P0, change(1));
    all.add(P1, change(2));
    const { group } = all.flush()!;
    expect(all.fenced(group, [P1])).toEqual([P1]);
    all.settled(group, { synced: (partition) => void heard.push(partition) }, [P1]);
    expect(heard).toEqual([P0]);
  });
});

function valuesOf({ groups }: { readonly groups: readonly RowGroup[] }): number[][] {
  return groups.map(({ partition, changes }) => [partition, ...[...changes].map(({ key }) => key[0]!)]);
}
