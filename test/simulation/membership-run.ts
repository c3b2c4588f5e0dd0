/**
 * `npm run sim -- --membership [--nodes 3,10,100,1000] [--seeds N] [--profile lan]`: the scenarios of membership at each
 * size, with the figures beside the model of memberlist.
 */

import { PROFILES } from "../../ring/membership/profile.ts";
import { crashOne, cutAndHeal, disturb, massRestart, pause } from "./membership-scenarios.ts";

export function membershipRun(options: {
  readonly nodes: readonly number[];
  readonly seeds: number;
  readonly profile: "lan" | "wan" | "fast";
}): void {
  const profile = PROFILES[options.profile];
  for (const nodes of options.nodes) {
    const began = process.cpuUsage();
    const large = nodes > 200;
    const seeds = large ? Math.min(LARGE_SEEDS, options.seeds) : options.seeds;
    const told: number[] = [];
    const silent: number[] = [];
    const found: number[] = [];
    const restarts: number[] = [];
    const heals: number[] = [];
    let suspicions = 0;
    let falseDeaths = 0;
    for (let seed = 1; seed <= seeds; seed++) {
      const { crash } = crashOne({ nodes, seed, profile, machinesLive: false });
      found.push(crash.firstMs);
      silent.push(crash.allMs);
      if (!large || seed === 1) told.push(crashOne({ nodes, seed, profile, machinesLive: true }).crash.allMs);
      if (large) continue;
      suspicions += disturb({ nodes, seed, profile, ms: 120_000 }).suspicions;
      const paused = Math.max(1, Math.floor(nodes / 3));
      falseDeaths += pause({ nodes, seed, profile, paused, pauseMs: 4_000, cycles: 5 }).falseDeaths;
      heals.push(cutAndHeal({ nodes, seed, profile }));
      restarts.push(massRestart({ nodes, seed, profile }));
    }
    const cpu = process.cpuUsage(began);
    const model = modelMs(nodes, profile);
    console.log(
      [
        `${nodes} nodes, ${options.profile}, ${seeds} seeds: crash, machine silent: declared ${shown(found)}`,
        `(model of memberlist ${(model / 1_000).toFixed(1)} s), known to all ${shown(silent)}`,
        `machine refuses: known to all ${shown(told)}`,
        ...(large ? [] : [`heal ${shown(heals)}, mass restart ${shown(restarts)}`]),
        ...(large ? [] : [`healthy called dead ${falseDeaths}, suspicions under loss ${suspicions}`]),
        `${((cpu.user + cpu.system) / 1e6).toFixed(1)} CPU-s`,
      ].join("; "),
    );
  }
}

/** Memberlist's mean until the first node declares it: the first probe that hits, its deadline, the shortest suspicion. */
function modelMs(nodes: number, profile: (typeof PROFILES)["lan"]): number {
  const minMs = profile.suspicionMultiplier * Math.max(1, Math.log10(nodes)) * profile.probeIntervalMs;
  const firstProbeMs = profile.probeIntervalMs * (1 / (1 - Math.exp(-1)) - 0.5);
  return firstProbeMs + profile.probeIntervalMs + minMs;
}

/** A minute each. */
const LARGE_SEEDS = 3;

function shown(values: readonly number[]): string {
  const sorted = [...values].sort((left, right) => left - right);
  const seconds = (at: number): string => ((sorted[at] ?? 0) / 1_000).toFixed(1);
  const middle = seconds(Math.floor(sorted.length / 2));
  return sorted.length === 1 ? `${middle} s` : `${seconds(0)} / ${middle} / ${seconds(sorted.length - 1)} s`;
}
