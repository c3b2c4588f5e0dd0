/** What a node answers for the ring: changes of one member that leave what others staged alone, and lists over partitions. */

import { expect, test } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import { foundRing } from "../../ring/founding.ts";
import type { MemberId, NodeName, Partition, RingId } from "../../ring/ids.ts";
import { type AnswerParts, Answers } from "../../ring/node/answers.ts";
import type { Asker } from "../../ring/node/asks.ts";
import type { Here } from "../../ring/node/here.ts";
import type { NodeAnswer, NodeRequest } from "../../ring/node/requests.ts";
import { commitPlan, planOf } from "../../ring/plan.ts";
import { stageChange } from "../../ring/staging.ts";
import { moveDone, plannedMoves } from "../../ring/transition.ts";

test("P8: a newcomer that asks to be taken in commits its own join and nothing that an operator staged", () => {
  const staged = stageChange(ringOf("a", "b"), { type: "force-remove", name: nodeOf("b") });
  const world = begin("a", staged);
  world.ask({ type: "admit", member: memberOf("c") });
  const { members, owners, staged: left } = world.document();
  expect(members.map(({ name }) => name)).toEqual(["a", "b", "c"]);
  expect(owners.filter((owner) => owner === "b")).toHaveLength(4);
  expect(left).toEqual([{ type: "force-remove", name: "b" }]);
});

test("P8: of a newcomer whose join is staged with a weight, that join is committed", () => {
  const join = { type: "join", member: memberOf("c", 50) } as const;
  const world = begin("a", stageChange(ringOf("a", "b"), join));
  world.ask({ type: "admit", member: memberOf("c") });
  expect(world.document().members.at(-1)).toMatchObject({ name: "c", weight: 50 });
  expect(world.document().staged).toEqual([]);
});

test("P1: of a member that asks from another place, that place is what the ring knows from then on, and nothing else", () => {
  const before = stageChange(ringOf("a", "b"), { type: "force-remove", name: nodeOf("a") });
  const world = begin("a", before);
  const member = { ...memberOf("b", 50), machine: "m9", directory: "/elsewhere" };
  world.ask({ type: "admit", member });
  const { members, ...rest } = world.document();
  expect(members[1]).toEqual({ ...before.members[1], machine: "m9", directory: "/elsewhere" });
  expect(rest).toMatchObject({ epoch: before.epoch + 1, owners: before.owners, staged: before.staged });
});

test("P8: the end of a drain is asked of the drained node, which knows its weight, and refused while it is away", () => {
  const undo = { type: "drain", name: nodeOf("b"), drain: false } as const;
  const drained = commitPlanOf(stageChange(ringOf("a", "b"), { type: "set-weight", name: nodeOf("b"), weight: 0 }));
  const other = begin("a", drained);
  other.ask(undo);
  expect(other.forwarded).toEqual(["b"]);
  other.linked = false;
  expect(() => other.ask(undo)).not.toThrow();
  expect(other.answers.at(-1)).toMatchObject({ type: "refused", code: "NO_OWNER" });
  const itself = begin("b", drained, 300);
  itself.ask(undo, { type: "peer", name: nodeOf("a"), askId: 1 });
  expect(itself.document().members[1]).toMatchObject({ name: "b", weight: 300 });
});

test("a join of a member is a wrong argument: that nobody has its name would be the contrary", () => {
  const world = begin("a", ringOf("a", "b"));
  const member = { ...memberOf("b"), directory: "" };
  world.ask({ type: "stage", change: { type: "join", member } });
  expect(world.answers.at(-1)).toMatchObject({ type: "refused", code: "INVALID_ARGUMENT" });
});

test("a page over partitions is in the order of ids, and goes on where it ended", () => {
  const world = begin("a", ringOf("a"));
  world.ask({ type: "local-tasks", request: { type: "list-dead", limit: 2 } });
  world.answered(0, { type: "tasks", statuses: [{ id: "b" }, { id: "d" }], next: "d" });
  world.answered(1, { type: "tasks", statuses: [{ id: "a" }, { id: "c" }] });
  expect(world.answers.at(-1)).toMatchObject({ answer: { statuses: [{ id: "a" }, { id: "b" }], next: "b" } });
  world.ask({ type: "local-tasks", request: { type: "list-dead", limit: 2, after: "b" } });
  world.answered(2, { type: "tasks", statuses: [{ id: "d" }] });
  world.answered(3, { type: "tasks", statuses: [{ id: "c" }] });
  expect(world.answers.at(-1)).toMatchObject({ answer: { statuses: [{ id: "c" }, { id: "d" }] } });
  expect(world.answers.at(-1)).not.toHaveProperty("answer.next");
});

interface World {
  readonly answers: NodeAnswer[];
  readonly forwarded: string[];
  linked: boolean;
  document(): RingDocument;
  ask(request: NodeRequest, asker?: Asker): void;
  /** The engine's answer to the request with this number, from 0. */
  answered(request: number, answer: object): void;
}

/** Node `self`, which is the claimant as well. Its engine has two partitions. */
function begin(self: string, document: RingDocument, weight = 100): World {
  let current = document;
  const requests: number[] = [];
  const here = { self, now: 0, document, linked: () => world.linked, note: () => {} } as unknown as Here;
  const refused = (error: unknown) => ({ type: "refused", code: (error as { code: string }).code }) as NodeAnswer;
  const parts = {
    asks: {
      answer: (_asker: Asker, answer: NodeAnswer) => void world.answers.push(answer),
      forward: (_asker: Asker, to: string) => void world.forwarded.push(to),
    },
    neighbours: { candidates: new Map() },
    hosting: { partitions: () => [0, 1] as Partition[], loaded: () => true },
    engine: { request: (_now: number, _partition: number, _request: object, id: number) => void requests.push(id) },
    claimant: {
      role: () => self,
      wish: (apply: (document: RingDocument) => RingDocument) => {
        current = apply(current);
      },
    },
    member: memberOf(self, weight),
  } as unknown as AnswerParts;
  const answers = new Answers(here, parts);
  const world: World = {
    answers: [],
    forwarded: [],
    linked: true,
    document: () => current,
    ask: (request, asker = { type: "local", askId: 1 } as Asker) => {
      try {
        answers.ask(asker, request, { to: undefined, deadlineMs: 1_000 });
      } catch (error) {
        world.answers.push(refused(error));
      }
    },
    answered: (request, answer) => answers.answered(requests[request]!, answer as never),
  };
  return world;
}

/** Eight partitions, shared out. */
function ringOf(...names: readonly string[]): RingDocument {
  const [first = "a", ...rest] = names;
  let document = foundRing({ ringId: "ring-1" as RingId, ringSize: 8, member: memberOf(first) });
  for (const name of rest) document = stageChange(document, { type: "join", member: memberOf(name) });
  const joined = rest.length === 0 ? document : commitPlanOf(document);
  return moveDone(joined, plannedMoves(joined));
}

function commitPlanOf(document: RingDocument): RingDocument {
  return commitPlan(document, planOf(document).id);
}

function memberOf(name: string, weight = 100) {
  return { name: nodeOf(name), id: `id-${name}` as MemberId, weight, machine: "m", directory: `/data/${name}` };
}

function nodeOf(name: string): NodeName {
  return name as NodeName;
}
