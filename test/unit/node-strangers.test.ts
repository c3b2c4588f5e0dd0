/** What peers say under names that nobody knows is forgotten; what members say is not pushed out by it. */

import { expect, test } from "vitest";
import { type NodeName, type Partition, parseNodeName } from "../../ring/ids.ts";
import { KNOWN_MOST, KnownNames } from "../../ring/node/known-names.ts";
import { Liveness } from "../../ring/node/liveness.ts";
import { Loads } from "../../ring/node/loads.ts";
import { Scene } from "../simulation/scene.ts";

const [SELF, MEMBER, DEAD] = ["self", "member", "dead"].map(parseNodeName) as [NodeName, NodeName, NodeName];
const STRANGERS = Array.from({ length: 3 * KNOWN_MOST }, (_, index) => parseNodeName(`x${index}`));
const [FIRST, LAST] = [STRANGERS[0]!, STRANGERS.at(-1)!];

test("P5: names that only a stranger used give way to newer ones, and never those of members and linked peers", () => {
  const apps = new KnownNames<string>((name) => name === MEMBER);
  apps.set(MEMBER, "member");
  for (const name of STRANGERS) apps.set(name, name);
  expect(apps.size).toBe(KNOWN_MOST);
  expect([apps.get(MEMBER), apps.get(FIRST), apps.get(LAST)]).toEqual(["member", undefined, LAST]);
});

test("P5: restarts and directories that strangers tell of are forgotten, those of members are kept", () => {
  const liveness = new Liveness(SELF);
  liveness.follow(new Set([MEMBER, DEAD]));
  liveness.restarting(MEMBER, 1_000);
  liveness.speaks(MEMBER, [DEAD]);
  for (const name of STRANGERS) liveness.restarting(name, 1_000);
  liveness.speaks(FIRST, STRANGERS);
  expect([MEMBER, FIRST, LAST].map((name) => liveness.isRestarting(0, name))).toEqual([true, false, true]);
  expect([DEAD, FIRST, LAST].map((name) => liveness.speakerFor(name))).toEqual([MEMBER, undefined, FIRST]);
});

test("P5: what is known of members alone goes with their membership", () => {
  const liveness = new Liveness(SELF);
  liveness.follow(new Set([MEMBER, DEAD]));
  liveness.replaced(1, MEMBER, true);
  expect(liveness.deadSince(1, DEAD)).toBeUndefined(); // unheard of from now on
  liveness.follow(new Set([SELF]));
  expect(liveness.deadSince(2, MEMBER)).toBeUndefined();
  expect(liveness.deadSince(10_000_000, DEAD)).toBeUndefined();
});

test("P8: strangers that tell how much waits with them leave room for members", () => {
  const loads = new Loads((name) => name === MEMBER);
  const counts = [{ partition: 1 as Partition, tasks: 7 }];
  for (const name of STRANGERS) loads.learn(name, counts);
  loads.learn(MEMBER, counts);
  for (const name of STRANGERS) loads.learn(name, counts);
  expect(loads.of(MEMBER, 1 as Partition)).toBe(7);
  expect(loads.of(FIRST, 1 as Partition)).toBeUndefined();
});

test("P5: what peers say of themselves is noted a few hundred times at once, then seldom, and short", () => {
  const scene = new Scene({ nodes: 1 });
  scene.begin();
  const host = scene.host(1);
  const say = (count: number): void => {
    for (let index = 0; index < count; index++)
      host.step({
        type: "messages",
        from: parseNodeName(`x${index}`),
        messages: [
          { type: "restarting", graceMs: 1_000 },
          { type: "refused", code: "INTERNAL", detail: "x".repeat(60_000) },
        ],
      });
  };
  const notes = () =>
    scene.facts.flatMap(({ fact }) =>
      fact.type === "note" && ["member-restarting", "refused"].includes(fact.what) ? [fact.detail] : [],
    );
  say(2_000);
  const first = notes();
  expect(first.length).toBeLessThanOrEqual(256);
  expect(Math.max(...first.map((detail) => detail.length))).toBeLessThan(1_000);
  scene.pass(60_000);
  say(1);
  expect(notes()[first.length]).toMatch(/more were left out/);
});
