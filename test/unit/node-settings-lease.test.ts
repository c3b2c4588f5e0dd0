/** What a cut-off owner of an app's home says of the app. */

import { expect, test } from "vitest";
import { hashKey, partitionOfHash } from "../../ring/hash.ts";
import type { AppView, NodeAnswer } from "../../ring/node/requests.ts";
import { Scene } from "../simulation/scene.ts";

function view(scene: Scene, number: number): AppView | undefined {
  let found: AppView | undefined;
  const host = scene.host(number);
  host.onAnswer = (_id, answer) => {
    if (answer.type === "apps") found = answer.apps.find(({ app }) => app === "alpha");
  };
  scene.ask(host, { type: "list-apps", limit: 100 });
  scene.pass(10);
  return found;
}

test("P7: a node that the ring has left behind acknowledges no change of an app that the ring will not keep", () => {
  const scene = new Scene({ nodes: 4, apart: true });
  scene.begin();
  const owner = scene.document()!.owners[partitionOfHash(hashKey("alpha", ""), 8)];
  const home = scene.hosts.findIndex(({ name }) => name === owner) + 1;
  const others = [1, 2, 3, 4].filter((number) => number !== home);
  const cutOff = scene.host(home);
  for (const number of others) {
    scene.network.cut(cutOff.name, scene.host(number).name);
    scene.network.cut(scene.host(number).name, cutOff.name);
  }
  scene.until(() => !(scene.document(others[0])?.owners.includes(cutOff.name) ?? true), 60_000);
  const answers: NodeAnswer[] = [];
  cutOff.onAnswer = (_id, answer) => void answers.push(answer);
  scene.ask(cutOff, { type: "app", app: "alpha" as never, action: "pause" });
  scene.pass(2_000);
  const wasAcknowledged = answers.some(({ type }) => type === "ok");
  // The ring's own owner of the home changes something else.
  scene.ask(scene.host(others[0]!), { type: "app", app: "alpha" as never, action: { limits: { running: 3 } } });
  scene.pass(2_000);
  scene.network.heal();
  scene.pass(90_000);
  const after = view(scene, others[0]!);
  expect(after?.limits.running).toBe(3);
  if (wasAcknowledged) expect(after?.paused).toBe(true);
});
