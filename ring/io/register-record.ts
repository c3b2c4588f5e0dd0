/**
 * One value of the acceptor's file (`register-file.ts`) as bytes, with whose it is and in which file it was written.
 *
 *   magic "TRRG" · format u16 · sequence u64 · inode u64 · birth u64 (ns) · member id (u8 length, utf8) · length u32 · content · crc32 u32 · zeros
 */

import { stat } from "node:fs/promises";
import { RingError } from "../errors.ts";
import type { MemberId } from "../ids.ts";
import { isNetworkFileSystem } from "./directory.ts";
import { readFileIfThere } from "./files.ts";
import { checksum } from "./store/checksum.ts";

/** Of the file that it was written into. */
export interface Identity {
  readonly inode: bigint;
  readonly birthNs: bigint;
}

export interface RegisterRecord extends Identity {
  readonly sequence: number;
  readonly memberId: string;
  readonly content: Uint8Array;
}

/** Undefined when nothing was ever written there. Rejects when it is not what this member wrote in this place (`register-file.ts`, R3). */
export async function readRecord(
  path: string,
  { memberId, isBeside }: { readonly memberId: MemberId; readonly isBeside: boolean },
): Promise<RegisterRecord | "torn" | undefined> {
  const bytes = await readFileIfThere(path);
  if (bytes === undefined) return undefined;
  if (isBeside && bytes.every((byte) => byte === 0)) return undefined;
  const record = decode(bytes);
  if (record === undefined) return "torn";
  if (record.format !== FORMAT)
    throw new RingError("STORE_BROKEN", `${path} has format ${record.format}; this program knows ${FORMAT}`);
  if (record.memberId !== memberId) {
    throw new RingError(
      "STORE_BROKEN",
      `${path} belongs to member ${record.memberId}, not to ${memberId}: it was copied here`,
    );
  }
  if (await isCopy(path, record)) {
    throw new RingError(
      "STORE_BROKEN",
      `${path} is a copy of the file that was written (restored from backup, or moved by copying): the member must join as a new one`,
    );
  }
  return record;
}

export function recordBytes(memberId: string, content: Uint8Array): number {
  return HEAD_BYTES + new TextEncoder().encode(memberId).length + 4 + content.length + 4;
}

export function encodeRecord(record: RegisterRecord): Uint8Array {
  const id = new TextEncoder().encode(record.memberId);
  const bytes = new Uint8Array(recordBytes(record.memberId, record.content));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC);
  view.setUint16(4, FORMAT);
  view.setBigUint64(6, BigInt(record.sequence));
  view.setBigUint64(14, record.inode);
  view.setBigUint64(22, record.birthNs);
  view.setUint8(30, id.length);
  bytes.set(id, HEAD_BYTES);
  view.setUint32(HEAD_BYTES + id.length, record.content.length);
  bytes.set(record.content, HEAD_BYTES + id.length + 4);
  view.setUint32(bytes.length - 4, checksum(bytes, 0, bytes.length - 4));
  return bytes;
}

/** Where inode numbers may change by themselves (network and FUSE) nothing can be told. */
async function isCopy(path: string, record: RegisterRecord): Promise<boolean> {
  if (await isNetworkFileSystem(path)) return false;
  const found = await stat(path, { bigint: true });
  if (BigInt.asUintN(64, found.ino) !== record.inode) return true;
  // Without a birth time the system gives the time of the last change, which the rename moved.
  const birthIsKnown = found.birthtimeNs > 0n && found.birthtimeNs !== found.ctimeNs && record.birthNs > 0n;
  return birthIsKnown && found.birthtimeNs !== record.birthNs;
}

/** Undefined when the bytes are not what was written. */
function decode(bytes: Uint8Array): (RegisterRecord & { readonly format: number }) | undefined {
  if (bytes.length < HEAD_BYTES + 8) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = HEAD_BYTES + view.getUint8(30);
  if (view.getUint32(0) !== MAGIC || start + 8 > bytes.length) return undefined;
  const end = start + 4 + view.getUint32(start);
  if (end + 4 > bytes.length || view.getUint32(end) !== checksum(bytes, 0, end)) return undefined;
  if (bytes.subarray(end + 4).some((byte) => byte !== 0)) return undefined;
  return {
    format: view.getUint16(4),
    sequence: Number(view.getBigUint64(6)),
    inode: view.getBigUint64(14),
    birthNs: view.getBigUint64(22),
    memberId: new TextDecoder().decode(bytes.subarray(HEAD_BYTES, start)),
    content: bytes.slice(start + 4, end),
  };
}

const MAGIC = 0x54525247;
const FORMAT = 1;
const HEAD_BYTES = 31;
