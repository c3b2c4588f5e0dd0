/** The claimant alone: what it proposes, and when, from what it hears. */

import { beforeEach, describe, expect, test } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import type { RingError } from "../../ring/errors.ts";
import type { Epoch, MemberId, NodeName, Partition } from "../../ring/ids.ts";
import { STRANDED_LIMIT } from "../../ring/limits.ts";
import { Claimant } from "../../ring/node/claimant.ts";
import { Liveness } from "../../ring/node/liveness.ts";
import type { ProposalEnding } from "../../ring/node/seat.ts";
import type { Consent } from "../../ring/register/messages.ts";
import { stageChange } from "../../ring/staging.ts";
import { checkSuccessor } from "../../ring/successor.ts";
import { passEpoch } from "../../ring/transition.ts";
import { documentOf, strandedOn } from "./node-parts.ts";

const [A, B, C] = ["a", "b", "c"] as const as unknown as [NodeName, NodeName, NodeName];

/** A ring of a, b and c whose partitions are all owned by members. */
function ring(fields: Parameters<typeof documentOf>[0]): RingDocument {
  const document = documentOf(fields);
  return {
    ...document,
    voters: [A, B, C],
    owners: document.owners.map((owner, index) => (index === 0 ? owner : [A, B, C][index % 3])),
  };
}

let now = 0;
let document: RingDocument;
let liveness: Liveness;
let claimant: Claimant;
let proposals: { document: RingDocument; consents: readonly Consent[] }[];
let asked: NodeName[];
let notes: string[];

function begin(self: NodeName, first: RingDocument): void {
  now = 1_000;
  document = first;
  proposals = [];
  asked = [];
  notes = [];
  liveness = new Liveness(self);
  const here = {
    self,
    memberId: "id-here" as never,
    get now() {
      return now;
    },
    get document() {
      return document;
    },
    emit: () => {},
    send: () => {},
    linked: (name: NodeName) => liveness.linked(name),
    note: (what: string, why: string) => void notes.push(`${what}: ${why}`),
  };
  claimant = new Claimant(here, liveness, {
    propose: (next, consents) => void proposals.push({ document: next, consents }),
    prepare: () => {},
    askRevocable: (name) => void asked.push(name),
    peersOnMachine: () => false,
  });
  claimant.follow(first);
}

/** Lets the claimant look at the ring until the time is over. */
function pass(ms: number): void {
  for (const end = now + ms; now < end; ) {
    now = Math.min(end, claimant.nextDeadline() ?? end);
    claimant.tick();
    now += 1;
  }
}

function decide(next: RingDocument): void {
  expect(checkSuccessor(document, next)).toEqual([]);
  document = next;
  claimant.follow(next);
  end("chosen");
}

/** The register ends the last proposal. */
function end(outcome: ProposalEnding["outcome"]): void {
  claimant.ended({ epoch: proposals.at(-1)!.document.epoch, outcome }, 0.5);
}

function die(name: NodeName): void {
  liveness.link(name, false);
  liveness.notice(now, { type: "member-dead", member: { name } } as Parameters<Liveness["notice"]>[1]);
}

function rise(name: NodeName): void {
  liveness.link(name, true);
  liveness.notice(now, { type: "member-up", member: { name } } as Parameters<Liveness["notice"]>[1]);
}

beforeEach(() => {
  begin(A, ring({ epoch: 5, owner: "c", next: "b" }));
  liveness.link(B, true);
  liveness.link(C, true);
});

describe("the role", () => {
  test("is the lowest-named live voter's", () => {
    expect(claimant.role()).toBe(A);
    begin(B, ring({ epoch: 5 }));
    liveness.link(A, true);
    expect(claimant.role()).toBe(A);
    die(A);
    expect(claimant.role()).toBe(B);
  });

  test("is not that of a voter that restarts on purpose: nothing would happen meanwhile", () => {
    begin(B, ring({ epoch: 5 }));
    liveness.link(A, true);
    liveness.restarting(A, now + 55_000);
    expect(claimant.role()).toBe(B);
    liveness.link(A, false);
    liveness.link(A, true);
    expect(claimant.role()).toBe(A);
  });
});

