/** Names that `--join` gives. */

import { expect, test } from "vitest";
import { resolveEndpoints } from "../../services/host/endpoint.ts";

const GOOD = { host: "127.0.0.1", port: 7_946 };
const LOST = { host: "nobody.invalid", port: 7_947 };

test("a name that does not resolve is told of and left out, as long as another one does", async () => {
  const unknown: string[] = [];
  expect(await resolveEndpoints([LOST, GOOD], (host) => void unknown.push(host))).toEqual([GOOD]);
  expect(unknown).toEqual([LOST.host]);
});

test("no names are none, and names of which none resolves are refused", async () => {
  expect(await resolveEndpoints([], () => {})).toEqual([]);
  const refused = resolveEndpoints([LOST], () => {});
  await expect(refused).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    message: expect.stringContaining(LOST.host),
  });
});
