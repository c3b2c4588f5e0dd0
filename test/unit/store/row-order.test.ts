/** Rows in key order, by where their changes lie. That the order is right is held by `test/property/journal.test.ts`. */

import { expect, test } from "vitest";
import { RowOrder } from "../../../ring/io/store/row-order.ts";

test("P4: rows that come in key order are put behind those before without a look at each of them", () => {
  const rows = 20_000;
  const bytes = new Uint8Array(4 * (rows + 1));
  const view = new DataView(bytes.buffer);
  for (let row = 0; row <= rows; row++) view.setUint32(4 * row, row);
  let looks = 0;
  const keyOf = (at: number) => {
    looks++;
    return { from: at, to: at + 4 };
  };
  const order = new RowOrder();
  for (let row = 0; row < rows; row++) {
    order.add(4 * row);
    // As a drop does it: each step looks behind the one before.
    if (row % 200 === 199)
      expect(order.within(bytes, keyOf, keyAt(row - 1), keyAt(rows))).toEqual([4 * row - 4, 4 * row]);
  }
  expect(looks).toBeLessThan(rows * 40);
  expect(order.within(bytes, keyOf, keyAt(0), keyAt(rows))).toHaveLength(rows);

  function keyAt(row: number): Uint8Array {
    return bytes.subarray(4 * row, 4 * row + 4);
  }
});