describe("a member that gossips and to which there is no link", () => {
  const lost = (): void => {
    for (const name of [A, C]) rise(name);
    pass(1_000);
    liveness.link(A, false);
  };

  test("P7: proposes nothing any more: after a while it is the turn of another, until the link is back", () => {
    begin(B, ring({ epoch: 5 }));
    lost();
    pass(29_000);
    expect(claimant.role()).toBe(A);
    pass(2_000);
    expect(claimant.role()).toBe(B);
    liveness.link(A, true);
    expect(claimant.role()).toBe(A);
  });

  test("P7: is marked down when a majority says that its lease has run out, and keeps what it has if it has not", () => {
    begin(B, ring({ epoch: 5 }));
    lost();
    pass(29_000);
    expect(asked).toEqual([]);
    pass(10_000);
    expect(asked).toContain(A);
    expect(proposals).toEqual([]);
    claimant.revocable(A, true);
    pass(200);
    expect(proposals[0]?.document.members.find(({ name }) => name === A)?.status).toBe("down");
  });
});

describe("a member that is linked to and says nothing, though it asks each voter for its lease", () => {
  /** For so long, a and c are linked to b, and those named are heard every second. */
  const listen = (ms: number, ...heard: readonly NodeName[]): void => {
    for (const end = now + ms; now < end; pass(1_000)) for (const name of heard) liveness.heard(name);
  };

  beforeEach(() => {
    begin(B, ring({ epoch: 5 }));
    for (const name of [A, C]) rise(name);
    liveness.follow(new Set([A, B, C]), { isAsked: true });
  });

  test("P8: proposes nothing any more, and is asked about like a dead one, until it is heard again", () => {
    listen(29_000, C);
    expect(claimant.role()).toBe(A);
    listen(10_000, C);
    expect([claimant.role(), ...new Set(asked)]).toEqual([B, A]);
    claimant.revocable(A, true);
    pass(200);
    expect(proposals[0]?.document.members.find(({ name }) => name === A)?.status).toBe("down");
    liveness.heard(A);
    expect(claimant.role()).toBe(A);
  });

  test("P8: whoever is heard is there, and a node that is no voter expects to hear nobody", () => {
    listen(60_000, A, C);
    expect([claimant.role(), ...asked]).toEqual([A]);
    liveness.follow(new Set([A, B, C]));
    listen(60_000);
    liveness.follow(new Set([A, B, C]), { isAsked: true });
    listen(20_000);
    expect([claimant.role(), ...asked]).toEqual([A]);
  });
});

