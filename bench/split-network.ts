/**
 * Network namespaces on two bridges: a network of this machine that can be cut in two and healed. Needs Linux, root and
 * `ip` (Debian package `iproute2`). Disposing removes all of it.
 */

import { execFileSync } from "node:child_process";

export interface SplitHost {
  /** Starts a program there: `ip netns exec NAMESPACE …`. */
  readonly command: readonly string[];
  readonly address: string;
}

export class SplitNetwork implements Disposable {
  readonly hosts: readonly SplitHost[];
  readonly #prefix: string;

  /** Throws what `ip` says where it is not allowed. */
  constructor(count: number) {
    this.#prefix = `tr${process.pid}`;
    this.hosts = Array.from({ length: count }, (_, index) => ({
      command: ["ip", "netns", "exec", this.#namespace(index)],
      address: `${SUBNET}.${index + 1}`,
    }));
    try {
      for (const side of SIDES) ip("link", "add", this.#bridge(side), "type", "bridge");
      for (const side of SIDES) ip("link", "set", this.#bridge(side), "up");
      for (const [index, { address }] of this.hosts.entries()) this.#add(index, address);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** The first so many hear only each other, and the others only each other. */
  cut(count: number): void {
    for (let index = 0; index < count; index++) this.#plug(index, "b");
  }

  heal(): void {
    for (const index of this.hosts.keys()) this.#plug(index, "a");
  }

  [Symbol.dispose](): void {
    for (const index of this.hosts.keys()) attempt("netns", "delete", this.#namespace(index));
    for (const index of this.hosts.keys()) attempt("link", "delete", this.#cable(index));
    for (const side of SIDES) attempt("link", "delete", this.#bridge(side));
  }

  #add(index: number, address: string): void {
    const namespace = this.#namespace(index);
    ip("netns", "add", namespace);
    ip("link", "add", this.#cable(index), "type", "veth", "peer", "name", "eth0", "netns", namespace);
    this.#plug(index, "a");
    ip("link", "set", this.#cable(index), "up");
    ip("-n", namespace, "addr", "add", `${address}/24`, "dev", "eth0");
    for (const device of ["lo", "eth0"]) ip("-n", namespace, "link", "set", device, "up");
  }

  #plug(index: number, side: (typeof SIDES)[number]): void {
    ip("link", "set", this.#cable(index), "master", this.#bridge(side));
  }

  #namespace(index: number): string {
    return `${this.#prefix}-${index}`;
  }

  #cable(index: number): string {
    return `${this.#prefix}v${index}`;
  }

  #bridge(side: (typeof SIDES)[number]): string {
    return `${this.#prefix}${side}`;
  }
}

function ip(...args: readonly string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
}

function attempt(...args: readonly string[]): void {
  try {
    ip(...args);
  } catch {
    // It was never made, or went with its namespace.
  }
}

const SIDES = ["a", "b"] as const;
/** Set aside for tests of networks (RFC 2544), so no real one is in the way. */
const SUBNET = "198.18.77";
