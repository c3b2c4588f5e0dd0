/** What `connect` refuses at once, so that no call fails of it later. */

import { expect, test } from "vitest";
import { RingError } from "../../../ring/errors.ts";
import { connect } from "../../../services/client/ring-client.ts";

const ADDRESSES = ["127.0.0.1:1"];

test("a token that no header can carry is refused by connect, which does not show it", () => {
  for (const token of ["s3cret\n", "s3cret\r\n", "s3crét", "\u0000s3cret"]) {
    const refusal = refusalOf(() => connect({ addresses: ADDRESSES, token }).close());
    expect(refusal).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(/token/) });
    expect(String(refusal)).not.toMatch(/s3cr/);
  }
  connect({ addresses: ADDRESSES, token: "s3cret" }).close();
});

test("no address, or what is none, is refused by connect", () => {
  const wrong = [undefined, "127.0.0.1:1", [undefined], ["http://127.0.0.1:1"]] as unknown as string[][];
  for (const addresses of [[], [""], [...ADDRESSES, ""], ...wrong])
    expect(refusalOf(() => connect({ addresses }).close())).toMatchObject({ code: "INVALID_ARGUMENT" });
});

function refusalOf(run: () => void): RingError | undefined {
  try {
    run();
  } catch (error) {
    if (error instanceof RingError) return error;
    throw error;
  }
  return undefined;
}
