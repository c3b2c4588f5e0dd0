/** What a client's calls wait for between two tries. */

import { expect, test } from "vitest";
import { Caller } from "../../../services/client/caller.ts";

function caller(): Caller {
  const unused = (): never => {
    throw new Error("nothing is called");
  };
  return new Caller({ addresses: unused, channel: unused, lasting: unused, metadata: unused, missed: unused });
}

test("a pause is over when its caller gives up or the client is closed, whether before it began or since", async () => {
  const began = performance.now();
  const gone = new AbortController();
  const [open, closed] = [caller(), caller()];
  const pauses = [open.pause(60_000, gone.signal), closed.pause(60_000, undefined)];
  gone.abort();
  closed.close();
  await Promise.all([...pauses, open.pause(60_000, gone.signal), closed.pause(60_000, undefined)]);
  expect(performance.now() - began).toBeLessThan(10_000);
});
