/** What a node makes of what membership and links say of its peers. */

import { describe, expect, test } from "vitest";
import { type MemberId, type NodeName, parseNodeName } from "../../ring/ids.ts";
import { PROFILES } from "../../ring/membership/profile.ts";
import { Swim } from "../../ring/membership/swim.ts";
import { encodeTags } from "../../ring/membership/tags.ts";
import { OUR_VERSIONS } from "../../ring/membership/versions.ts";
import type { NodeEffect } from "../../ring/node/effects.ts";
import { Liveness } from "../../ring/node/liveness.ts";
import type { NodeMessage } from "../../ring/node/messages.ts";
import { Neighbours } from "../../ring/node/neighbours.ts";
import { Scene } from "../simulation/scene.ts";
import { documentOf } from "./node-parts.ts";

const [A, C] = ["a", "c"].map(parseNodeName) as [NodeName, NodeName];
const DOCUMENT = documentOf({ epoch: 5, owner: "c" });

function begin(document = DOCUMENT): {
  neighbours: Neighbours;
  suspects: NodeName[];
  sent: { to: NodeName; message: NodeMessage }[];
  asked: string[];
  here: { now: number; document: typeof DOCUMENT };
  links: (readonly NodeName[])[];
  hear: (messages: Parameters<typeof received>[0]) => void;
} {
  const suspects: NodeName[] = [];
  const sent: { to: NodeName; message: NodeMessage }[] = [];
  const asked: string[] = [];
  const links: (readonly NodeName[])[] = [];
  const liveness = new Liveness(A);
  const here = {
    self: A,
    memberId: "id-here" as never,
    now: 1_000,
    document,
    emit: (effect: NodeEffect) => {
      if (effect.type === "links") links.push(effect.to);
    },
    send: (to: NodeName, message: NodeMessage) => void sent.push({ to, message }),
    linked: (name: NodeName) => liveness.linked(name),
    note: () => {},
  };
  const member = { name: A, id: "id-a" as (typeof DOCUMENT.members)[0]["id"], weight: 100, machine: "m1" };
  const neighbours = new Neighbours(here, {
    swim: new Swim({
      name: A,
      address: { host: "10.0.0.1", port: 1 },
      tags: new Map(),
      profile: PROFILES.lan,
      random: () => 0.5,
    }),
    liveness,
    member: { ...member, directory: "/a" },
    autoJoin: true,
    hooks: {
      presence: () => [],
      overrides: () => [],
      speaksFor: () => [],
      suspect: (name) => void suspects.push(name),
      linkChanged: () => {},
      noticed: () => {},
      changed: () => {},
      askClaimant: (request) => void asked.push(request.type),
      counts: () => new Map(),
    },
  });
  return { neighbours, suspects, sent, asked, here, links, hear: (messages) => neighbours.step(received(messages)) };
}

function received(messages: Extract<Parameters<Swim["step"]>[1], { type: "received" }>["messages"]) {
  return { type: "received", from: { host: "10.0.0.3", port: 3 }, messages } as const;
}

function alive(tags: ReadonlyMap<string, string> = new Map([["id", "id-c"]])) {
  const address = { host: "10.0.0.3", port: 3 };
  return { type: "alive", incarnation: 1, node: C, address, meta: encodeTags(tags), versions: OUR_VERSIONS } as const;
}

test("a leave is over when membership has been told often enough, and not before", () => {
  const { neighbours, hear, here } = begin();
  neighbours.start();
  hear([alive()]);
  expect(neighbours.leave()).toBe(true);
  expect(neighbours.leave()).toBe(false);
  expect(neighbours.hasLeft).toBe(false);
  const begun = here.now;
  while (!neighbours.hasLeft && here.now < begun + 60_000) {
    here.now = Math.max(here.now + 1, neighbours.nextDeadline() ?? 0);
    neighbours.tick();
  }
  // Its intent, then the leave itself, each by a few rounds of gossip; then a second in which it still answers.
  expect(here.now - begun).toBeGreaterThan(1_000);
  expect(here.now - begun).toBeLessThan(5_000);
});

test("P5: a message about thousands of strangers is looked at once, and not all of them are linked to", () => {
  const { neighbours, links } = begin();
  const { meta, address, versions } = alive();
  const strangers = Array.from({ length: 4_000 }, (_, index) => {
    const name = parseNodeName(`m${index}`);
    return {
      name,
      address: { ...address, port: 10_000 + index },
      meta,
      versions,
      incarnation: 1,
      state: "alive",
    } as const;
  });
  const request = { type: "push-pull", join: false, nodes: strangers, userState: new Uint8Array(0) } as const;
  neighbours.step({ type: "stream-request", stream: 1, from: address, request });
  expect(neighbours.members()).toHaveLength(4_001);
  expect(links).toHaveLength(1);
  expect(links[0]).toContain(C);
  expect(links[0]).toHaveLength(DOCUMENT.members.length - 1 + 256);
});

