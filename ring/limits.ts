/**
 * The limits of a ring document: what a decoder accepts and what a change may grow to.
 */

export const RING_SIZE_LEAST = 8;
export const RING_SIZE_MOST = 4096;
export const RING_SIZE_DEFAULT = 64;
/** Members of a ring, whatever their status. */
export const MEMBER_LIMIT = 1_024;
/** More voters make every decision and lease dearer and survive hardly more. */
export const VOTER_LIMIT = 7;
export const STAGED_LIMIT = 64;
export const APPLIED_LIMIT = 32;
/**
 * What a decoder accepts. A change may reach it only as far as the document can be told (`document-size.ts`): seven losses of
 * a whole ring of 4,096 partitions without one return, with usual names.
 */
export const STRANDED_LIMIT = 65_536;
export const WEIGHT_MOST = 1_000;
export const WEIGHT_DEFAULT = 100;
/** History and generations are u32 on the wire. */
export const U32_MOST = 0xffff_ffff;
/** Characters of ring id, member id and plan id. */
export const ID_LENGTH_LIMIT = 64;
const ZONE_LENGTH_LIMIT = 63;
export const MACHINE_LENGTH_LIMIT = 255;
/** PATH_MAX. */
export const DIRECTORY_LENGTH_LIMIT = 4_096;

export function isRingSize(value: number): boolean {
  return Number.isInteger(value) && value >= RING_SIZE_LEAST && value <= RING_SIZE_MOST && (value & (value - 1)) === 0;
}

export function isWeight(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= WEIGHT_MOST;
}

/** 1 to 63 of `A-Z a-z 0-9 . _ -`. */
export function isZone(text: string): boolean {
  return text.length <= ZONE_LENGTH_LIMIT && /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(text);
}
