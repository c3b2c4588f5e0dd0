/** Which ring a client believes in. */

import { expect, test } from "vitest";
import type { RingReply } from "../../../proto/messages.ts";
import { RingMap } from "../../../services/client/ring-map.ts";

function reply(ringId: string, history: number, epoch: number): RingReply {
  const nodes = [{ name: ringId, grpcAddress: `${ringId}:1`, httpAddress: "" }];
  return { ringId, history, epoch, ringSize: 8, owners: Array(8).fill(0), next: [], nodes } as unknown as RingReply;
}

test("an older ring is not taken; another one is, whatever its numbers: it has the addresses now", () => {
  const map = new RingMap();
  for (const ring of [reply("a", 2, 7), reply("a", 2, 6), reply("a", 1, 9)]) map.learn(ring);
  expect(map.ring).toMatchObject({ history: 2, epoch: 7 });
  map.learn(reply("b", 1, 3));
  expect(map.ring).toMatchObject({ ringId: "b", epoch: 3 });
  expect(map.addresses).toEqual(["b:1"]);
});
