/** `/api/v1/*` over a node that refuses: an error with its status, not an answer. */

import { expect, test } from "vitest";
import type { NodeDriver } from "../../ring/io/node.ts";
import { httpApi } from "../../services/host/http-api.ts";

test.each(["status", "transfers", "apps"])("/api/v1/%s of a node that refuses throws the refusal", async (path) => {
  const refused = { type: "refused", code: "DEADLINE", detail: "no answer in time" } as const;
  const api = httpApi({ name: "n1", ask: async () => refused } as unknown as NodeDriver);
  const answer = async () => api(path, new URLSearchParams(), new AbortController().signal);
  await expect(answer()).rejects.toMatchObject({ code: "DEADLINE", message: "no answer in time" });
});
