/**
 * `node dist/bench/membership-trouble.js CASE…`: what membership does in trouble, with real processes, and whether it kept
 * its promise (exit 1 if not). Cases:
 *
 * pause       1 to 4 of 8 nodes stand still for 2 to 16 s in a loop: no healthy one is called dead
 * fast-crash  the `fast` profile, N = 3, 5, 10: a kill is known to all within 1.5 s
 * fast-pause  the `fast` profile, nodes that stand still for 0.5 s again and again: nobody is called dead
 * fast-busy   the `fast` profile with all nodes and 48 busy loops on one core: nobody is called dead
 * heal        5 nodes, cut two from three for a minute (needs root): after the heal all see all within 30 s
 * restart     all killed and started again under their names within 2 s: all see all again
 */

import { execFileSync, spawn } from "node:child_process";
import { MemberProcess } from "./membership-member.ts";
import { MembershipRing, until } from "./membership-ring.ts";
import { SplitNetwork } from "./split-network.ts";

type Verdict = { readonly kept: boolean; readonly figures: string };

async function pauses(): Promise<Verdict> {
  await using ring = await MembershipRing.open(8);
  const figures: string[] = [];
  let wrong = 0;
  for (const [paused, ms] of [
    [1, 2_000],
    [2, 4_000],
    [3, 8_000],
    [4, 16_000],
  ] as const) {
    const sleepers = ring.members.slice(-paused);
    await cycles(sleepers, { ms, times: ms > 4_000 ? 2 : 4 });
    const names = new Set(sleepers.map(({ name }) => name));
    const deaths = ring.members.flatMap((member) => member.deaths.splice(0));
    const healthy = deaths.filter(({ name }) => !names.has(name)).length;
    wrong += healthy;
    figures.push(`${paused} of 8 for ${ms / 1_000} s: ${healthy}`);
    await until(() => ring.members.every((member) => member.aliveOthers === 7));
  }
  return { kept: wrong === 0, figures: `healthy nodes called dead: ${figures.join(", ")}` };
}

async function fastCrashes(): Promise<Verdict> {
  const figures: string[] = [];
  let slowest = 0;
  for (const nodes of [3, 5, 10]) {
    await using ring = await MembershipRing.open(nodes, "fast");
    const times: number[] = [];
    for (let run = 0; run < FAST_RUNS; run++) {
      times.push(await ring.crash());
      await ring.join();
    }
    times.sort((left, right) => left - right);
    slowest = Math.max(slowest, ...times);
    figures.push(`N=${nodes}: ${times.map((time) => time.toFixed(2)).join(" ")} s`);
  }
  return { kept: slowest <= 1.5, figures: figures.join("; ") };
}

async function fastPauses(): Promise<Verdict> {
  await using ring = await MembershipRing.open(8, "fast");
  await cycles(ring.members.slice(0, 3), { ms: 500, times: 30 });
  const deaths = ring.members.flatMap((member) => member.deaths);
  const refutations = await refutationsOf(ring);
  return {
    kept: deaths.length === 0,
    figures: `30 rounds of 3 of 8: ${deaths.length} called dead, ${refutations} refutations`,
  };
}

async function fastBusy(): Promise<Verdict> {
  await using ring = await MembershipRing.open(5, "fast");
  for (const { pid } of ring.members) execFileSync("taskset", ["-a", "-cp", "0", String(pid)]);
  const loops = Array.from({ length: 48 }, () => spawn("taskset", ["-c", "0", "sh", "-c", "while :; do :; done"]));
  try {
    await new Promise((resolve) => setTimeout(resolve, BUSY_MS));
  } finally {
    for (const loop of loops) loop.kill("SIGKILL");
  }
  const deaths = ring.members.flatMap((member) => member.deaths);
  return {
    kept: deaths.length === 0,
    figures: `${BUSY_MS / 1_000} s, 5 nodes: ${deaths.length} called dead, ${await refutationsOf(ring)} refutations`,
  };
}

async function heal(): Promise<Verdict> {
  using network = new SplitNetwork(5);
  const members = network.hosts.map((host, index) => new MemberProcess(`n${index + 1}`, "lan", { host }));
  try {
    await Promise.all(members.map(({ ready }) => ready));
    for (const member of members) member.send({ type: "join", addresses: [members[0]!.address] });
    await until(() => members.every((member) => member.aliveOthers === 4));
    network.cut(2);
    const cutMs = performance.now();
    await until(() => members.every(({ aliveOthers }, index) => aliveOthers === (index < 2 ? 1 : 2)));
    const known = (performance.now() - cutMs) / 1_000;
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, CUT_MS - known * 1_000)));
    network.heal();
    const healedMs = performance.now();
    await until(() => members.every((member) => member.aliveOthers === 4));
    const seconds = (performance.now() - healedMs) / 1_000;
    const figures = `the cut known to all after ${known.toFixed(1)} s, all see all ${seconds.toFixed(1)} s after the heal`;
    return { kept: seconds <= 30, figures };
  } finally {
    await Promise.all(members.map((member) => member[Symbol.asyncDispose]()));
  }
}

async function restart(): Promise<Verdict> {
  await using ring = await MembershipRing.open(6);
  const ports = ring.members.map(({ name, address }) => ({ name, address }));
  for (const member of ring.members) await member[Symbol.asyncDispose]();
  const beganMs = performance.now();
  ring.members.length = 0;
  for (const { name, address } of ports) ring.members.push(new MemberProcess(name, "lan", { port: address.port }));
  await Promise.all(ring.members.map(({ ready }) => ready));
  for (const member of ring.members)
    member.send({ type: "join", addresses: ports.slice(0, 3).map(({ address }) => address) });
  await until(() => ring.members.every((member) => member.aliveOthers === 5));
  const seconds = (performance.now() - beganMs) / 1_000;
  return { kept: seconds <= 30, figures: `6 nodes: all see all ${seconds.toFixed(1)} s after the first start` };
}

async function cycles(
  members: readonly MemberProcess[],
  { ms, times }: { readonly ms: number; readonly times: number },
): Promise<void> {
  for (let time = 0; time < times; time++) {
    for (const member of members) member.signal("SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, ms));
    for (const member of members) member.signal("SIGCONT");
    await new Promise((resolve) => setTimeout(resolve, ms));
  }
}

async function refutationsOf(ring: MembershipRing): Promise<number> {
  const counts = await Promise.all(ring.members.map((member) => member.counts()));
  return counts.reduce((sum, { refutations }) => sum + refutations, 0);
}

const FAST_RUNS = 6;
const BUSY_MS = 30_000;
const CUT_MS = 60_000;
const CASES: Readonly<Record<string, () => Promise<Verdict>>> = {
  pause: pauses,
  "fast-crash": fastCrashes,
  "fast-pause": fastPauses,
  "fast-busy": fastBusy,
  heal,
  restart,
};

const asked = process.argv.slice(2);
for (const name of asked.length === 0 ? Object.keys(CASES) : asked) {
  const run = CASES[name];
  if (run === undefined) throw new Error(`no case ${name}: ${Object.keys(CASES).join(", ")}`);
  const { kept, figures } = await run();
  console.log(`${name}: ${kept ? "kept" : "BROKEN"}: ${figures}`);
  if (!kept) process.exitCode = 1;
}
