/** What stays open at a node, and what is asked of it meanwhile. */

import { afterEach, expect, test } from "vitest";
import type { RingError } from "../../../ring/errors.ts";
import { connect, type RingClient } from "../../../services/client/index.ts";
import { blackHole } from "./black-hole.ts";
import { client, clients, closeAll, cluster } from "./scripted-cluster.ts";

afterEach(closeAll);

const ID = "0".repeat(32);

test("as many watches as a node takes of one connection keep no call from its answer, and one more is refused", async () => {
  const nodes = await cluster(["n1"]);
  const [one] = nodes;
  let asked = 0;
  one!.node.answer = () => {
    asked++;
    return new Promise(() => {}); // the task goes on
  };
  const ring = client(nodes, { onlyAddresses: true });
  const controller = new AbortController();
  const { signal } = controller;
  const watches = Array.from({ length: STREAMS }, () => next(ring, { signal }));
  while (asked < STREAMS) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(await ring.cluster.ring({ deadlineMs: 5_000 })).toMatchObject({ epoch: expect.any(Number) });
  expect(await next(ring).catch((error: RingError) => error.code)).toBe("RATE_LIMITED");
  expect(
    await ring
      .run("p")
      .report()
      .catch((error: RingError) => error.code),
  ).toBe("RATE_LIMITED");
  controller.abort();
  await Promise.all(watches);
  one!.node.answer = () => ({ type: "refused", code: "TASK_NOT_FOUND", detail: "no such task" });
  expect(await next(ring).catch((error: RingError) => error.code)).toBe("TASK_NOT_FOUND");
});

test("a run that is cancelled before a node is reached holds no place of a stream", async () => {
  const nodes = await cluster(["n1"]);
  const [one] = nodes;
  one!.node.answer = () => ({ type: "refused", code: "TASK_NOT_FOUND", detail: "no such task" });
  const ring = client(nodes, { onlyAddresses: true });
  for (let count = 0; count < STREAMS; count++) {
    const run = ring.run("p");
    run.cancel();
    await run.report().catch(() => undefined);
  }
  await ring.cluster.ring(); // behind them: each has been told of its node
  expect(await next(ring).catch((error: RingError) => error.code)).toBe("TASK_NOT_FOUND");
});

test("a stream of one node alone is given up by its deadline where the node takes connections and no more", async () => {
  await using hole = await blackHole();
  const ring = connect({ addresses: [hole.address], onlyAddresses: true });
  clients.push(ring);
  const events = ring.cluster.events({}, { address: hole.address, deadlineMs: 300 });
  const first = events[Symbol.asyncIterator]().next();
  expect(await first.catch((error: RingError) => error.code)).toBe("NO_OWNER");
});

function next(ring: RingClient, options: { readonly signal?: AbortSignal } = {}): Promise<unknown> {
  return ring
    .watch(ID, { ...options, deadlineMs: 20_000 })
    [Symbol.asyncIterator]()
    .next();
}

/** services/api/limits.ts */
const STREAMS = 256;
