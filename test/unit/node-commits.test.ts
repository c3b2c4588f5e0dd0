/** Row changes in numbered groups: what waits for a group, and whose changes enter it. */

import { describe, expect, test } from "vitest";
import type { Partition } from "../../ring/ids.ts";
import { Commits } from "../../ring/node/commits.ts";
import type { RowChange, Term } from "../../ring/store.ts";

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
    expect(second.groups).toMatchObject([{ partition: P0, changes: [change(2)] }]);
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
