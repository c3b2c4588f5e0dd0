/** A ring of stock serf agents, as the membership benchmark measures it: by what they log, when it arrives. */

import type { MeasuredRing } from "./membership.ts";
import { until } from "./membership-ring.ts";
import { SerfAgent } from "./membership-serf.ts";

export class SerfRing implements MeasuredRing {
  readonly subject = "serf";
  readonly agents: SerfAgent[] = [];
  #next = 1;

  static open = async (nodes: number): Promise<SerfRing> => {
    const ring = new SerfRing();
    for (let count = 0; count < nodes; count++) await ring.join();
    return ring;
  };

  async join(): Promise<number> {
    const young = await SerfAgent.start({ name: `s${this.#next++}` });
    const seed = this.agents[0];
    this.agents.push(young);
    if (seed === undefined) return 0;
    await young.join(seed.gossip);
    const others = this.agents.filter((agent) => agent !== young);
    await until(() => others.every((other) => other.saw("Join", young.name) && young.saw("Join", other.name)));
    const beganMs = young.loggedAt(/agent: joining:/) ?? 0;
    const times = others.flatMap((other) => [other.saw("Join", young.name)!, young.saw("Join", other.name)!]);
    return (Math.max(...times) - beganMs) / 1_000;
  }

  crash(): Promise<number> {
    return this.#lose("Failed", (victim) => victim.kill());
  }

  leave(): Promise<number> {
    return this.#lose("Leave", (victim) => victim.leave());
  }

  /** Counted by the agents themselves, in slices of ten seconds. */
  async idle(ms: number): Promise<{ readonly packetBytes: number; readonly streamBytes: number }> {
    await new Promise((resolve) => setTimeout(resolve, Math.max(ms, 2 * SLICE_MS)));
    const sums = { packetBytes: 0, streamBytes: 0 };
    for (const agent of this.agents) {
      const udp = await agent.telemetry("memberlist.udp.sent");
      const tcp = await agent.telemetry("memberlist.tcp.sent");
      sums.packetBytes += ((udp.sum + HEADER_BYTES * udp.count) * ms) / SLICE_MS;
      sums.streamBytes += (tcp.sum * ms) / SLICE_MS;
    }
    return sums;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.agents.map((agent) => agent[Symbol.asyncDispose]()));
  }

  async #lose(event: "Failed" | "Leave", act: (victim: SerfAgent) => Promise<void>): Promise<number> {
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * (1 + Math.random())));
    const victim = this.agents.pop()!;
    const beganMs = performance.now();
    const acted = act(victim);
    await until(() => this.agents.every((agent) => agent.saw(event, victim.name) !== undefined));
    await acted;
    const began = event === "Leave" ? (victim.loggedAt(/requesting graceful leave/) ?? beganMs) : beganMs;
    return (Math.max(...this.agents.map((agent) => agent.saw(event, victim.name)!)) - began) / 1_000;
  }
}

const HEADER_BYTES = 28;
const PAUSE_MS = 1_000;
const SLICE_MS = 10_000;
