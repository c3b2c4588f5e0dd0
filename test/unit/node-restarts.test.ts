/** Planned stops of several nodes that overlap: nobody takes over from one of them within its grace. */

import { expect, test } from "vitest";
import type { Host } from "../../services/testing/host.ts";
import { Scene } from "../simulation/scene.ts";

/** Of three nodes on machines of their own: neither of the two has heard that the other one means to come back. */
function twoStopped(): { readonly scene: Scene; readonly first: Host; readonly second: Host } {
  const scene = new Scene({ nodes: 3, apart: true });
  scene.begin();
  const [first, second] = [scene.host(1), scene.host(2)];
  second.stop(1_000);
  first.stop(1_000);
  scene.until(() => first.machine === undefined && second.machine === undefined, 5_000);
  return { scene, first, second };
}

test.each([1_000, 10_000])(
  "P3: a node that is back after %d ms takes over from no other within its restart",
  (backMs) => {
    const { scene, first, second } = twoStopped();
    scene.pass(backMs);
    scene.restart(first);
    scene.pass(28_000 - backMs);
    expect(scene.document(3)?.members.map(({ status }) => status)).toEqual(["valid", "valid", "valid"]);
    scene.restart(second);
    scene.pass(10_000);
    expect(scene.document(3)?.stranded).toEqual([]);
  },
);

test("P8: whom nobody has heard of since a restart is taken for dead when its time to come back is over", () => {
  const { scene, first, second } = twoStopped();
  scene.restart(first);
  scene.until(() => scene.document(3)?.owners.includes(second.name) === false, 40_000);
});
