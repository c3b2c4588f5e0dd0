/** What an input is before and after it has been on its way between two nodes. */

import { expect, test } from "vitest";
import { UNREADABLE, valueOfWire, wireValue } from "../../pipe/wire.ts";
import { fc } from "../arbitrary.ts";

const KEY = "$taskring.bytes";

function roundTrip(value: unknown): unknown {
  return valueOfWire(JSON.parse(JSON.stringify(wireValue(value))));
}

test("P6: every JSON value is the same on the other node, also one that looks like encoded bytes", () => {
  const { value } = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      fc.jsonValue(),
      fc.constantFrom("%%%", "AAAA", ""),
      fc.array(tie("value"), { maxLength: 2 }),
      fc.record({ [KEY]: tie("value") }),
      fc.record({ [KEY]: tie("value"), other: tie("value") }),
    ),
  }));
  fc.assert(
    fc.property(value, (given) => {
      expect(roundTrip(given)).toEqual(JSON.parse(JSON.stringify(given)));
    }),
  );
});

test("what says itself how it is written is written so", () => {
  for (const said of ["%%%", "AAAA", { [KEY]: "AAAA" }, { [KEY]: ["AAAA"] }])
    expect(roundTrip({ toJSON: () => ({ [KEY]: said }) })).toEqual({ [KEY]: said });
  expect(roundTrip(new Date(0))).toBe("1970-01-01T00:00:00.000Z");
});

test("bytes are the same on the other node, few or many", () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      expect(roundTrip(bytes)).toEqual(bytes);
    }),
  );
  const many = Uint8Array.from({ length: 1_000_000 }, (_, at) => (at * 7) % 251);
  const came = roundTrip(many) as Uint8Array;
  expect(came.length).toBe(many.length);
  expect(came.every((byte, at) => byte === many[at])).toBe(true);
});

test("what no sender writes cannot be read, and throws nothing", () => {
  for (const said of ["%%%", 5, null, {}, [], [1, 2], true])
    expect(valueOfWire(JSON.parse(JSON.stringify({ [KEY]: said })))).toBe(UNREADABLE);
});
