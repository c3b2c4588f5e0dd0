/** The driver's work on its own store and on adopted ones while disks are full. Virtual time. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import { RingError } from "../../ring/errors.ts";
import type { NodeName, Partition } from "../../ring/ids.ts";
import { NodeDriver, type NodeWorld } from "../../ring/io/node.ts";
import type { NodeEffect, NodeEvent } from "../../ring/node/effects.ts";
import { documentOf, P0 } from "./node-parts.ts";

const TERM = { history: 1, generation: 1, opens: 1 };
const OPEN: NodeEffect = { type: "open", partition: P0, history: 1, generation: 1 };
const DROP: NodeEffect = { type: "drop", directory: { type: "own" }, partition: P0 };

let document: RingDocument;
let events: NodeEvent[];
let wanted: NodeEffect[];
/** Calls of the store so far, in order. */
let calls: string[];
/** As often the store has no room. */
let refusals: number;
let driver: NodeDriver;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  document = documentOf({ epoch: 5 });
  events = [];
  wanted = [];
  calls = [];
  refusals = 0;
  const call = async <T>(name: string, result: T): Promise<T> => {
    calls.push(name);
    if (refusals-- > 0) throw new RingError("QUEUE_FULL", "the disk is full");
    return result;
  };
  const machine = {
    get document() {
      return document;
    },
    nextDeadline: () => undefined,
    step: (_now: number, event: NodeEvent): NodeEffect[] => {
      events.push(event);
      return wanted.splice(0);
    },
  };
  const store = {
    shared: false,
    full: false,
    open: () => call("open", TERM),
    commit: (groups: readonly { readonly partition: number }[]) =>
      call(`commit ${groups.map(({ partition }) => partition).join(" ")}`, { refused: [] }),
    drop: () => call("drop", undefined),
    quarantine: () => call("quarantine", undefined),
    stats: () => ({ rows: 0, bytes: 0, commits: 0, syncs: 0, quarantined: 0 }),
  };
  const adopted = {
    commit: async () => {
      throw new RingError("QUEUE_FULL", "the disk is full");
    },
    drop: async () => {
      throw new RingError("STORE_BROKEN", "EIO");
    },
  };
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  driver = new NodeDriver({ name: "a" as NodeName, machine, store, adopted, log } as unknown as NodeWorld);
});

afterEach(() => {
  driver.close();
  vi.useRealTimers();
});

/** Has the effects performed, and waits as long for what comes of them. */
async function perform(effects: readonly NodeEffect[], forMs: number): Promise<void> {
  wanted.push(...effects);
  driver.step({ type: "tick" });
  await vi.advanceTimersByTimeAsync(forMs);
}

function notes(): string[] {
  return driver.recentEvents().map(({ type, detail }) => `${type} ${detail}`);
}

describe("a full disk", () => {
  test("P5: puts off the opening of a partition, says so, and is no failure of the store", async () => {
    refusals = 3;
    await perform([OPEN], 1_200);
    expect(calls).toHaveLength(3);
    expect(notes()).toEqual(["waits-for-room opening partition 0: the disk is full"]);
    await vi.advanceTimersByTimeAsync(600);
    expect(events).toEqual([{ type: "tick" }, { type: "opened", partition: 0, term: TERM }]);
    expect(notes()).toHaveLength(2);
  });

  test("puts off no opening that the ring has meanwhile given to another", async () => {
    refusals = 1;
    await perform([OPEN], 100);
    document = documentOf({ epoch: 6, owner: "b", generation: 2 });
    await vi.advanceTimersByTimeAsync(5_000);
    expect(calls).toEqual(["open"]);
    expect(events).toEqual([{ type: "tick" }]);
  });

  test("P1: puts off an opening ahead of the document that gives the partition to this node", async () => {
    document = documentOf({ epoch: 5, owner: "b", next: "a" });
    refusals = 2;
    await perform([{ ...OPEN, generation: 2 }], 700);
    document = documentOf({ epoch: 6, generation: 2 });
    await vi.advanceTimersByTimeAsync(2_000);
    expect(calls).toEqual(["open", "open", "open"]);
    expect(events).toEqual([{ type: "tick" }, { type: "opened", partition: 0, term: TERM }]);
  });

  test("P5: puts off a drop, and what is to be set aside is not dropped before it is", async () => {
    refusals = 2;
    await perform([{ type: "quarantine", partition: P0, why: "not of this generation" }, DROP], 1_600);
    expect(calls).toEqual(["quarantine", "quarantine", "quarantine", "drop"]);
    expect(events.at(-1)).toEqual({ type: "dropped", directory: { type: "own" }, partition: 0 });
  });

  test.each([
    ["dropped", DROP],
    ["set aside", { type: "quarantine", partition: P0, why: "not of this generation" } as const],
  ])("P2: what it has put off brings nothing back of a partition that was %s meanwhile", async (_, goes) => {
    const groups = [P0, 3 as Partition].map((partition) => ({ partition, term: TERM, changes: [] }));
    refusals = 2;
    await perform([{ type: "commit", group: 1, groups }], 100);
    await perform([goes], 100);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(calls.filter((each) => each.startsWith("commit"))).toEqual(["commit 0 3", "commit 0 3", "commit 3"]);
    expect(events.filter(({ type }) => type === "committed")).toEqual([{ type: "committed", group: 1, refused: [P0] }]);
    await perform([{ type: "commit", group: 2, groups }], 100);
    expect(calls.at(-1)).toBe("commit 0 3");
  });

  test("ends with the node: nothing is tried any more", async () => {
    refusals = 100;
    await perform([DROP, OPEN], 100);
    driver.close();
    const before = calls.length;
    await vi.advanceTimersByTimeAsync(5_000);
    expect(calls.length).toBeLessThanOrEqual(before + 2);
    expect(events).toEqual([{ type: "tick" }]);
  });
});

describe("an adopted directory", () => {
  test("P8: the machine hears of work that was not done, and whether it may be done later", async () => {
    const member = "c" as NodeName;
    const partition = 3 as Partition;
    await perform(
      [
        { type: "commit-adopted", member, writeId: 1, groups: [] },
        { type: "drop", directory: { type: "adopted", member }, partition },
      ],
      10,
    );
    expect(events.slice(1)).toEqual([
      { type: "adopted-failed", member, passing: true, detail: "the disk is full" },
      { type: "adopted-failed", member, passing: false, detail: "EIO" },
    ]);
  });
});
