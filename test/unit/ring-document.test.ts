/**
 * The ring document's changes one by one: what each does to owners, statuses, generations and stranded entries.
 */

import { describe, expect, test } from "vitest";
import type { RingDocument, StagedChange } from "../../ring/document.ts";
import { validateDocument } from "../../ring/document-check.ts";
import { decodeDocument, encodeDocument } from "../../ring/document-codec.ts";
import { asOneChange } from "../../ring/draft.ts";
import { recoverRing } from "../../ring/founding.ts";
import type { Epoch, MemberId, NodeName, Partition } from "../../ring/ids.ts";
import { planOf } from "../../ring/plan.ts";
import { preflist } from "../../ring/preflist.ts";
import { clearStaged, stageChange } from "../../ring/staging.ts";
import { checkSuccessor } from "../../ring/successor.ts";
import {
  markDown,
  markReturned,
  plannedMoves,
  rebalance,
  removeStranded,
  retireMembers,
  setAdopter,
  setPlace,
} from "../../ring/transition.ts";
import { lackOfFailover, nextVoters, setVoters, votersAreDue, voterTarget } from "../../ring/voters.ts";
import { commit, founded, name, newcomer, owned, ringOf, stage, statusOf, transferred, voted } from "./ring-changes.ts";

describe("founding", () => {
  test("a founded ring is at epoch 1 of history 1 and its founder votes and owns all", () => {
    const document = founded(16);
    expect(document).toMatchObject({ epoch: 1, history: 1, voters: ["a"], ringSize: 16 });
    expect(owned(document, "a")).toBe(16);
    expect(document.generations).toEqual(new Array(16).fill(1));
    expect(validateDocument(document)).toEqual(document);
  });

  test("a ring size that is no power of two from 8 to 4096 is refused", () => {
    for (const ringSize of [0, 4, 63, 65, 8192, 12.5]) expect(() => founded(ringSize)).toThrow(/ringSize/);
  });

  test("a recovered ring starts a new history with the stated voters", () => {
    const document = ringOf("abc");
    const next = recoverRing(document, [name("b")]);
    expect(next).toMatchObject({ history: 2, epoch: document.epoch + 1, voters: ["b"] });
    expect(() => recoverRing(document, [name("z")])).toThrow(/no member/);
  });
});

describe("staging", () => {
  test("what cannot be done is refused with a reason", () => {
    const document = ringOf("ab");
    const refused: [StagedChange, RegExp][] = [
      [{ type: "leave", name: name("z") }, /no member is named z/],
      [{ type: "join", member: newcomer("b") }, /is a member already/],
      [{ type: "join", member: { ...newcomer("b"), id: "other" as MemberId } }, /force-remove that one first/],
      [{ type: "join", member: { ...newcomer("c"), id: "id-b" as MemberId } }, /belongs to another member/],
      [{ type: "join", member: newcomer("c", { weight: 1001 }) }, /weight/],
      [{ type: "join", member: newcomer("c", { zone: "no spaces" }) }, /zone/],
      [{ type: "set-weight", name: name("a"), weight: 1.5 }, /weight/],
      [{ type: "replace", name: name("a"), by: name("b") }, /has partitions of its own/],
      [{ type: "replace", name: name("a"), by: name("a") }, /itself/],
      [{ type: "replace", name: name("a"), by: name("n") }, /n is no member yet: stage its join first/],
    ];
    for (const [change, reason] of refused) expect(() => stageChange(document, change)).toThrow(reason);
  });

  test("the last member that can own partitions cannot leave, be taken down or removed, or lose its weight", () => {
    const document = stage(ringOf("ab"), { type: "leave", name: name("a") });
    for (const type of ["leave", "down", "force-remove"] as const) {
      expect(() => stageChange(document, { type, name: name("b") })).toThrow(/last member/);
    }
    expect(() => stageChange(document, { type: "set-weight", name: name("b"), weight: 0 })).toThrow(/last member/);
  });

  test("the same change twice is one, and a newer weight replaces the older", () => {
    const once = stage(ringOf("ab"), { type: "set-weight", name: name("b"), weight: 50 });
    expect(stageChange(once, { type: "set-weight", name: name("b"), weight: 50 })).toBe(once);
    const newer = stageChange(once, { type: "set-weight", name: name("b"), weight: 70 });
    expect(newer.staged).toEqual([{ type: "set-weight", name: "b", weight: 70 }]);
    const leaving = stage(newer, { type: "leave", name: name("b") }, { type: "join", member: newcomer("c") });
    expect(() => stageChange(leaving, { type: "replace", name: name("b"), by: name("c") })).toThrow(/is leaving/);
  });

  test("more than 64 staged changes are refused", () => {
    let document = founded();
    for (let at = 0; at < 64; at++) document = stageChange(document, { type: "join", member: newcomer(`n${at}`) });
    expect(() => stageChange(document, { type: "join", member: newcomer("one-more") })).toThrow(/64 changes/);
    expect(clearStaged(document).staged).toEqual([]);
  });

  test("a staged change moves nothing", () => {
    const document = ringOf("ab");
    const next = stage(document, { type: "leave", name: name("b") });
    expect(next.owners).toEqual(document.owners);
    expect(next.members).toEqual(document.members);
  });
});