describe("a member that is gone", () => {
  test("is asked about once membership holds it dead, and marked down when a majority says so", () => {
    die(C);
    pass(800);
    expect(asked).toContain(C);
    expect(proposals).toEqual([]);
    claimant.revocable(C, true);
    pass(200);
    expect(proposals[0]?.document.members.find((member) => member.name === C)?.status).toBe("down");
    expect(proposals[0]?.document.stranded.map((entry) => entry.member)).toContain(C);
  });

  test("P8: and whose partitions the ring has no room to note says so, once", () => {
    const stranded = Array.from({ length: STRANDED_LIMIT }, (_, index) => strandedOn(`x${index}`, 1));
    begin(A, { ...ring({ epoch: 5, owner: "c", next: "b" }), stranded });
    liveness.link(B, true);
    liveness.link(C, true);
    die(C);
    for (let turn = 0; turn < 3; turn++) {
      pass(800);
      claimant.revocable(C, true);
    }
    pass(200);
    expect(proposals.some(({ document }) => document.members.some(({ status }) => status === "down"))).toBe(false);
    expect(notes).toEqual([expect.stringMatching(/^change-refused: more than 65536 stranded entries/)]);
  });

  test("P7: keeps its partitions while no majority says that its lease has run out", () => {
    die(C);
    claimant.revocable(C, false);
    pass(60_000);
    expect(asked.length).toBeGreaterThan(10);
    expect(
      proposals.flatMap((proposal) => proposal.document.members).filter(({ status }) => status === "down"),
    ).toEqual([]);
  });

  test("P7: that was a voter is replaced by a live member, one at a time, never just removed", () => {
    const four = ring({ epoch: 5 });
    const d = { ...four.members[0]!, name: "d" as NodeName, id: "id-d" as (typeof four.members)[0]["id"] };
    begin(A, { ...four, members: [...four.members, d] });
    for (const name of [B, d.name]) liveness.link(name, true);
    die(C);
    claimant.revocable(C, true);
    pass(300);
    expect(proposals.at(-1)?.document.voters).toEqual([A, B, d.name]);
    begin(A, ring({ epoch: 5 }));
    liveness.link(B, true);
    die(C);
    claimant.revocable(C, true);
    pass(300);
    expect(proposals.at(-1)?.document.voters).toEqual([A, B, C]);
  });

  test("P7: is marked down although the member that is to vote in its place does not answer, and another one votes then", () => {
    const three = ring({ epoch: 5 });
    const [d, e] = ["d", "e"].map((name) => ({
      ...three.members[0]!,
      name: name as NodeName,
      id: `id-${name}` as MemberId,
    }));
    begin(A, { ...three, members: [...three.members, d!, e!] });
    for (const name of [B, d!.name, e!.name]) liveness.link(name, true);
    die(C);
    const tried: NodeName[] = [];
    for (let turn = 0; turn < 4 && document.members[2]!.status !== "down"; turn++) {
      pass(800);
      claimant.revocable(C, true);
      pass(300);
      const next = proposals.at(-1)!.document;
      const newcomer = next.voters.find((name) => !document.voters.includes(name));
      if (newcomer !== undefined) tried.push(newcomer);
      if (newcomer === d!.name)
        claimant.ended({ epoch: next.epoch, outcome: "refused", reason: "newcomer-silent" }, 0.5);
      else decide(next);
    }
    expect(document.members[2]!.status).toBe("down");
    expect(tried).toEqual([d!.name, e!.name]);
  });

  test("P7: that is to vote and did not answer is asked again later", () => {
    const three = ring({ epoch: 5 });
    const d = { ...three.members[0]!, name: "d" as NodeName, id: "id-d" as MemberId };
    begin(A, { ...three, members: [...three.members, d], voters: [A, B] });
    for (const name of [B, C, d.name]) liveness.link(name, true);
    die(C);
    pass(300);
    claimant.ended({ epoch: 6 as Epoch, outcome: "refused", reason: "newcomer-silent" }, 0.5);
    pass(5_000);
    expect(proposals).toHaveLength(1);
    pass(10_000);
    expect(proposals.map((proposal) => proposal.document.voters)).toEqual([
      [A, B, d.name],
      [A, B, d.name],
    ]);
  });

  test("P1: gives its consent by whoever holds its directory, and what it has goes to the adopter", () => {
    const owned = document.owners.flatMap((owner, index) => (owner === C ? [index as Partition] : []));
    die(C);
    liveness.speaks(B, [C]);
    claimant.consent(C, 6 as Epoch, { type: "all", partitions: owned, adopter: B }, true);
    pass(50);
    expect(proposals[0]?.consents).toEqual([{ member: C, epoch: 6, partitions: owned }]);
    expect(proposals[0]?.document.stranded.map(({ where }) => where)).toEqual(
      owned.map(() => ({ type: "adopter", adopter: B })),
    );
    expect(proposals[0]?.document.owners).not.toContain(C);
  });

  test("P3: leaves its tasks to whoever holds its directory, also where a full disk keeps that one from its consent", () => {
    die(C);
    liveness.speaks(B, [C]);
    pass(11_000);
    expect(asked).toContain(C);
    claimant.revocable(C, true);
    pass(200);
    expect(proposals[0]?.consents).toEqual([]);
    const left = proposals[0]?.document.stranded.filter(({ member }) => member === C) ?? [];
    expect(left.length).toBeGreaterThan(0);
    for (const { where } of left) expect(where).toEqual({ type: "adopter", adopter: B });
  });

  test("P1: had taken over a directory: what lies there is found again, and its owner stops waiting", () => {
    const entry = strandedOn("c", 1, { type: "adopter", adopter: B });
    const down = ring({ epoch: 5, owner: "a", stranded: [entry] });
    begin(A, {
      ...down,
      members: down.members.map((member) => (member.name === C ? { ...member, status: "down" as const } : member)),
      owners: down.owners.map((owner) => (owner === C ? A : owner)),
    });
    liveness.link(B, true);
    pass(1_000);
    expect(proposals).toEqual([]);
    die(B);
    pass(1_000);
    expect(proposals[0]?.document.stranded).toEqual([{ ...entry, where: { type: "away" } }]);
  });

  test("P3: whose directory a peer holds waits for that peer while a claimant that has just started has not heard of it", () => {
    const down = ring({ epoch: 5, owner: "a", stranded: [strandedOn("c", 1, { type: "adopter", adopter: B })] });
    begin(A, {
      ...down,
      members: down.members.map((member) => (member.name === C ? { ...member, status: "down" as const } : member)),
      owners: down.owners.map((owner) => (owner === C ? A : owner)),
    });
    pass(29_000);
    expect(proposals).toEqual([]);
    pass(3_000); // nor has it been heard of since
    expect(proposals[0]?.document.stranded.map(({ where }) => where)).toEqual([{ type: "away" }]);
  });

  describe("and whose directory a peer has adopted", () => {
    const isAway = (): boolean =>
      proposals.some(({ document: next }) => next.stranded.some(({ where }) => where.type === "away"));

    beforeEach(() => {
      const down = ring({ epoch: 5, owner: "a", stranded: [strandedOn("c", 1, { type: "adopter", adopter: B })] });
      begin(A, {
        ...down,
        members: down.members.map((member) => (member.name === C ? { ...member, status: "down" as const } : member)),
        owners: down.owners.map((owner) => (owner === C ? A : owner)),
      });
      for (const name of [B, C]) rise(name);
      die(C);
      liveness.speaks(B, [C]);
      pass(60_000);
      expect(isAway()).toBe(false);
    });

    test("P8: is away when that peer has given it back: its owners do not wait for older tasks without end", () => {
      liveness.speaks(B, []);
      pass(16_000);
      liveness.speaks(B, [C]); // a disk that failed once is tried again
      pass(10_000);
      liveness.speaks(B, []);
      pass(44_000);
      expect(isAway()).toBe(false);
      pass(2_000);
      expect(isAway()).toBe(true);
    });

    test("P3: is waited for while that peer restarts or cannot be reached, and while the member is back itself", () => {
      liveness.speaks(B, []);
      liveness.restarting(B, now + 30_000);
      pass(29_000);
      liveness.link(B, false);
      pass(60_000);
      liveness.link(B, true);
      pass(40_000);
      rise(C);
      for (let turn = 0; turn < 7; turn++) {
        pass(10_000);
        end("lost"); // its return
      }
      expect(isAway()).toBe(false);
    });

    test("P3: is waited for as long whatever this node saw when it was the one that proposes before", () => {
      liveness.speaks(B, []); // it restarts
      pass(1_000);
      now += 3_600_000; // meanwhile it is the turn of another, or this process stands still
      claimant.tick();
      pass(1_000);
      expect(isAway()).toBe(false);
      pass(43_000);
      expect(isAway()).toBe(false);
      pass(2_000);
      expect(isAway()).toBe(true);
    });

    test("P8: is away when the member gossips again but nobody can link to it, as behind a firewall: its rows cannot come", () => {
      liveness.speaks(B, []);
      rise(C);
      liveness.link(C, false);
      pass(70_000);
      expect(isAway()).toBe(false);
      pass(10_000);
      expect(isAway()).toBe(true);
    });
  });

  test("is asked about as well when it was never heard of, as after a restart of the whole ring without it", () => {
    begin(A, ring({ epoch: 5 }));
    liveness.link(B, true);
    pass(29_000); // a planned restart may have begun right before this node's start
    expect(asked).toEqual([]);
    pass(3_000);
    expect(asked).toContain(C);
    expect(asked).not.toContain(B);
  });

  test("costs no other voter its vote while the ring is still coming up", () => {
    begin(A, { ...ring({ epoch: 5 }), voters: [A, B] });
    liveness.link(C, true);
    pass(5_000);
    expect(proposals.filter((proposal) => !proposal.document.voters.includes(B))).toEqual([]);
  });
});

