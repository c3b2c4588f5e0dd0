/** What a plan says of how much would move. */

import { expect, test } from "vitest";
import type { NodeName, Partition } from "../../ring/ids.ts";
import type { RingNode } from "../../ring/node/port.ts";
import type { Plan } from "../../ring/plan.ts";
import { planSizes } from "../../services/api/plan-sizes.ts";

const view = (partition: number, queued: number): object => ({ partition, queued, delayed: 1, running: 0, dead: 0 });

const NODES: Readonly<Record<string, object>> = {
  a: { partitions: [view(0, 99), view(1, 97)], store: { bytes: 2_000_000 } },
  b: { partitions: [view(2, 0)], store: { bytes: 500 } },
};

test("P8: a plan tells the tasks of what is transferred and its share of the stores; who is silent is left open", async () => {
  const node = {
    ask: async (_request: object, { to }: { readonly to: string }) => {
      const status = NODES[to];
      return status === undefined
        ? { type: "refused", code: "DEADLINE", detail: "no answer" }
        : { type: "node-status", status };
    },
  } as unknown as RingNode;
  const move = (partition: number, from: string, type: "transfer" | "forced" = "transfer") => ({
    partition: partition as Partition,
    from: from as NodeName,
    to: "d" as NodeName,
    type,
  });
  const moves = [move(0, "a"), move(2, "b"), move(3, "c"), move(1, "a", "forced")];
  const sizes = await planSizes(node, { moves } as unknown as Plan, 1_000);
  expect([...sizes.tasks]).toEqual([
    [0, 100],
    [2, 1],
  ]);
  expect(sizes.bytes).toBe(Math.round((2_000_000 * 101) / 200 + 500));
});
