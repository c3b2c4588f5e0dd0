/** The claimant: what it puts into one epoch, and when it waits. */

import { expect, test } from "vitest";
import type { Member, RingDocument } from "../../ring/document.ts";
import { foundRing } from "../../ring/founding.ts";
import type { Epoch, MemberId, NodeName, Partition, RingId } from "../../ring/ids.ts";
import { Claimant } from "../../ring/node/claimant.ts";
import type { Here } from "../../ring/node/here.ts";
import { Liveness } from "../../ring/node/liveness.ts";
import { commitPlan, planOf } from "../../ring/plan.ts";
import { stageChange } from "../../ring/staging.ts";

const a = "a" as NodeName;
const b = "b" as NodeName;
const c = "c" as NodeName;

test("cut-overs that came too late for an epoch share the next one, however far apart they seal again", () => {
  const world = new World(threePlanned());
  const [first, second, third] = world.plannedFrom(a);
  world.consent(a, first);
  world.run(10);
  expect(world.proposals).toEqual([[first]]);
  // Both arrive while the epoch is being decided, for that epoch.
  world.consent(a, second);
  world.consent(a, third);
  world.decide();
  world.run(20);
  world.consent(a, second);
  world.run(40);
  expect(world.proposals).toHaveLength(1);
  world.consent(a, third);
  world.run(10);
  expect(world.proposals).toEqual([[first], [second, third]]);
});

test("a cut-over that never seals again holds the others up for a moment only", () => {
  const world = new World(threePlanned());
  const [first, second, third] = world.plannedFrom(a);
  world.consent(a, first);
  world.run(10);
  world.consent(a, second);
  world.consent(a, third);
  world.decide();
  world.consent(a, second);
  world.run(200);
  expect(world.proposals).toEqual([[first], [second]]);
});

class World {
  readonly proposals: Partition[][] = [];
  readonly #here: { -readonly [Name in keyof Here]: Here[Name] };
  readonly #claimant: Claimant;
  #proposed: RingDocument | undefined;

  constructor(document: RingDocument) {
    this.#here = {
      self: a,
      memberId: "id-here" as never,
      now: 0,
      document,
      emit: () => {},
      send: () => {},
      linked: () => true,
      note: () => {},
    };
    const liveness = new Liveness(a);
    for (const { name } of document.members) liveness.link(name, true);
    this.#claimant = new Claimant(this.#here, liveness, {
      propose: (next, consents) => {
        this.#proposed = next;
        this.proposals.push(consents.flatMap(({ partitions }) => [...partitions]).sort((left, right) => left - right));
      },
      prepare: () => {},
      askRevocable: () => {},
      peersOnMachine: () => false,
    });
    this.#claimant.follow(document);
    this.run(50);
    this.proposals.length = 0;
  }

  /** Partitions that are to leave the member, lowest first. */
  plannedFrom(member: NodeName): [Partition, Partition, Partition] {
    const document = this.#here.document!;
    const planned = document.owners.flatMap((owner, index) =>
      owner === member && document.next[index] !== undefined ? [index as Partition] : [],
    );
    return [planned[0]!, planned[1]!, planned[2]!];
  }

  consent(member: NodeName, partition: Partition): void {
    const document = this.#here.document!;
    const moves = [{ partition, to: document.next[partition]! }];
    this.#claimant.consent(member, (document.epoch + 1) as Epoch, { type: "moves", moves }, false);
  }

  decide(): void {
    this.#here.document = this.#proposed;
    this.#claimant.ended({ epoch: this.#proposed!.epoch, outcome: "chosen" }, 0);
    this.#claimant.follow(this.#proposed!);
  }

  run(durationMs: number): void {
    const end = this.#here.now + durationMs;
    for (;;) {
      const next = this.#claimant.nextDeadline();
      if (next === undefined || next > end) break;
      this.#here.now = Math.max(this.#here.now, next);
      this.#claimant.tick();
    }
    this.#here.now = end;
  }
}

/** Three members and voters; c has just been let in and gets its share of a and b. */
function threePlanned(): RingDocument {
  let document = foundRing({ ringId: "ring" as RingId, ringSize: 16, member: member(a) });
  for (const name of [b, c]) {
    document = stageChange(document, { type: "join", member: member(name) });
    document = commitPlan(document, planOf(document).id);
  }
  return { ...document, voters: [a, b, c] };
}

function member(name: NodeName): Omit<Member, "status"> {
  return { name, id: `id-${name}` as MemberId, weight: 100, machine: name, directory: `/data/${name}` };
}
