/** Packs as memberlist does, for tests of what reads it: compression and compounds, which we ourselves never send so. */

import { encodeMsgpack } from "../ring/membership/msgpack.ts";
import { concat } from "../ring/membership/wire.ts";

/** A compressed message; algorithm 0 is the only one there is. */
export function compressed(packed: Uint8Array, algorithm: number = 0): Uint8Array {
  return concat([Uint8Array.of(9), encodeMsgpack({ Algo: algorithm, Buf: packed }, { dialect: "memberlist" })]);
}

export function compoundOf(parts: readonly Uint8Array[]): Uint8Array {
  const lengths = parts.flatMap((part) => [part.length >>> 8, part.length & 0xff]);
  return concat([Uint8Array.of(7, parts.length, ...lengths), ...parts]);
}

/** As Go's compress/lzw writes it: LSB first, clear at the start, clear when the table is full. */
export function pack(bytes: Uint8Array): Uint8Array {
  const out: number[] = [];
  let bits = 0;
  let held = 0;
  let width = 9;
  let high = 257;
  let overflow = 512;
  let table = new Map<number, number>();
  const emit = (code: number): void => {
    bits |= code << held;
    held += width;
    for (; held >= 8; held -= 8, bits >>>= 8) out.push(bits & 0xff);
  };
  emit(256);
  let code = bytes[0];
  if (code !== undefined) {
    for (let at = 1; at < bytes.length; at++) {
      const literal = bytes[at]!;
      const key = (code << 8) | literal;
      const known = table.get(key);
      if (known !== undefined) {
        code = known;
        continue;
      }
      emit(code);
      code = literal;
      high++;
      if (high === overflow) {
        width++;
        overflow <<= 1;
      }
      if (high === 4_095) {
        emit(256);
        width = 9;
        high = 257;
        overflow = 512;
        table = new Map();
        continue;
      }
      table.set(key, high);
    }
    emit(code);
    high++;
    if (high === overflow && width < 12) width++;
  }
  emit(257);
  if (held > 0) out.push(bits & 0xff);
  return Uint8Array.from(out);
}
