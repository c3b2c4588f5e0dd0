/** The lease in a shared store: who may serve, and how a node that lost it gives its partitions up. */

import { expect, test } from "vitest";
import { foundRing } from "../../ring/founding.ts";
import type { Epoch, MemberId, NodeName, RingId } from "../../ring/ids.ts";
import type { NodeEffect } from "../../ring/node/effects.ts";
import type { Here } from "../../ring/node/here.ts";
import type { NodeMessage } from "../../ring/node/messages.ts";
import { StoreLease } from "../../ring/node/store-lease.ts";

test("P3: nothing is served before the store grants a lease, nor after it has run out", () => {
  const { lease, at } = make();
  expect(lease.mayServe).toBe(false);
  lease.learned(6_000, []);
  expect(lease.mayServe).toBe(true);
  expect(lease.mayServeAt(6_000)).toBe(false);
  at(6_000);
  lease.tick();
  expect(lease.mayServe).toBe(false);
  lease.learned(11_000, []);
  expect(lease.mayServe).toBe(true);
});

test("P3: a node that lost the store gives its partitions up only when another has it, and only after its mark is on disk", () => {
  const { lease, at, sent, effects } = make();
  lease.learned(6_000, []);
  at(6_000);
  lease.tick();
  expect(sent.splice(0)).toEqual([{ to: "n2", message: { type: "store-lost", epoch: 3 } }]);
  lease.answered("n2" as NodeName, 2);
  expect(effects).toEqual([]); // of another epoch
  lease.answered("n2" as NodeName, 3);
  expect(effects).toEqual([{ type: "mark-given", epoch: 4 }]);
  lease.answered("n2" as NodeName, 3);
  expect(sent.filter(({ message }) => message.type === "consent")).toEqual([]); // not marked yet
  lease.marked(4);
  lease.answered("n2" as NodeName, 3);
  expect(sent.filter(({ message }) => message.type === "consent")).toHaveLength(1);
});

test("P3: what was given up is not served again before the epoch it was given up for is known, a restart included", () => {
  const { lease, at, here } = make({ givenFor: 4 });
  at(2_000);
  lease.learned(7_000, []);
  expect(lease.held).toBe(true);
  expect(lease.mayServe).toBe(false);
  expect(lease.doubt).toBe(4);
  here.document = { ...here.document!, epoch: 4 as Epoch };
  lease.follow(here.document);
  expect(lease.mayServe).toBe(true);
});

test("only who has held the lease for a while says that the store is there", () => {
  const { lease, at, sent } = make();
  lease.learned(6_000, []);
  lease.asked("n2" as NodeName, 3);
  expect(sent).toEqual([]);
  at(5_900);
  lease.learned(10_900, []);
  at(6_100);
  lease.asked("n2" as NodeName, 3);
  expect(sent).toEqual([{ to: "n2", message: { type: "store-kept", epoch: 3 } }]);
});

test("with a store of its own a node needs no lease in it", () => {
  const { lease } = make({ shared: false });
  expect(lease.mayServe).toBe(true);
  expect(lease.nextDeadline()).toBeUndefined();
  expect(lease.holds("n2" as NodeName)).toBe(true);
});

function make(options: { readonly shared?: boolean; readonly givenFor?: number } = {}): {
  readonly lease: StoreLease;
  readonly here: Here & { now: number; document: Here["document"] };
  readonly at: (now: number) => void;
  readonly sent: { readonly to: NodeName; readonly message: NodeMessage }[];
  readonly effects: NodeEffect[];
} {
  const self = "n1" as NodeName;
  const member = { name: self, id: "1".repeat(32) as MemberId, weight: 100, machine: "m", directory: "/d" };
  const founded = foundRing({ ringId: "r".repeat(32) as RingId, ringSize: 8, member });
  const second = { ...founded.members[0]!, name: "n2" as NodeName, id: "2".repeat(32) as MemberId };
  const sent: { to: NodeName; message: NodeMessage }[] = [];
  const effects: NodeEffect[] = [];
  const here = {
    self,
    memberId: "id-here" as never,
    now: 1_000,
    document: { ...founded, epoch: 3 as Epoch, members: [...founded.members, second] } as Here["document"],
    ...(options.shared === false ? {} : { sharedStore: true }),
    emit: (effect: NodeEffect) => void effects.push(effect),
    send: (to: NodeName, message: NodeMessage) => void sent.push({ to, message }),
    linked: () => true,
    note: () => undefined,
  };
  const hooks = { changed: () => undefined, abortAll: () => undefined };
  const lease = new StoreLease(here, { leaseMs: 5_000, givenFor: options.givenFor, hooks });
  return {
    lease,
    here,
    sent,
    effects,
    at: (now) => {
      here.now = now;
    },
  };
}
