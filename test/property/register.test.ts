/**
 * The register under arbitrary messages: it never throws, never speaks before its disk does, and never takes a promise back.
 */

import { expect, test } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import type { Epoch, MemberId, NodeName, RingId } from "../../ring/ids.ts";
import type { RegisterEffect, RegisterEvent } from "../../ring/register/events.ts";
import { type Ballot, compareBallots, type RegisterMessage } from "../../ring/register/messages.ts";
import { Register } from "../../ring/register/register.ts";
import { sameContent } from "../../ring/register/voting.ts";
import { fc } from "../arbitrary.ts";
import { changed, firstDocument, idOf, NAMES } from "../simulation/register/documents.ts";

const first = firstDocument(3);
const name = fc.constantFrom(...NAMES);
const small = fc.integer({ min: 0, max: 4 });
const epoch = fc.integer({ min: 0, max: 4 }).map((value) => value as Epoch);
const ballot: fc.Arbitrary<Ballot> = fc.record({ round: small, member: name, starts: small });
const document: fc.Arbitrary<RingDocument> = fc
  .record({
    epoch,
    history: fc.integer({ min: 1, max: 1 }),
    tag: fc.constantFrom("red", "blue"),
    owner: name,
    voters: fc.subarray([...NAMES]),
  })
  .map(({ tag, owner, voters, ...rest }) => ({
    ...changed(first, { owners: first.owners.map(() => owner), voters }, tag),
    ...rest,
  }));
const vote = fc.record({ ballot, document, consents: fc.constant([]) });
const body = fc.oneof(
  fc.record({ type: fc.constant("inquire"), epoch, request: small, members: fc.array(name) }),
  fc.record({ type: fc.constant("inquired"), epoch, request: small, waitsMs: fc.array(small) }),
  fc.record({ type: fc.constant("prepare"), epoch, ballot }),
  fc.record({ type: fc.constant("promise"), epoch, ballot, accepted: fc.option(vote, { nil: undefined }) }),
  fc.record({ type: fc.constant("accept"), epoch, vote }),
  fc.record({ type: fc.constantFrom("accepted", "decided"), epoch, ballot }),
  fc.record({ type: fc.constant("refused"), epoch, ballot, promised: ballot }),
  fc.record({ type: fc.constant("leased"), epoch, ballot, waitMs: small }),
  fc.record({ type: fc.constant("document"), document }),
  fc.record({ type: fc.constant("pull"), epoch }),
  fc.record({ type: fc.constantFrom("ask", "grant"), epoch, request: small }),
);
const message = fc
  .record({ from: name, body, starts: fc.constant(1), history: fc.integer({ min: 0, max: 2 }) })
  .map(({ from, body: content, starts, history }): RegisterEvent => {
    const memberId = idOf(first, from) as MemberId;
    const envelope = { ringId: first.ringId as RingId, history, memberId, starts, run: 1 };
    return { type: "message", from, message: { ...envelope, ...content } as RegisterMessage };
  });
const event: fc.Arbitrary<RegisterEvent | "sync"> = fc.oneof(
  { weight: 6, arbitrary: message },
  { weight: 2, arbitrary: fc.constant("sync" as const) },
  { weight: 1, arbitrary: fc.constant<RegisterEvent>({ type: "tick" }) },
  { weight: 1, arbitrary: fc.constant<RegisterEvent>({ type: "suspended" }) },
  { weight: 1, arbitrary: document.map((learnt): RegisterEvent => ({ type: "learn", document: learnt })) },
  { weight: 1, arbitrary: document.map((next): RegisterEvent => ({ type: "propose", document: next, consents: [] })) },
  { weight: 1, arbitrary: fc.constant<RegisterEvent>({ type: "prepare" }) },
  { weight: 1, arbitrary: name.map((member): RegisterEvent => ({ type: "ask-revocable", member })) },
);

test("P7: whatever it hears, the register neither throws, nor speaks before its disk, nor takes a promise back", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(event, fc.integer({ min: 0, max: 900 })), { maxLength: 60 }), (events) => {
      const member = NAMES[0] as NodeName;
      const undecided = { promised: undefined, accepted: undefined };
      const state = {
        version: 1,
        member,
        memberId: idOf(first, member)!,
        starts: 0,
        document: first,
        ...undecided,
      } as const;
      const register = new Register({ state, random: () => 0.5 });
      let now = 0;
      let written = 0;
      let synced = 0;
      let promised: { readonly epoch: number; readonly ballot: Ballot } | undefined;
      for (const [input, delayMs] of [["start", 0] as const, ...events]) {
        now += delayMs;
        const isSync = input === "sync";
        if (isSync) synced = written;
        const next: RegisterEvent =
          input === "start" ? { type: "start" } : isSync ? { type: "persisted", sequence: synced } : input;
        for (const effect of register.step(now, next)) {
          if (effect.type !== "persist") {
            if (!isSync && !isNews(effect)) expect(written).toBe(synced);
            continue;
          }
          written = effect.sequence;
          const { document: decided, promised: current } = effect.state;
          if (promised !== undefined && current !== undefined && promised.epoch === decided?.epoch) {
            expect(compareBallots(current, promised.ballot)).toBeGreaterThanOrEqual(0);
          }
          if (current !== undefined) promised = { epoch: decided!.epoch, ballot: current };
        }
      }
    }),
    { numRuns: 500 },
  );
});

/** What a majority has decided is true, whether this node has written it down or not. Nothing else leaves before that. */
function isNews(effect: RegisterEffect): boolean {
  if (effect.type === "foreseen") return true;
  return effect.type === "send" && (effect.message.type === "decided" || effect.message.type === "document");
}

test("ballots are totally ordered", () => {
  fc.assert(
    fc.property(ballot, ballot, ballot, (a, b, c) => {
      expect(Math.sign(compareBallots(a, b))).toBe(-Math.sign(compareBallots(b, a)) + 0);
      if (compareBallots(a, b) <= 0 && compareBallots(b, c) <= 0) expect(compareBallots(a, c)).toBeLessThanOrEqual(0);
      expect(compareBallots(a, b) === 0).toBe(sameContent(a, b));
    }),
  );
});

test("documents have the same content whatever the order of their properties", () => {
  fc.assert(
    fc.property(document, document, (a, b) => {
      const turned = Object.fromEntries(Object.entries(a).toReversed());
      expect(sameContent(a, { ...turned, zone: undefined })).toBe(true);
      expect(sameContent(a, b)).toBe(JSON.stringify(a) === JSON.stringify(b));
    }),
  );
});
