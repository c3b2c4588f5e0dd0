/**
 * Membership's promises beyond serf's, on real processes: a node that does badly loses its partitions in order, one that
 * freezes again and again costs two ring changes, and keys change while the ring gossips.
 */

import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { connect, type RingClient } from "../../services/client/ring-client.ts";
import { builtFile, Lab, waitUntil } from "../../services/lab/lab.ts";
import { mountSmallDisk } from "./small-disk.ts";

test.concurrent("P8: a node whose disk is full loses its partitions in order and gets them back, and every task runs once", async (context) => {
  const disk = mountSmallDisk(160);
  if (typeof disk === "string") return context.skip();
  try {
    await using lab = await Lab.open({ apps: [APPS], ringSize: 16 });
    const { grpc } = await lab.start("n1");
    await lab.start("n2", { flags: ["--data", join(disk.path, "n2")] });
    await lab.start("n3");
    await using client = connect({ addresses: [grpc] });
    await waitUntil("n2 has its share", async () => (await partitionsOf(client, "n2")) >= 5, 20_000);
    const filler = join(disk.path, "filler");
    const { bavail, bsize } = statfsSync(disk.path);
    // Below the reserve, but not to the last byte: what ends work must still be written.
    writeFileSync(filler, Buffer.alloc(bavail * bsize - 30 * MIB));
    await waitUntil("it has nothing", async () => (await partitionsOf(client, "n2")) === 0, 30_000);
    const { members } = await client.cluster.members();
    expect(members.find(({ name }) => name === "n2")).toMatchObject({
      status: "valid",
      alive: "alive",
      health: "store",
    });
    expect(members.map(({ partitions }) => partitions).toSorted()).toEqual([0, 8, 8]);
    const sent = Array.from({ length: 50 }, (_, index) =>
      client.submit({ app: "slow", type: "note", key: `k${index}` }),
    );
    for (const { taskId } of await Promise.all(sent))
      expect(await client.wait(taskId)).toMatchObject({ state: "DONE", attempts: 1 });
    rmSync(filler);
    await waitUntil("it has its share again", async () => (await partitionsOf(client, "n2")) >= 5, 45_000);
  } finally {
    disk.remove();
  }
}, 150_000);

test.concurrent("a node that freezes 8 s again and again costs 2 ring changes: it goes once and comes back once", async () => {
  await using lab = await Lab.open({ apps: [APPS], ringSize: 16, flags: ["--log-level", "error"] });
  const { grpc } = await lab.start("n1");
  await lab.start("n2");
  await lab.start("n3");
  await using client = connect({ addresses: [grpc] });
  await waitUntil("n3 has its share", async () => (await partitionsOf(client, "n3")) >= 5, 20_000);
  const following = follow(grpc);
  const statuses: string[] = ["valid"];
  const alive: string[] = ["alive"];
  const until = async (what: string, holds: () => boolean): Promise<void> => {
    const look = async (): Promise<boolean> => {
      const { members } = await client.cluster.members();
      const { status = "", alive: seen = "" } = members.find(({ name }) => name === "n3") ?? {};
      if (status !== statuses.at(-1)) statuses.push(status);
      if (seen !== alive.at(-1)) alive.push(seen);
      return holds();
    };
    await waitUntil(what, look, 60_000);
  };
  for (let cycle = 0; cycle < 3; cycle++) {
    const frozenAt = performance.now();
    lab.freeze("n3");
    await until("8 s have passed", () => performance.now() - frozenAt >= 8_000);
    lab.thaw("n3");
    const thawedAt = performance.now();
    await until("4 s have passed", () => performance.now() - thawedAt >= 4_000);
  }
  expect(alive.filter((state) => state === "dead").length).toBeGreaterThanOrEqual(2);
  expect(statuses).toEqual(["valid", "down"]);
  await until("it is back", () => statuses.at(-1) === "valid");
  await waitUntil("it has its share again", async () => (await partitionsOf(client, "n3")) >= 5, 20_000);
  expect(statuses).toEqual(["valid", "down", "valid"]);
  // And all of it can be seen: in the stream of events, in the metrics, and that all hold the same view and ring.
  const events = following();
  for (const type of ["member-suspect", "member-dead", "member-up"])
    expect(events.some((event) => event.type === type && event.detail === "n3")).toBe(true);
  expect(await metric(lab, "n1", /^taskring_member_flaps_total (\d+)/m)).toBeGreaterThanOrEqual(2);
  expect(await metric(lab, "n1", /^taskring_suspicions_total\{[^}]*"begun"[^}]*\} (\d+)/m)).toBeGreaterThanOrEqual(2);
  expect(await metric(lab, "n3", /^taskring_refutations_total (\d+)/m)).toBeGreaterThanOrEqual(1);
  expect(await metric(lab, "n1", /^taskring_gossip_rtt_seconds_count (\d+)/m)).toBeGreaterThan(20);
  const sums = async (node: string): Promise<string> => {
    const { stdout } = await ringctl("members", "-o", "json", "--address", lab.node(node).grpc);
    const { viewChecksum, ringChecksum } = JSON.parse(stdout) as Record<string, string>;
    return `${viewChecksum} ${ringChecksum}`;
  };
  await waitUntil("all hold the same", async () => new Set(await Promise.all(NAMES.map(sums))).size === 1, 10_000);
  expect(await sums("n1")).toMatch(/^[0-9a-f]{8,} [0-9a-f]{8}$/);
}, 150_000);

