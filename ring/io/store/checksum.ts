/**
 * CRC-32 (IEEE, as in zlib and Ethernet) of part of a buffer.
 *
 * Node's native one costs 170 ns a call whatever the length, the table 50 ns for 60 bytes and 200 ns for 250: so short
 * ranges take the table, long ones the native call.
 */

import { crc32 } from "node:zlib";

/** Checksum of `bytes[start, end)` as u32; `before` is the checksum of what goes before these bytes. */
export function checksum(bytes: Uint8Array, start: number, end: number, before = 0): number {
  if (end - start > TABLE_LIMIT_BYTES) return crc32(bytes.subarray(start, end), before);
  let crc = ~before;
  let at = start;
  for (; end - at >= 4; at += 4) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    crc =
      TABLES[768 + (crc & 255)]! ^
      TABLES[512 + ((crc >>> 8) & 255)]! ^
      TABLES[256 + ((crc >>> 16) & 255)]! ^
      TABLES[crc >>> 24]!;
  }
  for (; at < end; at += 1) crc = (crc >>> 8) ^ TABLES[(crc ^ bytes[at]!) & 255]!;
  return ~crc >>> 0;
}

const TABLE_LIMIT_BYTES = 200;

/** Four tables of 256, one behind the other: the effect of a byte that is 0 to 3 bytes before the end of a word. */
const TABLES: Int32Array = makeTables();

function makeTables(): Int32Array {
  const tables = new Int32Array(1024);
  for (let byte = 0; byte < 256; byte += 1) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
    tables[byte] = crc;
  }
  for (let at = 256; at < 1024; at += 1) {
    const before = tables[at - 256]!;
    tables[at] = (before >>> 8) ^ tables[before & 255]!;
  }
  return tables;
}
