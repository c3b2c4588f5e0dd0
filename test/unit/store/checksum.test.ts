import { crc32 } from "node:zlib";
import { expect, test } from "vitest";
import { checksum } from "../../../ring/io/store/checksum.ts";
import { keyOf, openValue, upperBound } from "../../../ring/io/store/rows.ts";
import { fc } from "../../arbitrary.ts";

test("the checksum is zlib's CRC-32 for every length, also in pieces", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(600), (bytes, cut) => {
      const at = Math.min(cut, bytes.length);
      expect(checksum(bytes, 0, bytes.length)).toBe(crc32(bytes));
      expect(checksum(bytes, at, bytes.length, checksum(bytes, 0, at))).toBe(crc32(bytes));
    }),
  );
});

test("a value with any single bit flipped, in it or in its key, does not open", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 40 }),
      fc.uint8Array({ minLength: 1, maxLength: 20 }),
      fc.nat(),
      (value, name, seed) => {
        const key = keyOf(5, name);
        const whole = Buffer.concat([key, value, Buffer.alloc(4)]);
        whole.writeUInt32LE(crc32(whole.subarray(0, -4)), whole.length - 4);
        expect(Buffer.compare(openValue(key, whole.subarray(key.length))!, value)).toBe(0);
        const bit = seed % (whole.length * 8);
        whole[bit >> 3]! ^= 1 << (bit & 7);
        expect(openValue(whole.subarray(0, key.length), whole.subarray(key.length))).toBeUndefined();
      },
    ),
  );
});

test("the upper bound of a prefix is above all that begin with it and not above the next", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 6 }), fc.uint8Array({ maxLength: 6 }), (prefix, rest) => {
      const start = keyOf(9, prefix);
      const bound = upperBound(start);
      expect(Buffer.compare(Buffer.concat([start, rest]), bound)).toBe(-1);
      const begins = Buffer.compare(bound.subarray(0, start.length), start) === 0 && bound.length >= start.length;
      expect(begins).toBe(false);
    }),
  );
});