describe("failover", () => {
  test("a dead member's partitions spread evenly over the others, at once, and its copies are listed as stranded", () => {
    const before = ringOf("abcde");
    const after = markDown(before, [name("c")], { keepStranded: true });
    expect(checkSuccessor(before, after)).toEqual([]);
    expect(["a", "b", "d", "e"].map((text) => owned(after, text))).toEqual([16, 16, 16, 16]);
    expect(after.stranded.length).toBe(owned(before, "c"));
    for (const entry of after.stranded) {
      expect(entry).toMatchObject({ member: "c", memberId: "id-c", where: { type: "away" } });
      expect(entry.generation).toBe(before.generations[entry.partition]);
      expect(after.generations[entry.partition]).toBe(entry.generation + 1);
    }
    expect(markDown(after, [name("c")], { keepStranded: true })).toBe(after);
  });

  test("an adopted directory is recorded with its adopter, unless the adopter died too", () => {
    const adopters = new Map([[name("c"), name("a")]]);
    const adopted = markDown(ringOf("abcde"), [name("c")], { adopters, keepStranded: true });
    expect(new Set(adopted.stranded.map((entry) => entry.where.type))).toEqual(new Set(["adopter"]));
    const both = markDown(adopted, [name("a")], { keepStranded: true });
    expect(both.stranded.every((entry) => entry.where.type === "away")).toBe(true);
    const same = markDown(ringOf("abcde"), [name("a"), name("c")], { adopters, keepStranded: true });
    expect(same.stranded.every((entry) => entry.where.type === "away")).toBe(true);
  });

  test("P3: what a dead adopter held is awaited from the peer that holds the adopter's own directory", () => {
    const first = new Map([[name("c"), name("a")]]);
    const adopted = markDown(ringOf("abcde"), [name("c")], { adopters: first, keepStranded: true });
    const second = new Map([[name("a"), name("b")]]);
    const after = markDown(adopted, [name("a")], { adopters: second, keepStranded: true });
    expect(after.stranded.length).toBeGreaterThan(adopted.stranded.length);
    for (const { where } of after.stranded) expect(where).toEqual({ type: "adopter", adopter: "b" });
    expect(checkSuccessor(adopted, after)).toEqual([]);
  });

  test("P3: so is the directory of a member that goes in the same change, which the dead adopter had spoken for", () => {
    const adopters = new Map([
      [name("c"), name("a")],
      [name("a"), name("b")],
    ]);
    const after = markDown(ringOf("abcde"), [name("a"), name("c")], { adopters, keepStranded: true });
    expect(new Set(after.stranded.map(({ member }) => member))).toEqual(new Set(["a", "c"]));
    for (const { where } of after.stranded) expect(where).toEqual({ type: "adopter", adopter: "b" });
    const [one, other] = [name("a"), name("c")];
    const round = new Map([
      [one, other],
      [other, one],
    ]);
    const both = markDown(ringOf("abcde"), [one, other], { adopters: round, keepStranded: true });
    expect(both.stranded.every(({ where }) => where.type === "away")).toBe(true);
  });

  test("P1: an entry says whether its ownership began by force: whole copies of handoffs before that are of no account", () => {
    const once = markDown(ringOf("abcd"), [name("c")], { keepStranded: true });
    expect(once.stranded.filter(({ byForce }) => byForce)).toEqual([]);
    const twice = markDown(once, [name("b")], { keepStranded: true });
    const first = new Set(once.stranded.map(({ partition }) => partition));
    const later = twice.stranded.slice(once.stranded.length);
    expect(new Set(later.map(({ partition, byForce }) => first.has(partition) === (byForce === true)))).toEqual(
      new Set([true]),
    );
    expect(new Set(later.map(({ byForce }) => byForce))).toEqual(new Set([true, undefined]));
    expect(decodeDocument(encodeDocument(twice))).toEqual(twice);
  });

  test("with a shared store nothing is stranded", () => {
    const before = ringOf("abc");
    const after = markDown(before, [name("c")], { keepStranded: false });
    expect(after.stranded).toEqual([]);
    expect(checkSuccessor(before, after)).not.toEqual([]);
    expect(checkSuccessor(before, after, { sharedStore: true })).toEqual([]);
  });

  test("transfers to a dead member stay where they are, and those from it end at once at their receiver", () => {
    const joining = commit(stage(ringOf("abc"), { type: "join", member: newcomer("d") }));
    const [move] = plannedMoves(joining);
    const withoutReceiver = markDown(joining, [name("d")], { keepStranded: true });
    expect(withoutReceiver.owners).toEqual(joining.owners);
    expect(plannedMoves(withoutReceiver)).toEqual([]);
    const withoutSender = markDown(joining, [move!.from], { keepStranded: true });
    expect(withoutSender.owners[move!.partition]).toBe("d");
    expect(checkSuccessor(joining, withoutSender)).toEqual([]);
  });

  test("ten deaths in one burst are one change", () => {
    const letters = "abcdefghijklmno";
    const before = ringOf(letters);
    const after = markDown(before, [..."fghijklmno"].map(name), { keepStranded: true });
    expect(after.epoch).toBe(before.epoch + 1);
    expect([..."abcde"].map((text) => owned(after, text)).sort()).toEqual([12, 13, 13, 13, 13]);
  });

  test("a member that returns is valid and gets its share back by transfers; what is stranded stays listed", () => {
    const down = markDown(ringOf("abcd"), [name("b")], { keepStranded: true });
    const back = markReturned(down, name("b"));
    expect(statusOf(back, "b")).toBe("valid");
    expect(back.owners).toEqual(down.owners);
    expect(plannedMoves(back).length).toBe(16);
    expect(back.stranded).toEqual(down.stranded);
    expect(markReturned(back, name("b"))).toBe(back);
    expect(removeStranded(back, back.stranded).stranded).toEqual([]);
  });

  test("a member that dies while leaving is exiting, and is retired when nothing of it is stranded", () => {
    const leaving = commit(stage(ringOf("abcd"), { type: "leave", name: name("d") }));
    let document = voted(markDown(leaving, [name("d")], { keepStranded: true }), "d");
    expect(statusOf(document, "d")).toBe("exiting");
    expect(markReturned(document, name("d"))).toBe(document);
    expect(retireMembers(document)).toBe(document);
    document = retireMembers(removeStranded(document, document.stranded));
    expect(statusOf(document, "d")).toBeUndefined();
  });

  test("an adopter is set and released for all entries of a directory", () => {
    const down = markDown(ringOf("abcd"), [name("b")], { keepStranded: true });
    const memberId = "id-b" as MemberId;
    const held = setAdopter(down, { member: name("b"), memberId, adopter: name("c") });
    expect(held.stranded.every((entry) => entry.where.type === "adopter" && entry.where.adopter === "c")).toBe(true);
    expect(setAdopter(held, { member: name("b"), memberId, adopter: name("c") })).toBe(held);
    expect(setAdopter(held, { member: name("b"), memberId }).stranded).toEqual(down.stranded);
    expect(setAdopter(held, { member: name("b"), memberId: "another" as MemberId })).toBe(held);
  });

  test("what a force-removed adopter held is away again", () => {
    const adopters = new Map([[name("b"), name("f")]]);
    const held = markDown(ringOf("abcdef"), [name("b")], { adopters, keepStranded: true });
    const document = commit(stage(held, { type: "force-remove", name: name("f") }));
    expect(checkSuccessor(document, { ...document, epoch: (document.epoch + 1) as Epoch })).toEqual([]);
    expect(document.stranded.length).toBe(held.stranded.length);
    expect(document.stranded.every((entry) => entry.where.type === "away")).toBe(true);
  });

  test("when the last member goes nobody owns anything, and the first to return owns all at once", () => {
    const gone = markDown(founded(8), [name("a")], { keepStranded: true });
    expect(gone.owners).toEqual(new Array(8).fill(undefined));
    const back = markReturned(gone, name("a"));
    expect(owned(back, "a")).toBe(8);
    expect(back.generations).toEqual(new Array(8).fill(3));
    expect(checkSuccessor(gone, back)).toEqual([]);
  });

  test("several changes can share one epoch", () => {
    const before = ringOf("abcde");
    const both = asOneChange(before, [
      (document) => markDown(document, [name("b")], { keepStranded: true }),
      (document) => setPlace(document, name("c"), { machine: "m9", directory: "/data/c" }),
    ]);
    expect(both.epoch).toBe(before.epoch + 1);
    expect(checkSuccessor(before, both)).toEqual([]);
    expect(asOneChange(before, [rebalance])).toBe(before);
  });
});

