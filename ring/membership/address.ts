/**
 * Where a node listens: an IP address and one port number for UDP and TCP. Memberlist compares address bytes, so an IPv4
 * address is always four bytes on the wire and `a.b.c.d` in text, also when it arrived as `::ffff:a.b.c.d`.
 */

import ipaddr from "ipaddr.js";
import { DecodeError } from "./decode-error.ts";

export interface Address {
  /** An IP address in text. In addresses to join, and in simulations, any name will do. */
  readonly host: string;
  readonly port: number;
}

export function sameAddress(left: Address, right: Address): boolean {
  return left.port === right.port && left.host === right.host;
}

export function addressText(address: Address): string {
  return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** The one spelling of an IP address; undefined if it is none. */
export function canonicalHost(host: string): string | undefined {
  return isIp(host) ? ipaddr.process(host).toString() : undefined;
}

/** Four or sixteen bytes. Throws a TypeError if `host` is no IP address: a bug, since every edge checks. */
export function hostBytes(host: string): Uint8Array {
  if (!isIp(host)) throw new TypeError(`${host} is no IP address`);
  return Uint8Array.from(ipaddr.process(host).toByteArray());
}

/** Throws `DecodeError` unless there are four or sixteen bytes. */
export function hostFromBytes(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length !== 16) throw new DecodeError("out-of-range", `an address of ${bytes.length} bytes`);
  return ipaddr.process(ipaddr.fromByteArray([...bytes]).toString()).toString();
}

/** Without the short forms (`10.1`, `0x7f000001`) that ipaddr.js also takes. */
function isIp(host: string): boolean {
  return ipaddr.IPv4.isValidFourPartDecimal(host) || ipaddr.IPv6.isValid(host);
}
