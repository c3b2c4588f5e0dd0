/** Messages as they are read off the wire: what `ringctl -o json` and clients show. */

import { expect, test } from "vitest";
import { serviceDefinition } from "../../../proto/load.ts";

test("a message holds its fields and nothing else: no mark of protobufjs for those that are optional", () => {
  const describe = serviceDefinition("taskring.v1.Apps").Describe!;
  const app = { app: "shop", match: "shop", limits: { queued: 5, weight: 1 } };
  const read = describe.responseDeserialize(describe.responseSerialize(app)) as { readonly limits: object };
  expect(read.limits).toEqual({ queued: 5, weight: 1 });
  const get = serviceDefinition("taskring.v1.Tasks").Get!;
  const task = get.responseDeserialize(get.responseSerialize({ taskId: "1", endedAtMs: 5 }));
  expect(Object.keys(task).filter((name) => name.startsWith("_"))).toEqual([]);
});