test.concurrent("keys are installed, used and removed while the ring gossips, and whoever has only the old one stays outside", async () => {
  await using lab = await Lab.open({ apps: [APPS], ringSize: 16, flags: ["--log-level", "error"] });
  const [old, young] = [randomBytes(32), randomBytes(16)].map((bytes) => bytes.toString("base64")) as [string, string];
  const fileOf = (name: string): string => join(lab.folder, `${name}.keys.json`);
  const start = (name: string): Promise<unknown> => {
    writeFileSync(fileOf(name), JSON.stringify([old]));
    return lab.start(name, { flags: ["--gossip-keys", fileOf(name)] });
  };
  for (const name of NAMES) await start(name);
  await using client = connect({ addresses: lab.addresses });
  await waitUntil("all are members", async () => (await partitionsOf(client, "n3")) >= 5, 20_000);
  const keys = async (...args: readonly string[]): Promise<readonly KeyItem[]> => {
    const { code, stdout } = await ringctl("keys", ...args, "-o", "json", "--address", lab.node("n1").grpc);
    expect(code).toBe(0);
    return (JSON.parse(stdout) as { items: readonly KeyItem[] }).items;
  };
  const [{ fingerprint: oldPrint }] = (await keys("list")) as [KeyItem];
  const installed = await keys("install", young);
  expect(installed.map(({ node, bits, primary }) => `${node} ${bits} ${primary}`).toSorted()).toEqual(
    NAMES.flatMap((name) => [`${name} 128 false`, `${name} 256 true`]),
  );
  const newPrint = installed.find(({ bits }) => bits === 128)!.fingerprint;
  expect((await ringctl("keys", "remove", oldPrint, "--address", lab.node("n1").grpc)).code).not.toBe(0);
  await keys("use", newPrint);
  expect((await keys("list")).filter(({ primary }) => primary).map(({ fingerprint }) => fingerprint)).toEqual(
    NAMES.map(() => newPrint),
  );
  await keys("remove", oldPrint);
  for (const name of NAMES) expect(JSON.parse(readFileSync(fileOf(name), "utf8"))).toEqual([young]);
  // Rumours and probes go on under the new key, and a restart reads it from the file.
  const before = await answered(lab, "n1");
  await waitUntil("probes are answered", async () => (await answered(lab, "n1")) >= before + 5, 20_000);
  expect(await lab.stop("n3")).toBe(0);
  await lab.start("n3");
  await waitUntil("n3 is back", async () => (await aliveOf(client, "n3")) === "alive", 20_000);
  for (const name of NAMES) expect(await undecryptable(lab, name)).toBe(0);
  const stranger = start("n4").catch(() => "refused");
  await waitUntil("n4 is turned away", async () => (await undecryptable(lab, "n1")) > 0, 30_000);
  expect((await client.cluster.members()).members.map(({ name }) => name)).toEqual(NAMES);
  await lab[Symbol.asyncDispose]();
  expect(await stranger).toBe("refused");
}, 120_000);

test.concurrent("a ring in clear says how it becomes encrypted, and stays as it is", async () => {
  await using lab = await Lab.open({ apps: [APPS], ringSize: 8, flags: ["--log-level", "error"] });
  const { grpc } = await lab.start("n1");
  const key = randomBytes(32).toString("base64");
  const { code, stderr } = await ringctl("keys", "install", key, "--address", grpc);
  expect(code).not.toBe(0);
  expect(stderr).toMatch(/gossips in clear: give every node a key file \(--gossip-keys\)/);
}, 60_000);

interface KeyItem {
  readonly node: string;
  readonly fingerprint: string;
  readonly bits: number;
  readonly primary: boolean;
}

async function partitionsOf(client: RingClient, node: string): Promise<number> {
  const { members } = await client.cluster.members();
  return members.find(({ name }) => name === node)?.partitions ?? 0;
}

async function aliveOf(client: RingClient, node: string): Promise<string> {
  const { members } = await client.cluster.members();
  return members.find(({ name }) => name === node)?.alive ?? "";
}

function answered(lab: Lab, node: string): Promise<number> {
  return metric(lab, node, /^taskring_gossip_probes_total\{[^}]*outcome="answered"[^}]*\} (\d+)/m);
}

function undecryptable(lab: Lab, node: string): Promise<number> {
  return metric(lab, node, /^taskring_gossip_packets_total\{[^}]*"undecryptable"[^}]*\} (\d+)/m);
}

async function metric(lab: Lab, node: string, pattern: RegExp): Promise<number> {
  const text = await (await fetch(`http://${lab.node(node).http}/metrics`)).text();
  return Number(pattern.exec(text)?.[1] ?? 0);
}

/** `ringctl events -f` of that node; the answer ends it and is what it said. */
function follow(address: string): () => readonly { readonly type: string; readonly detail: string }[] {
  const child = spawn(process.execPath, [RINGCTL, "events", "-f", "-o", "jsonl", "--address", address], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  let said = "";
  child.stdout.on("data", (bytes: Buffer) => {
    said += bytes.toString();
  });
  return () => {
    child.kill("SIGKILL");
    return said.split("\n").flatMap((line) => (line.endsWith("}") ? [JSON.parse(line)] : []));
  };
}

function ringctl(...args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [RINGCTL, ...args], (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

const RINGCTL = builtFile("cli/ringctl.ts");
const APPS = builtFile("test/chaos/apps.ts");
const NAMES = ["n1", "n2", "n3"];
const MIB = 1_048_576;