describe("proposals", () => {
  const give = (member: NodeName, to: NodeName, epoch = 6): void =>
    claimant.consent(member, epoch as Epoch, { type: "moves", moves: [{ partition: 0 as Partition, to }] }, true);

  test("carry a cut-over as soon as its owner has consented", () => {
    give(C, B);
    pass(50);
    expect(proposals[0]?.document.owners[0]).toBe(B);
    expect(proposals[0]?.consents).toEqual([{ member: C, epoch: 6, partitions: [0] }]);
  });

  test("carry a cut-over at once, also while something else is waited for: its keys stand still", () => {
    pass(5);
    claimant.nudge();
    now += 1;
    give(C, B);
    claimant.tick();
    expect(proposals[0]?.document.owners[0]).toBe(B);
  });

  test("move nothing to a member that goes down in the same epoch: one owner change at a time", () => {
    give(C, B);
    claimant.consent(
      B,
      6 as Epoch,
      {
        type: "all",
        partitions: document.owners.flatMap((owner, index) => (owner === B ? [index as Partition] : [])),
        adopter: A,
      },
      true,
    );
    pass(50);
    const [first] = proposals;
    expect(first?.document.members.find((member) => member.name === B)?.status).toBe("down");
    expect(checkSuccessor(document, first!.document)).toEqual([]);
  });

  test("move nothing to a member that is dead: its tasks would be away the moment they arrive", () => {
    die(B);
    give(C, B);
    pass(300);
    expect(proposals.filter((proposal) => proposal.document.owners[0] === B)).toEqual([]);
  });

  test("go on with the cut-overs when something else in them was refused", () => {
    const results: (RingDocument | RingError)[] = [];
    claimant.wish(
      (current) => ({ ...passEpoch(current), voters: [] }),
      (result) => void results.push(result),
      10_000,
    );
    give(C, B);
    pass(50);
    expect(proposals).toHaveLength(1);
    end("refused");
    pass(400);
    expect(proposals).toHaveLength(2);
    expect(proposals[1]?.document.owners[0]).toBe(B);
    expect(proposals[1]?.document.voters).toEqual([A, B, C]);
    decide(proposals[1]!.document);
    pass(50);
    expect(proposals.length).toBeGreaterThan(2);
    expect(results).toEqual([]);
  });

  test("answer a wish with the document that was decided", () => {
    const results: (RingDocument | RingError)[] = [];
    claimant.wish(passEpoch, (result) => void results.push(result), 10_000);
    pass(50);
    decide(proposals[0]!.document);
    expect(results).toEqual([document]);
  });

  test("that nobody decides answer their wishes at their deadline", () => {
    const results: (RingDocument | RingError)[] = [];
    claimant.wish(passEpoch, (result) => void results.push(result), 3_000);
    pass(50);
    end("timeout");
    for (let turn = 0; turn < 20; turn++) {
      pass(250);
      end("timeout");
    }
    expect(results).toMatchObject([{ code: "RING_BUSY" }]);
  });

  test("P8: are under way until the register ends them: what it says late is not credited to another", () => {
    const results: [string, number | string][] = [];
    const join = (name: string): void =>
      claimant.wish(
        (current) =>
          stageChange(current, {
            type: "join",
            member: { name: name as NodeName, id: name as MemberId, weight: 100, machine: "m", directory: `/${name}` },
          }),
        (result) => void results.push([name, "epoch" in result ? result.epoch : result.code]),
        60_000,
      );
    join("d");
    pass(50);
    pass(20_000);
    join("e");
    pass(1_000);
    expect(proposals).toHaveLength(1);
    decide(proposals[0]!.document);
    expect(results).toEqual([["d", 6]]);
    pass(50);
    decide(proposals[1]!.document);
    expect(results).toEqual([
      ["d", 6],
      ["e", 7],
    ]);
    expect(document.staged).toHaveLength(2);
  });

  test("P8: whose epoch decided something else do not answer their wishes, whatever is said of them", () => {
    const results: (RingDocument | RingError)[] = [];
    claimant.wish(passEpoch, (result) => void results.push(result), 10_000);
    pass(50);
    claimant.ended({ epoch: 5 as Epoch, outcome: "chosen" }, 0.5); // of an earlier one
    pass(50);
    expect(proposals).toHaveLength(1);
    document = { ...proposals[0]!.document, voters: [A] };
    claimant.follow(document);
    end("chosen");
    expect(results).toEqual([]);
    pass(50);
    expect(proposals[1]?.document.epoch).toBe(7);
  });

  test("that the register never ends answer their wishes at their deadline", () => {
    const results: (RingDocument | RingError)[] = [];
    claimant.wish(passEpoch, (result) => void results.push(result), 3_000);
    pass(4_000);
    expect(results).toMatchObject([{ code: "RING_BUSY" }]);
  });

  test("are not made for a consent to an epoch that is far away, which does not shut out those that count", () => {
    give(C, B, 1_000_000);
    give(C, B);
    pass(50);
    expect(proposals[0]?.consents).toEqual([{ member: C, epoch: 6, partitions: [0] }]);
  });

  test("P5: are not made for what somebody gave who was no member then: names of strangers are not kept", () => {
    const stranger = "x" as NodeName;
    give(stranger, B, 7);
    const member = { ...document.members[0]!, name: stranger, id: "id-x" as MemberId };
    const owners = document.owners.map((owner, index) => (index === 0 ? stranger : owner));
    document = { ...document, epoch: 6 as Epoch, members: [...document.members, member], owners };
    claimant.follow(document);
    pass(50);
    expect(proposals.flatMap(({ consents }) => consents)).toEqual([]);
    give(stranger, B, 7); // as members say it again
    pass(50);
    expect(proposals.at(-1)?.consents).toEqual([{ member: stranger, epoch: 7, partitions: [0] }]);
  });

  test("remove what was absorbed", () => {
    begin(A, { ...ring({ epoch: 5 }), stranded: [strandedOn("c", 1)] });
    claimant.absorbed(document.owners[0]!, { entries: [strandedOn("c", 1)] });
    liveness.link(B, true);
    liveness.link(C, true);
    pass(100);
    expect(proposals[0]?.document.stranded).toEqual([]);
  });

  test("P1: keep what was absorbed by an owner that is none any more: it drops that, and the present one has nothing of it", () => {
    const entries = [strandedOn("c", 1)];
    begin(A, { ...ring({ epoch: 5, owner: "b" }), stranded: entries });
    liveness.link(B, true);
    liveness.link(C, true);
    claimant.absorbed(B, { entries });
    document = {
      ...document,
      epoch: 6 as Epoch,
      owners: document.owners.map(() => C),
      generations: document.generations.map((generation) => generation + 1),
    };
    claimant.follow(document);
    claimant.absorbed(B, { entries }); // it does not know that yet
    pass(300);
    expect(proposals.filter((proposal) => proposal.document.stranded.length === 0)).toEqual([]);
    claimant.absorbed(C, { entries });
    pass(300);
    expect(proposals.at(-1)?.document.stranded).toEqual([]);
  });

  test("P1: keep what was absorbed by an owner that has lost its partition meanwhile, and is the owner again", () => {
    const entries = [strandedOn("c", 1)];
    begin(A, { ...ring({ epoch: 7, owner: "b" }), stranded: entries });
    liveness.link(B, true);
    liveness.link(C, true);
    const generation = document.generations[entries[0]!.partition]!;
    claimant.absorbed(B, { entries, generations: [generation - 2] });
    pass(300);
    expect(proposals.filter((proposal) => proposal.document.stranded.length === 0)).toEqual([]);
    claimant.absorbed(B, { entries, generations: [generation] });
    pass(300);
    expect(proposals.at(-1)?.document.stranded).toEqual([]);
  });

  test("take a member back, and a ballot that was lost does not count as its return", () => {
    const down = ring({ epoch: 5, owner: "a" });
    begin(A, {
      ...down,
      members: down.members.map((member) => (member.name === C ? { ...member, status: "down" as const } : member)),
      owners: down.owners.map((owner) => (owner === C ? A : owner)),
    });
    liveness.link(B, true);
    liveness.link(C, true);
    for (let ballot = 0; ballot < 5; ballot++) {
      pass(300);
      expect(proposals[ballot]?.document.members.find((member) => member.name === C)?.status).toBe("valid");
      end("lost");
    }
  });
});
