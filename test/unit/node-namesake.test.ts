/** The machine of a member is replaced: its name comes back with an empty disk (ownership rule 4: another member). */

import { expect, test } from "vitest";
import { hashKey, partitionOfHash } from "../../ring/hash.ts";
import type { MemberId } from "../../ring/ids.ts";
import { Host } from "../../services/testing/host.ts";
import { Scene } from "../simulation/scene.ts";

function begun(): Scene {
  const scene = new Scene({ nodes: 3, apart: true });
  scene.begin();
  return scene;
}

/** The partitions of n2 get another owner. */
function failsOver(scene: Scene): void {
  const two = scene.host(2).name;
  scene.until(() => !(scene.document(1)?.owners.includes(two) ?? true), 120_000);
}

test("control: a member that dies loses its partitions to the others", () => {
  const scene = begun();
  scene.host(2).crash();
  failsOver(scene);
});

test("a member that died does not stay an owner because another one uses its name", () => {
  const scene = begun();
  const { name } = scene.host(2);
  const partition = scene.document()!.owners.indexOf(name);
  scene.host(2).crash();
  const namesake = new Host(scene, {
    index: 2,
    drift: 0,
    member: { name, id: "id-2b" as MemberId, weight: 100, machine: "m2", directory: "/n2" },
  });
  (scene.hosts as Host[])[1] = namesake;
  scene.restart(namesake);
  scene.pass(60_000);
  expect(namesake.machine!.holdsLease(namesake.clock)).toBe(false); // sound: it runs nothing
  failsOver(scene);
  // New tasks of its keys run again.
  const key = Array.from({ length: 1_000 }, (_, index) => `k${index}`).find(
    (text) => partitionOfHash(hashKey("alpha", text), 8) === partition,
  )!;
  scene.submit(scene.host(1), 1, () => key);
  scene.until(() => scene.accepted() === 1, 20_000);
});
