/** How often a client asks for the ring while its tasks are refused. */

import { afterEach, expect, test } from "vitest";
import { until } from "../api/fake-node.ts";
import { client, closeAll, cluster } from "./scripted-cluster.ts";

afterEach(closeAll);

test("tasks that are refused by the thousand ask for the ring about once a second", async () => {
  let calls = 0;
  const identify = () => {
    calls += 1;
    return { name: "local" };
  };
  const [one] = await cluster(["n1"], {}, { identify });
  let refused = 0;
  one!.node.judge = () => {
    refused += 1;
    return { type: "refused", code: "NO_OWNER", detail: "n2 cannot be reached" };
  };
  const ring = client([one!]);
  await ring.ready();
  const began = performance.now();
  for (let key = 0; key < 2_000; key++)
    ring.submit({ app: "acme", type: "t", key: `k${key}` }, { deadlineMs: 60_000 }).catch(() => undefined);
  await until(() => refused > 20_000, 30_000);
  const seconds = (performance.now() - began) / 1_000;
  expect(calls).toBeLessThan(15 + 2 * seconds);
  one!.node.judge = () => undefined;
  await until(() => one!.node.accepted.length === 2_000, 10_000);
});
