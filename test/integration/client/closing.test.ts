/** Whatever is open when a client is closed ends at once, as CANCELLED. */

import { setTimeout as delay } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { connect, type RingClient } from "../../../services/client/index.ts";
import { blackHole } from "./black-hole.ts";
import { client, clients, closeAll, cluster } from "./scripted-cluster.ts";

afterEach(closeAll);

const TASK = "0".repeat(32);

/** Every kind of call, and what each ended with, after `ms`. `answered`: the node answers the last two, which is waited for. */
async function opened(
  ring: RingClient,
  { answered = false } = {},
): Promise<() => Promise<{ readonly code: string; readonly ms: number }[]>> {
  const events = ring.cluster.events()[Symbol.asyncIterator]();
  const calls: Promise<unknown>[] = [
    ring.get(TASK),
    ring.wait(TASK),
    ring.cluster.ring({ address: "127.0.0.1:1" }),
    ring.tasks.list(),
    ring.watch(TASK)[Symbol.asyncIterator]().next(),
    events.next().then(() => events.next()),
    ring.submit({ app: "acme", type: "t", key: "k" }),
    ring.run("p").report(),
  ];
  let closedAt = Number.POSITIVE_INFINITY;
  const ends = calls.map((call) =>
    call.then(
      () => ({ code: "resolved", ms: performance.now() - closedAt }),
      (error: { code: string }) => ({ code: error.code, ms: performance.now() - closedAt }),
    ),
  );
  if (answered) await Promise.all(ends.slice(6));
  else await delay(200);
  return () => {
    closedAt = performance.now();
    ring.close();
    return Promise.all(ends);
  };
}

test("calls that wait for a node's answer are CANCELLED at once", async () => {
  const [one] = await cluster(["n1"]);
  one!.node.answer = () => new Promise(() => undefined);
  const close = await opened(client([one!], { onlyAddresses: true }), { answered: true });
  for (const [index, { code, ms }] of (await close()).entries()) {
    // The submit was accepted before, and a scripted node has no pipelines.
    expect([index, code]).toEqual([index, ["resolved", "UNIMPLEMENTED"][index - 6] ?? "CANCELLED"]);
    expect(ms).toBeLessThan(300);
  }
});

test.each(["a frozen node", "no node"])("calls that wait for %s are CANCELLED at once", async (kind) => {
  await using hole = await blackHole();
  const ring = connect({ addresses: [kind === "no node" ? "127.0.0.1:1" : hole.address] });
  clients.push(ring);
  const close = await opened(ring);
  for (const [index, { code, ms }] of (await close()).entries()) {
    expect([index, code]).toEqual([index, "CANCELLED"]);
    expect(ms).toBeLessThan(300);
  }
});

test("calls of a closed client are CANCELLED at once", async () => {
  const ring = connect({ addresses: ["127.0.0.1:1"] });
  ring.close();
  await expect(ring.get(TASK)).rejects.toMatchObject({ code: "CANCELLED" });
  await expect(ring.watch(TASK)[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "CANCELLED" });
  await expect(ring.run("p").report()).rejects.toMatchObject({ code: "CANCELLED" });
  await expect(ring.ready()).rejects.toMatchObject({ code: "CANCELLED" });
});