describe("voters", () => {
  const all = (document: RingDocument): Set<NodeName> => new Set(document.members.map((member) => member.name));

  test("there is 1 voter with 1 or 2 members, 3 with 3 or 4, 5 with 5 or 6, then 7", () => {
    const letters = "abcdefghij";
    const targets = [1, 1, 3, 3, 5, 5, 7, 7, 7, 7];
    targets.forEach((target, at) => {
      const document = ringOf(letters.slice(0, at + 1));
      expect(voterTarget(document.members)).toBe(target);
      expect(document.voters.length).toBe(target);
    });
  });

  test("a member that joins votes before its first partition comes, behind those that own something", () => {
    const document = commit(stage(ringOf("ab"), { type: "join", member: newcomer("c") }));
    expect(document.members.map(({ status }) => status)).toEqual(["valid", "valid", "joining"]);
    const crowded = {
      ...document,
      members: document.members.map((each) => ({ ...each, machine: each.name === "c" ? "2" : "1" })),
    };
    let next: RingDocument = crowded;
    const voters: (readonly string[])[] = [];
    for (let epoch = 0; epoch < 2; epoch++) {
      next = setVoters(next, nextVoters(next, { live: all(next), answered: all(next) }));
      voters.push(next.voters);
    }
    expect(voters).toEqual([
      ["a", "b"],
      ["a", "b", "c"],
    ]);
    expect(votersAreDue(next)).toBe(false);
  });

  test("a member that joins votes only where the others decide without it", () => {
    const document = commit(stage(ringOf("ab"), { type: "join", member: newcomer("c") }));
    const live = new Set([name("a"), name("c")]);
    expect(nextVoters(document, { live, answered: live })).toEqual(["a"]);
    const three = setVoters(document, [name("a"), name("b")]);
    expect(nextVoters(three, { live, answered: live })).toEqual(["a", "b"]);
  });

  test("one voter comes per epoch, and only one that has answered", () => {
    const document = transferred(
      commit(stage(founded(), ...["b", "c"].map((text) => ({ type: "join" as const, member: newcomer(text) })))),
    );
    expect(nextVoters(document, { live: all(document), answered: new Set() })).toBe(document.voters);
    expect(nextVoters(document, { live: all(document), answered: new Set([name("c")]) })).toEqual(["a", "c"]);
    expect(() => setVoters(document, [name("a"), name("b"), name("c")])).toThrow(/one at a time/);
  });

  test("a dead voter is replaced, and stays when nobody can take its place", () => {
    const four = markDown(ringOf("abcd"), [name("b")], { keepStranded: true });
    expect(voted(four, "b").voters).toEqual(["a", "c", "d"]);
    const three = markDown(ringOf("abc"), [name("b")], { keepStranded: true });
    expect(voted(three, "b").voters).toEqual(["a", "b", "c"]);
    expect(lackOfFailover(three)).toBe("the loss of one more voter stops ring changes");
    expect(lackOfFailover(voted(four, "b"))).toBeUndefined();
  });

  test("a ring without failover says whether a loss would stop it or has stopped it already", () => {
    expect(lackOfFailover(ringOf("ab"))).toBe("the loss of one voter stops ring changes");
    const gone = "ring changes have stopped: 1 of 3 voters can be reached, and it takes 2";
    expect(lackOfFailover(ringOf("abc"), new Set([name("a")]))).toBe(gone);
    const down = markDown(ringOf("abc"), [name("b")], { keepStranded: true });
    const [warning] = planOf(down, { keepStranded: true }).warnings;
    expect(warning?.text).toBe("the loss of one more member stops the ring: 2 serve, 3 vote");
    expect(planOf(founded()).warnings[0]?.text).toBe("the loss of one member stops the ring: 1 serve, 1 vote");
  });

  test("with a store that all share two members have failover, and say so in a plan; one has none", () => {
    const two = ringOf("ab");
    expect(lackOfFailover(two, undefined, { sharedStore: true })).toBeUndefined();
    expect(lackOfFailover(two, new Set([name("b")]), { sharedStore: true })).toMatch(/^the loss of one more /);
    expect(lackOfFailover(two)).toBeDefined();
    const joining = stage(founded(), { type: "join", member: newcomer("b") });
    expect(planOf(joining, { keepStranded: false }).warnings).toEqual([]);
    expect(planOf(founded(), { keepStranded: false }).warnings.map(({ code }) => code)).toEqual(["NO_FAILOVER"]);
  });

  test("a voter that leaves hands over or goes, one per epoch", () => {
    const fewer = transferred(commit(stage(ringOf("abc"), { type: "leave", name: name("a") })));
    expect(nextVoters(fewer, { live: all(fewer), answered: all(fewer) })).toEqual(["b", "c"]);
    expect(voted(fewer).voters).toEqual(["b"]);
    const sole = transferred(commit(stage(ringOf("ab"), { type: "leave", name: name("a") })));
    expect(voted(sole).voters).toEqual(["b"]);
  });

  test("a voter that leaves goes even if the only one who could take its place is dead", () => {
    let document = markDown(ringOf("abcd"), [name("d")], { keepStranded: true });
    document = transferred(commit(stage(document, { type: "leave", name: name("c") })));
    expect(voted(document, "d").voters).toEqual(["a", "b"]);
  });

  test("P8: a voter that leaves waits for dead ones to go first if they would hold up every decision", () => {
    const document = commit(stage(ringOf("abcde"), { type: "leave", name: name("c") }));
    const live = new Set(["a", "b", "c"].map(name));
    const view = { live, answered: live };
    expect(nextVoters(document, view)).toEqual(["a", "b", "c", "d"]);
    const next = setVoters(document, nextVoters(document, view));
    expect(nextVoters(next, view)).toEqual(["a", "b", "d"]);
    const dead = new Set(["a", "b"].map(name));
    expect(nextVoters(document, { live: dead, answered: dead })).toBe(document.voters);
  });

  test("a lopsided voter set evens out, one voter per epoch", () => {
    const zones = { a: "z1", b: "z1", c: "z1", d: "z2" };
    const changes = Object.entries(zones).map(([text, zone]) => ({
      type: "set-zone" as const,
      name: name(text),
      zone,
    }));
    const document = commit(stage(ringOf("abcd"), ...changes));
    expect(document.voters).toEqual(["a", "b", "c"]);
    expect(nextVoters(document, { live: all(document), answered: all(document) })).toEqual(["a", "b", "d"]);
    expect(voted(document).voters).toEqual(["a", "b", "d"]);
  });

  test("voters spread over zones as they come", () => {
    const zoneOf = (letter: string): { zone: string } => ({
      zone: "abc".includes(letter) ? "z1" : letter < "f" ? "z2" : "z3",
    });
    const document = ringOf("abcdef", 64, zoneOf);
    const zones = document.voters.map((text) => zoneOf(text).zone).sort();
    expect(zones).toEqual(["z1", "z1", "z2", "z2", "z3"]);
  });
});