test("P1: a member that was started elsewhere tells the ring so until it knows: its directory would be adopted by nobody", () => {
  const at = (directory: string) => ({
    ...DOCUMENT,
    members: DOCUMENT.members.map((member) => (member.name === A ? { ...member, directory } : member)),
  });
  const { neighbours, asked, here } = begin(at("/before"));
  const pass = (ms: number): void => {
    for (const end = here.now + ms; here.now < end; here.now += 250) neighbours.tick();
  };
  neighbours.start();
  pass(5_000);
  expect(asked).toEqual(["admit", "admit", "admit"]);
  here.document = at("/a");
  pass(10_000);
  expect(asked).toHaveLength(3);
  here.document = at("/before"); // a word of its former process came late
  neighbours.follow(here.document);
  pass(1_000);
  expect(asked).toHaveLength(4);
});

test("P1: a member of the ring that was away for days is remembered, with its address: nothing else would find it again", () => {
  const { neighbours, hear, here } = begin();
  const [stranger, other] = ["x", "y"].map(parseNodeName) as [NodeName, NodeName];
  neighbours.start();
  neighbours.follow(here.document);
  hear([alive(), { ...alive(), node: stranger }, { ...alive(), node: other }]);
  for (const node of [C, stranger]) hear([{ type: "dead", node, from: other, incarnation: 1 }]);
  here.now += 3 * 24 * 3_600_000;
  for (const end = here.now + 10_000; here.now < end; here.now += 100) neighbours.tick();
  expect(neighbours.member(stranger)).toBeUndefined();
  expect(neighbours.member(C)).toMatchObject({ state: "dead", address: alive().address });
});

test("P8: as many newcomers as are linked to are known by name, and can be staged: more give way to those that spoke last", () => {
  const { neighbours } = begin();
  const say = (index: number): void =>
    neighbours.learnCandidate({ ...DOCUMENT.members[0]!, name: parseNodeName(`n${index}`) });
  for (let round = 0; round < 2; round++) for (let index = 0; index < 256; index++) say(index);
  expect(neighbours.candidates.size).toBe(256);
  say(1_000);
  expect(neighbours.candidates.size).toBe(256);
  expect(neighbours.candidates.has(parseNodeName("n0"))).toBe(false);
});

test("P8: a peer that links again is told again what is loaded here and whose directories are held: it forgot that with its link", () => {
  const scene = new Scene({ nodes: 3 });
  scene.begin();
  scene.host(3).crash();
  const holder = () =>
    scene.facts.find(({ fact }) => fact.type === "note" && fact.what === "adoption-started")?.fact.node;
  scene.until(() => holder() !== undefined, 5_000);
  const [host, peer] = holder() === scene.host(1).name ? [1, 2] : [2, 1];
  const { machine, clock } = scene.host(host);
  const hello = {
    type: "hello",
    protocol: { lowest: 1, highest: 1 },
    ringId: scene.document(host)!.ringId,
    history: 0,
    name: scene.host(peer).name,
    memberId: "id" as MemberId,
  } as const;
  const told = (from: NodeName) =>
    machine!.step(clock, { type: "messages", from, messages: [{ ...hello, name: from }] }).flatMap((effect) => {
      return effect.type === "send" && effect.to === from ? [effect.message] : [];
    });
  const messages = told(hello.name);
  expect(messages.find(({ type }) => type === "apps")).toMatchObject({ overrides: [] });
  expect(messages).toContainEqual({ type: "speaking-for", members: [scene.host(3).name] });
  expect(told(scene.host(3).name)).toEqual([]); // what it is to know it is told when the link to it is up
});

describe("a peer", () => {
  test("P1: that membership gives up is suspected, though its link was never up: its directory may be orphaned", () => {
    const { hear, suspects } = begin();
    hear([alive()]);
    expect(suspects).toEqual([]);
    hear([{ type: "dead", node: C, from: parseNodeName("b"), incarnation: 1 }]);
    expect(suspects).toEqual([C]);
  });

  test("P7: that knows a later epoch is asked for its document", () => {
    const { neighbours, hear, sent } = begin();
    neighbours.link(C, true);
    sent.length = 0;
    hear([alive(new Map([...[["id", "id-c"] as const], ["epoch", "5"]]))]);
    expect(sent.filter(({ message }) => message.type === "pull-document")).toEqual([]);
    hear([
      {
        ...alive(
          new Map([
            ["id", "id-c"],
            ["epoch", "6"],
          ]),
        ),
        incarnation: 2,
      },
    ]);
    expect(sent.filter(({ message }) => message.type === "pull-document")).toMatchObject([
      { to: C, message: { epoch: 5 } },
    ]);
  });

  test("P7: of a known name with another directory is no member: it asks to be taken in", () => {
    const renewed = {
      ...DOCUMENT,
      members: DOCUMENT.members.map((member) =>
        member.name === A ? { ...member, id: "id-former" as typeof member.id } : member,
      ),
    };
    const { neighbours, asked } = begin(renewed);
    neighbours.start();
    neighbours.tick();
    expect(asked).toEqual(["admit"]);
    const known = begin();
    known.neighbours.start();
    known.neighbours.tick();
    expect(known.asked).toEqual([]);
  });
});
