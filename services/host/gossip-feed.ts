/** Feeds the metrics of membership: what the machine and the sockets have counted since the last look. */

import type { Gossip } from "../../ring/io/gossip.ts";
import type { Swim } from "../../ring/membership/swim.ts";
import type { NodeMetrics } from "../metrics/node-metrics.ts";
import type { Counter } from "../metrics/registry.ts";

export function feedGossipMetrics(
  metrics: NodeMetrics,
  { swim, gossip }: { readonly swim: Swim; readonly gossip: Gossip },
): void {
  const follow = (counter: Counter, total: number, ...labels: readonly string[]): void =>
    counter.add(total - counter.valueOf(...labels), ...labels);
  metrics.registry.onCollect(() => {
    const { counters } = swim;
    const answered = counters.probes - counters.probesFailed - counters.probesOverStreamOnly;
    follow(metrics.gossipProbes, answered, "answered");
    follow(metrics.gossipProbes, counters.probesOverStreamOnly, "tcp-only");
    follow(metrics.gossipProbes, counters.probesRefused, "refused");
    follow(metrics.gossipProbes, counters.probesFailed - counters.probesRefused, "failed");
    follow(metrics.suspicions, counters.suspicions, "begun");
    follow(metrics.suspicions, counters.suspicionsRefuted, "refuted");
    follow(metrics.refutations, counters.refutations);
    follow(metrics.flaps, counters.flaps);
    metrics.localHealth.set(swim.healthScore);
    for (const rttMs of swim.takeRoundTrips()) metrics.gossipRttSeconds.record(rttMs / 1_000);
    const traffic = gossip.counters;
    follow(metrics.gossipPackets, traffic.packetsIn - traffic.packetsUnread, "in", "ok");
    follow(metrics.gossipPackets, traffic.packetsOut, "out", "ok");
    follow(metrics.gossipPackets, traffic.sendsFailed, "out", "failed");
    for (const [reason, count] of Object.entries(traffic.drops)) follow(metrics.gossipPackets, count, "in", reason);
    // What could be read and is not believed.
    follow(metrics.gossipPackets, counters.refused, "in", "impossible");
    follow(metrics.gossipPackets, counters.conflicts, "in", "conflict");
    follow(metrics.gossipPackets, counters.mergesRefused, "in", "incompatible");
    follow(metrics.gossipStreams, traffic.streamsIn, "in");
    follow(metrics.gossipStreams, traffic.streamsOut, "out");
    follow(metrics.gossipStreamsFailed, traffic.streamsFailed + traffic.streamsRefused);
    follow(metrics.stalls, counters.stalls);
    follow(metrics.gossipBytes, traffic.bytesIn, "in");
    follow(metrics.gossipBytes, traffic.bytesOut, "out");
  });
}