describe("the preflist", () => {
  test("begins with the owner and never names one member twice", () => {
    const document = ringOf("abcde");
    for (let at = 0; at < 64; at++) {
      const list = preflist(document, at as Partition, 5);
      expect(list[0]).toBe(document.owners[at]);
      expect(new Set(list).size).toBe(5);
      expect(preflist(document, at as Partition, 2)).toEqual(list.slice(0, 2));
    }
  });

  test("leaves out the dead and the down", () => {
    const document = ringOf("abcde");
    const owner = document.owners[0] as NodeName;
    expect(preflist(document, 0 as Partition, 5, { alive: (text) => text !== owner })).not.toContain(owner);
    const down = markDown(document, [owner], { keepStranded: true });
    expect(preflist(down, 0 as Partition, 9).length).toBe(4);
    expect(preflist(down, 0 as Partition, 9)).not.toContain(owner);
  });

  test("spreads its first entries over the zones", () => {
    const document = ringOf("abcdef", 64, (letter) => ({ zone: `z${"abcdef".indexOf(letter) % 3}` }));
    const zones = new Map(document.members.map((member) => [member.name, member.zone]));
    for (let at = 0; at < 64; at++) {
      const list = preflist(document, at as Partition, 6).map((text) => zones.get(text));
      expect(new Set(list.slice(0, 3)).size).toBe(3);
      expect(new Set(list.slice(3)).size).toBe(3);
    }
  });
});

test("a document whose members or voters are not sorted, or with a transfer to the owner, is refused", () => {
  const document = ringOf("abc");
  expect(() => validateDocument({ ...document, members: [...document.members].reverse() })).toThrow(/sorted/);
  expect(() => validateDocument({ ...document, voters: ["b", "a"] })).toThrow(/sorted/);
  expect(() => validateDocument({ ...document, voters: [] })).toThrow(/voters/);
  expect(() => validateDocument({ ...document, next: document.owners })).toThrow(/transfer/);
  expect(() => validateDocument({ ...document, version: 2 })).toThrow(/version/);
});
