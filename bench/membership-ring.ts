/** A ring of our members, one process each, as the membership benchmark measures it. */

import type { MeasuredRing } from "./membership.ts";
import { MemberProcess } from "./membership-member.ts";

export class MembershipRing implements MeasuredRing {
  readonly subject = "taskring";
  readonly members: MemberProcess[] = [];
  readonly #profile: string;
  #next = 1;

  static open = async (nodes: number, profile: string = "lan"): Promise<MembershipRing> => {
    const ring = new MembershipRing(profile);
    for (let count = 0; count < nodes; count++) await ring.join();
    return ring;
  };

  constructor(profile: string) {
    this.#profile = profile;
  }

  async join(): Promise<number> {
    const young = await MemberProcess.start(`n${this.#next++}`, { profile: this.#profile });
    const seed = this.members[0];
    const beganMs = performance.now();
    if (seed !== undefined) young.send({ type: "join", addresses: [seed.address] });
    this.members.push(young);
    const others = this.members.filter((member) => member !== young);
    const count = others.length;
    await until(() => young.aliveOthers === count && others.every((member) => stateOf(member, young) === "up"));
    return lastAt(young, others, beganMs);
  }

  async crash(): Promise<number> {
    return this.#lose("dead", (victim) => victim.signal("SIGKILL"));
  }

  async leave(): Promise<number> {
    return this.#lose("left", (victim) => victim.send({ type: "leave" }));
  }

  async idle(ms: number): Promise<{ readonly packetBytes: number; readonly streamBytes: number }> {
    const before = await this.#sums();
    await new Promise((resolve) => setTimeout(resolve, ms));
    const after = await this.#sums();
    return {
      packetBytes: after.packetBytes - before.packetBytes + HEADER_BYTES * (after.packets - before.packets),
      streamBytes: after.streamBytes - before.streamBytes,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.members.map((member) => member[Symbol.asyncDispose]()));
  }

  async #lose(state: string, act: (victim: MemberProcess) => void): Promise<number> {
    const victim = this.members.at(-1)!;
    // Not in step with anybody's probes.
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * (1 + Math.random())));
    this.members.pop();
    const beganMs = performance.now();
    act(victim);
    await until(() => this.members.every((member) => stateOf(member, victim) === state));
    const seconds = lastAt(victim, this.members, beganMs);
    await victim.ended();
    return seconds;
  }

  async #sums(): Promise<{ packets: number; packetBytes: number; streamBytes: number }> {
    const sums = { packets: 0, packetBytes: 0, streamBytes: 0 };
    for (const { packets, packetBytes, streamBytes } of await Promise.all(this.members.map((m) => m.counts()))) {
      sums.packets += packets;
      sums.packetBytes += packetBytes;
      sums.streamBytes += streamBytes;
    }
    return sums;
  }
}

/** Waits for it, at most two minutes. */
export async function until(holds: () => boolean): Promise<void> {
  const end = performance.now() + WAIT_MS;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`not within ${WAIT_MS / 1_000} s`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function stateOf(member: MemberProcess, of: MemberProcess): string | undefined {
  return member.view.get(of.name)?.state;
}

function lastAt(of: MemberProcess, members: readonly MemberProcess[], beganMs: number): number {
  const own = [...of.view.values()].map(({ atMs }) => atMs).filter((atMs) => atMs > beganMs);
  const theirs = members.map((member) => member.view.get(of.name)?.atMs ?? beganMs);
  return (Math.max(beganMs, ...theirs, ...own) - beganMs) / 1_000;
}

const HEADER_BYTES = 28;
const PAUSE_MS = 1_000;
const WAIT_MS = 120_000;
const POLL_MS = 2;
