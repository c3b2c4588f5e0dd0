/** How much of a transfer is on its way at once, when rows are large. */

import { expect, test } from "vitest";
import type { TransferMessage } from "../../ring/node/messages.ts";
import { changesBytes } from "../../ring/node/stream.ts";
import { PLANNED } from "./node-handed.ts";
import { documentOf, P0, Parts, talk } from "./node-parts.ts";

const MIB = 1_048_576;

test("P5: a remainder of large rows leaves as the receiver takes it, not all at once", () => {
  const a = new Parts("a");
  a.follow(documentOf({ epoch: 4 }));
  for (let row = 0; row < 60; row++)
    a.commits.add(P0, { key: Uint8Array.of(0x7f, row), value: new Uint8Array(MIB).fill(row) });
  a.run();
  const b = new Parts("b");
  b.follow(PLANNED);
  a.follow(PLANNED);
  b.delayed.add("sync");
  let bytes = 0;
  for (let turn = 0; turn < 4; turn++) {
    for (const { message } of a.taken()) {
      if (message.type === "transfer-chunk") for (const change of message.changes) bytes += changesBytes(change);
      b.receive("a", message as TransferMessage);
    }
    for (const { message } of b.taken()) a.receive("b", message as TransferMessage);
  }
  expect(a.outgoing.views()[0]?.phase).toBe("cut-over");
  expect(bytes).toBeLessThan(16 * MIB);
  b.release("sync");
  talk(a, b);
  expect(a.consents).toHaveLength(1);
  expect(b.disk.page({ partition: P0, prefix: Uint8Array.of(0x7f), rowLimit: 100, byteLimit: 1e9 }).rows).toHaveLength(
    60,
  );
});

test("P8: a receiver that stops taking a large remainder is not waited for without end", () => {
  const a = new Parts("a");
  a.follow(documentOf({ epoch: 4 }));
  for (let row = 0; row < 60; row++) a.commits.add(P0, { key: Uint8Array.of(0x7f, row), value: new Uint8Array(MIB) });
  a.run();
  const b = new Parts("b");
  b.follow(PLANNED);
  a.follow(PLANNED);
  b.delayed.add("sync");
  talk(a, b);
  expect(a.hosting.serving(P0)).toBe(false);
  a.tick(10_000);
  expect(a.hosting.serving(P0)).toBe(true);
});
