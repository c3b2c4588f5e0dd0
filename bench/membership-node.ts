/**
 * One member and nothing else, as a process of its own: what `serf agent` is to serf. Commands come as lines of JSON on
 * stdin (`join`, `leave`, `count`), what happens goes out as lines of JSON; it ends with its stdin.
 */

import { createInterface } from "node:readline";
import { parseNodeName } from "../ring/ids.ts";
import { openGossip } from "../ring/io/gossip.ts";
import type { Address } from "../ring/membership/address.ts";
import type { SwimEvent } from "../ring/membership/events.ts";
import { PROFILES } from "../ring/membership/profile.ts";
import { Swim } from "../ring/membership/swim.ts";

export type MemberCommand =
  | { readonly type: "join"; readonly addresses: readonly Address[] }
  | { readonly type: "leave" }
  | { readonly type: "count" };

export type MemberReport =
  | { readonly type: "ready"; readonly address: Address }
  | { readonly type: "up" | "suspect" | "dead" | "left" | "updated"; readonly name: string }
  /** This node has left; the process ends. */
  | { readonly type: "gone" }
  | {
      readonly type: "counted";
      readonly packets: number;
      readonly packetBytes: number;
      readonly streamBytes: number;
      readonly refutations: number;
    };

async function main(name: string, profile: keyof typeof PROFILES, at: Address): Promise<void> {
  const report = (line: MemberReport): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
  let timer: NodeJS.Timeout | undefined;
  let plannedAt = 0;
  const gossip = await openGossip({ bind: at, onEvent: (event) => step(event) });
  const swim = new Swim({
    name: parseNodeName(name),
    address: gossip.address,
    // As many bytes as a node of a ring has.
    tags: new Map([
      ["role", "taskring"],
      ["id", "0123456789abcdef"],
      ["starts", "1"],
      ["grpc", "7400"],
      ["http", "7480"],
      ["epoch", "100"],
    ]),
    profile: PROFILES[profile],
    random: Math.random,
  });

  function step(event: SwimEvent): void {
    for (const effect of swim.step(performance.now(), event)) {
      if (gossip.perform(effect)) continue;
      if (effect.type === "left") {
        report({ type: "gone" });
        process.exit(0);
      }
      if ("member" in effect) report({ type: effect.type.slice("member-".length) as "up", name: effect.member.name });
    }
    clearTimeout(timer);
    const next = swim.nextDeadline();
    if (next === undefined) return;
    plannedAt = next;
    timer = setTimeout(wake, Math.max(0, Math.ceil(next - performance.now())));
  }

  /** As the driver of a node: a timer that comes late says that this process stood still. */
  function wake(): void {
    const lagMs = performance.now() - plannedAt;
    if (lagMs > LAG_MS) step({ type: "loop-lag", lagMs });
    step({ type: "tick" });
  }

  createInterface({ input: process.stdin })
    .on("line", (line) => {
      const command = JSON.parse(line) as MemberCommand;
      if (command.type !== "count") return step(command);
      const { packetsOut: packets, bytesOut, streamBytesOut } = gossip.counters;
      const { refutations } = swim.counters;
      report({
        type: "counted",
        packets,
        packetBytes: bytesOut - streamBytesOut,
        streamBytes: streamBytesOut,
        refutations,
      });
    })
    .on("close", () => process.exit(0));
  step({ type: "tick" });
  report({ type: "ready", address: gossip.address });
}

const LAG_MS = 100;

const [, , name = "n1", profile = "lan", port = "0", host = "127.0.0.1"] = process.argv;
await main(name, profile as keyof typeof PROFILES, { host, port: Number(port) });
