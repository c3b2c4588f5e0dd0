import { expect, test } from "vitest";
import { RingError } from "../../ring/errors.ts";
import { decodeValue, encodePayload, encodeValue, textOf } from "../../services/runner/value.ts";
import { fc } from "../arbitrary.ts";

const roundTrip = (value: unknown): unknown => decodeValue(encodeValue(value) as Uint8Array);

test("every JSON value comes back as JSON would give it", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(roundTrip(value)).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
  for (const value of [0, 9, 10, 999_999_999, 1_000_000_000, -1, -0, 0.5, 1e300, "", "é".repeat(100), null, true, {}]) {
    expect(roundTrip(value)).toEqual(JSON.parse(JSON.stringify(value)));
  }
});

test("small whole numbers are stored as their JSON text", () => {
  fc.assert(
    fc.property(fc.nat(2_000_000_000), (value) => {
      const bytes = encodeValue(value) as Uint8Array;
      expect([bytes[0], textOf(bytes, 1)]).toEqual([0, `${value}`]);
    }),
  );
});

test("bytes come back as equal copies", () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      const encoded = encodeValue(bytes) as Uint8Array;
      const before = bytes.slice();
      bytes.fill(7);
      const decoded = decodeValue(encoded) as Uint8Array;
      expect(decoded).toEqual(before);
      decoded.fill(9);
      expect(decodeValue(encoded)).toEqual(before);
    }),
  );
});

test("text of any UTF-8 bytes is what TextDecoder gives", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.nat(20), (text, start) => {
      const bytes = new TextEncoder().encode(" ".repeat(start) + text);
      expect(textOf(bytes, start)).toBe(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(start)));
    }),
  );
});

test("garbage is an error, never a crash or a silent value", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        decodeValue(bytes);
      } catch (error) {
        expect(error instanceof SyntaxError || error instanceof RingError).toBe(true);
        return;
      }
      expect([0, 1]).toContain(bytes[0]);
    }),
  );
});

test("payloads are bytes as they are, text as UTF-8 and the rest as JSON", () => {
  const text = (payload: unknown): string => new TextDecoder().decode(encodePayload(payload));
  expect(text(undefined)).toBe("");
  expect(text("é")).toBe("é");
  expect(text({ a: [1] })).toBe('{"a":[1]}');
  expect(text(null)).toBe("null");
  expect(encodePayload(new Uint8Array([0, 255]))).toEqual(new Uint8Array([0, 255]));
  expect(() => encodePayload(() => {})).toThrow(TypeError);
});
