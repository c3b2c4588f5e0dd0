/** What the driver tells the machine of messages that no link took, and where it writes the register first. */

import { expect, test } from "vitest";
import type { MemberId, NodeName } from "../../ring/ids.ts";
import { NodeDriver, type NodeWorld } from "../../ring/io/node.ts";
import { decodeRegisterState } from "../../ring/io/register-codec.ts";
import type { NodeEffect, NodeEvent } from "../../ring/node/effects.ts";
import type { NodeMessage } from "../../ring/node/messages.ts";
import type { RegisterState } from "../../ring/register/messages.ts";

const B = "b" as NodeName;

/** The events that follow when the machine sends these, and the link takes what `taken` says. */
function sending(messages: readonly NodeMessage[], taken: boolean): NodeEvent[] {
  const events: NodeEvent[] = [];
  const machine = {
    step: (_now: number, event: NodeEvent): readonly NodeEffect[] => {
      events.push(event);
      return event.type === "flush" ? messages.map((message) => ({ type: "send", to: B, message })) : [];
    },
    nextDeadline: () => undefined,
  };
  const world = { name: "a", machine, store: {}, log: {}, peers: () => ({ send: () => taken }) };
  const driver = new NodeDriver(world as unknown as NodeWorld);
  driver.step({ type: "flush" });
  driver.close();
  return events.slice(1);
}

const AWAITED: readonly NodeMessage[] = [
  { type: "forward", forwardId: 1, epoch: 1 as never, origin: "client", records: [] },
  { type: "ask", askId: 2, epoch: 1 as never, request: { type: "node-status" } },
  { type: "answer", askId: 3, answer: { type: "ok" } },
];

test("P5: tasks, questions and answers that a link did not take come back to the machine", () => {
  expect(sending(AWAITED, false)).toEqual(AWAITED.map((message) => ({ type: "unsent", to: B, message })));
});

test("what was taken does not come back, nor what the machine repeats by itself", () => {
  expect(sending(AWAITED, true)).toEqual([]);
  expect(sending([{ type: "pull-document", epoch: 1 }], false)).toEqual([]);
});

test("P7: a register that is kept in the shared store is on the own disk, and said to be written, only after that", async () => {
  const { driver, store, written, events } = persisting();
  driver.step({ type: "tick" }); // 1, under a token
  await store.asked(1);
  expect(written).toEqual([]);
  store.answer(true);
  await store.until(() => events.length > 0);
  expect(written).toEqual([1]);
  expect(events).toEqual([{ type: "register-persisted", of: "a", sequence: 1 }]);
  driver.close();
});

test("P7: what the store refuses or holds up is not said to be written; what is for the own disk alone passes it", async () => {
  const { driver, store, written, events } = persisting();
  driver.step({ type: "tick" }); // 1, under a token
  driver.step({ type: "tick" }); // 2, under a token
  driver.step({ type: "flush" }); // 3, for the disk alone
  await store.until(() => events.length > 0);
  expect(events).toEqual([{ type: "register-persisted", of: "a", sequence: 3 }]);
  await store.asked(1);
  expect(store.calls).toBe(1); // one after the other
  store.answer(true);
  await store.asked(2);
  store.answer(false);
  await store.until(() => events.length > 1);
  expect(events.slice(1)).toEqual([{ type: "seat-refused", seat: "t" }]);
  expect(written).toEqual([3]); // never an older one over a newer one
  driver.close();
});

/** The events that follow when the stopping node's directory takes its mark like that. */
async function stopping(writeMarker: () => Promise<void>): Promise<NodeEvent[]> {
  const events: NodeEvent[] = [];
  const machine = {
    step: (_now: number, event: NodeEvent): readonly NodeEffect[] => {
      events.push(event);
      return event.type === "stop" ? [{ type: "mark-stopping" }] : [];
    },
    nextDeadline: () => undefined,
  };
  const log = { warn: () => {}, error: () => {} };
  const world = { name: "a", machine, store: {}, log, directory: { writeMarker } };
  const driver = new NodeDriver(world as unknown as NodeWorld);
  driver.stop(0);
  for (let turns = 0; events.length < 2 && turns < TURNS; turns++) await new Promise((done) => setImmediate(done));
  driver.close();
  return events.slice(1);
}

test("a planned stop on a full disk ends in order, without its mark; a failed disk is a failed disk", async () => {
  const failing = (code: string) => async (): Promise<void> => {
    throw Object.assign(new Error(code), { code });
  };
  expect(await stopping(failing("ENOSPC"))).toEqual([{ type: "marked" }]);
  expect(await stopping(failing("EDQUOT"))).toEqual([{ type: "marked" }]);
  expect(await stopping(failing("EIO"))).toEqual([{ type: "store-broken", detail: "EIO" }]);
});

interface Persisting {
  readonly driver: NodeDriver;
  readonly written: number[];
  readonly events: NodeEvent[];
  readonly store: {
    readonly calls: number;
    answer(isWritten: boolean): void;
    asked(calls: number): Promise<void>;
    until(condition: () => boolean): Promise<void>;
  };
}

/** A machine that persists its register with each event: under a token with `tick`, else for its own disk. */
function persisting(): Persisting {
  const events: NodeEvent[] = [];
  const written: number[] = [];
  const answers: ((isWritten: boolean) => void)[] = [];
  let calls = 0;
  let sequence = 0;
  const machine = {
    step: (_now: number, event: NodeEvent): readonly NodeEffect[] => {
      if (event.type !== "tick" && event.type !== "flush") {
        events.push(event);
        return [];
      }
      const starts = ++sequence;
      const state = { ...STATE, starts };
      const seat = event.type === "tick" ? { seat: { token: "t", run: 1, state } } : {};
      return [{ type: "persist-register", of: "a" as NodeName, sequence: starts, state, ...seat }];
    },
    nextDeadline: () => undefined,
  };
  const world = {
    name: "a",
    machine,
    store: {},
    log: {},
    register: {
      write: async (bytes: Uint8Array) => void written.push(decodeRegisterState(bytes).starts),
    },
    seats: {
      write: () => {
        calls++;
        return new Promise<boolean>((resolve) => void answers.push(resolve));
      },
    },
  };
  const until = async (condition: () => boolean): Promise<void> => {
    for (let turns = 0; !condition() && turns < TURNS; turns++) await new Promise((resolve) => setImmediate(resolve));
    expect(condition()).toBe(true);
  };
  return {
    driver: new NodeDriver(world as unknown as NodeWorld),
    written,
    events,
    store: {
      get calls() {
        return calls;
      },
      answer: (isWritten) => answers.shift()!(isWritten),
      asked: (count) => until(() => calls === count),
      until,
    },
  };
}

const STATE: RegisterState = {
  version: 1,
  member: "a" as NodeName,
  memberId: "1".repeat(32) as MemberId,
  starts: 0,
  document: undefined,
  promised: undefined,
  accepted: undefined,
};
const TURNS = 1_000;
