/** `ringctl key hot`: which keys are the hottest of what the nodes counted. */

import { expect, test } from "vitest";
import { hottestOf } from "../../../cli/hot-keys.ts";

const counted = (key: string, attempts: number, busyMs: number) => ({ app: "shop", key, attempts, busyMs });
const names = (keys: readonly { readonly key: string }[]): readonly string[] => keys.map(({ key }) => key);

test("a key is hot by its share of all attempts or of the time, whichever is larger", () => {
  const few = Array.from({ length: 30 }, (_, at) => counted(`few-${at}`, 3, 30));
  const replies = [
    { node: "n1", forMs: 5_000, attempts: 110, keys: [counted("often", 20, 100), ...few] },
    { node: "n2", forMs: 5_000, attempts: 1, keys: [counted("long", 1, 9_000)] },
  ];
  expect(names(hottestOf(replies, { forMs: 5_000, limit: 3 }))).toEqual(["long", "often", "few-0"]);
});

test("a key that moved while it was counted is one key, at the node that said so last", () => {
  const replies = ["n1", "n2"].map((node) => ({ node, forMs: 1_000, attempts: 4, keys: [counted("moved", 4, 200)] }));
  expect(hottestOf(replies, { forMs: 1_000, limit: 9 })).toEqual([{ ...counted("moved", 8, 400), node: "n2" }]);
});
