/** What was said of an app at run time reaches every node, and survives who acknowledged it. */

import { expect, test } from "vitest";
import { hashKey, partitionOfHash } from "../../ring/hash.ts";
import type { AppName } from "../../ring/ids.ts";
import { AppSettings, type AppSettingsParts } from "../../ring/node/app-settings.ts";
import type { Here } from "../../ring/node/here.ts";
import { type AppAction, Overrides } from "../../ring/node/overrides.ts";
import type { AppView, NodeAnswer } from "../../ring/node/requests.ts";
import type { AppDefinition } from "../../ring/tasks/definition.ts";
import { defineApp, task } from "../../services/app.ts";
import { Catalogue } from "../../services/apps/catalogue.ts";

import { Scene } from "../simulation/scene.ts";

function isPaused(scene: Scene, number: number): boolean | undefined {
  let view: AppView | undefined;
  const host = scene.host(number);
  host.onAnswer = (_id, answer) => {
    if (answer.type === "apps") view = answer.apps.find(({ app }) => app === "alpha");
  };
  scene.ask(host, { type: "list-apps", limit: 100 });
  scene.pass(10);
  return view?.paused;
}

/** Asks that node, and says when the answer came. */
function ask(scene: Scene, number: number, action: AppAction, app = "alpha"): NodeAnswer[] {
  const answers: NodeAnswer[] = [];
  scene.host(number).onAnswer = (_id, answer) => void answers.push(answer);
  scene.ask(scene.host(number), { type: "app", app: app as never, action });
  return answers;
}

function homeOf(scene: Scene): number {
  const owner = scene.document()!.owners[partitionOfHash(hashKey("alpha", ""), 8)];
  return scene.hosts.findIndex(({ name }) => name === owner) + 1;
}

test("a pause that was acknowledged is known to every node, also to one that could not be reached by who acknowledged it", () => {
  const scene = new Scene({ nodes: 4, apart: true });
  scene.begin();
  const home = homeOf(scene);
  const [cut, other] = [1, 2, 3, 4].filter((number) => number !== home);
  const [homeHost, cutHost] = [scene.host(home), scene.host(cut!)];
  // Only these two cannot reach each other; they reach all others, so nobody is dead.
  scene.network.cut(homeHost.name, cutHost.name);
  scene.network.cut(cutHost.name, homeHost.name);
  scene.pass(8_000);
  const answers = ask(scene, home, "pause");
  scene.pass(2_000);
  expect(answers).toMatchObject([{ type: "ok" }]);
  expect(isPaused(scene, other!)).toBe(true);
  // The one that acknowledged it goes, for good.
  homeHost.crash();
  scene.network.heal();
  scene.until(() => !(scene.document(other)?.owners.includes(homeHost.name) ?? true), 60_000);
  scene.pass(60_000);
  expect(isPaused(scene, cut!)).toBe(true);
});

test("news among the many settings of a greeting is told on too: who gave them may be gone before another hears of it", () => {
  const scene = new Scene({ nodes: 3 });
  scene.begin();
  const settings = { version: 9_000_000, existence: "implied", limits: {} } as const;
  const overrides = ["alpha", "beta"].map((app) => ({ ...settings, app: app as AppName, paused: app === "alpha" }));
  const greeting = { type: "apps", loaded: [], overrides } as const;
  scene.host(1).step({ type: "messages", from: scene.host(2).name, messages: [greeting] });
  scene.pass(1_000);
  expect([1, 3].map((number) => isPaused(scene, number))).toEqual([true, true]);
});

test("two owners of an app's home that number their changes alike end in one setting everywhere", () => {
  const [a, b] = [new Overrides(), new Overrides()];
  const app = "alpha" as never;
  const definition = {} as AppDefinition;
  // b became the owner of the home before it heard of what a had acknowledged.
  const one = a.next(app, "pause", { definition, generation: 4 });
  const two = b.next(app, { limits: { running: 3 } }, { definition, generation: 5 });
  a.learn(one);
  b.learn(two);
  a.learn(two);
  b.learn(one);
  expect(a.get(app)).toEqual(b.get(app));
});

test("P1: a pause that was acknowledged is still there after a crash of its only node", () => {
  const scene = new Scene({ nodes: 1 });
  scene.begin();
  const host = scene.host(1);
  const answers: NodeAnswer[] = [];
  host.onAnswer = (_id, answer) => void answers.push(answer);
  host.step({
    type: "ask",
    askId: 7,
    request: { type: "app", app: "alpha" as never, action: "pause" },
    deadlineMs: 1_000,
  });
  scene.until(() => answers.length > 0, 1_000);
  expect(answers).toMatchObject([{ type: "ok" }]);
  host.crash();
  scene.pass(1_000);
  host.start({ seeds: [host.address] });
  scene.pass(10_000);
  expect(isPaused(scene, 1)).toBe(true);
});

test("an app that nobody has loaded or changed cannot be deleted: its name is a mistake, and nothing is kept of it", () => {
  const overrides = new Overrides();
  const nothing = { definition: undefined, generation: 1 };
  expect(() => overrides.next("alpah" as never, "delete", nothing)).toThrow(
    expect.objectContaining({ code: "APP_UNKNOWN" }),
  );
  // One that was created, and whose code is no longer loaded, can.
  overrides.learn({ app: "gone" as never, version: 1, existence: "created", paused: false, limits: {} });
  expect(overrides.next("gone" as never, "delete", nothing)).toMatchObject({ existence: "deleted" });
});

test("an app that only a template matches is described as it would be when asked for, and one that nothing matches is not", () => {
  const apps = new Catalogue([
    defineApp({ match: "shop-*" }, { tasks: { sell: task(async () => {}) }, limits: { running: 7 } }),
  ]);
  const parts = { apps, overrides: new Overrides(), engine: { appViews: () => [] } } as unknown as AppSettingsParts;
  const settings = new AppSettings({} as Here, parts);
  expect(settings.views({ limit: 9, app: "shop-1" as AppName })).toMatchObject([
    { app: "shop-1", match: "shop-*", existence: "implied", paused: false, limits: { running: 7 }, queued: 0 },
  ]);
  expect(settings.views({ limit: 9, app: "shop" as AppName })).toEqual([]);
  expect(settings.views({ limit: 9 })).toEqual([]);
});

test("P5: as many apps as a node keeps settings of have them after a restart too", () => {
  const [overrides, catalogue] = [new Overrides(), new Catalogue([])];
  const given = (at: number) =>
    ({ app: `event-${at}` as never, version: 1, existence: "created", paused: false, limits: {} }) as const;
  for (let at = 0; at <= 100_000; at++) if (overrides.learn(given(at))) catalogue.override(given(at));
  expect(overrides.all()).toHaveLength(100_000);
});

test("a task of a deleted app is refused for good, also where other nodes have loaded its code", () => {
  const scene = new Scene({ nodes: 3 });
  scene.begin();
  const answers = ask(scene, 1, "delete");
  scene.pass(1_000);
  expect(answers).toMatchObject([{ type: "ok" }]);
  scene.submit(scene.host(1), 8);
  scene.until(() => scene.outcomes.size === 8, 5_000);
  const codes = [...scene.outcomes.values()].map((outcome) => outcome.type === "refused" && outcome.code);
  expect(new Set(codes)).toEqual(new Set(["APP_UNKNOWN"]));
});
