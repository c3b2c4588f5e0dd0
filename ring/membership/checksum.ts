/**
 * One number for what a node believes, so that views can be compared at a glance. Only the live count: a newcomer never
 * hears of those who were dead before it came.
 */

import { murmur3 } from "../hash.ts";
import { addressText } from "./address.ts";
import type { MemberView } from "./events.ts";

/** Eight hex digits, equal for the same live members at the same addresses and incarnations. */
export function viewChecksum(members: readonly MemberView[]): string {
  const lines = members
    .filter(({ state }) => state === "alive" || state === "suspect")
    .map(({ name, address, incarnation }) => `${name} ${addressText(address)} ${incarnation}`);
  return murmur3(ENCODER.encode(lines.sort().join("\n")))
    .toString(16)
    .padStart(8, "0");
}

const ENCODER = new TextEncoder();
