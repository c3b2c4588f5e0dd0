/**
 * Whole nodes of ours, each a process, in one cluster with stock serf agents: through their seed and through ours, a
 * SIGKILL is `failed` and a leave is `left`, in clear and encrypted.
 */

import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { SerfAgent, serfIsThere } from "../../bench/membership-serf.ts";
import { connect } from "../../services/client/ring-client.ts";
import { builtFile, Lab, waitUntil } from "../../services/lab/lab.ts";

let there = false;

beforeAll(async () => {
  there = await serfIsThere();
  if (there) return;
  if (process.env.CI === "true") throw new Error("serf is missing and could not be installed (Debian package `serf`)");
  console.warn("serf is missing and cannot be installed without root: these tests are skipped");
}, 300_000);

describe.concurrent.each([
  { kind: "in clear", key: undefined },
  { kind: "encrypted", key: randomBytes(32).toString("base64") },
])("beside serf, $kind", ({ key }) => {
  test("a node that is killed is failed, one that leaves is left, whichever side the others joined by", async (context) => {
    if (!there) return context.skip();
    await using lab = await Lab.open({ apps: [builtFile("test/chaos/apps.ts")], ringSize: 16 });
    const keyFile = join(lab.folder, "keys.json");
    writeFileSync(keyFile, JSON.stringify([key]));
    const flags = key === undefined ? [] : ["--gossip-keys", keyFile];
    const options = key === undefined ? {} : { key };
    await using first = await SerfAgent.start({ name: "serf-1", tags: { dc: "east" }, ...options });
    await using second = await SerfAgent.start({ name: "serf-2", ...options });
    const agents = [first, second];
    const founder = await lab.start("n1", { flags });
    const [host = "", port = ""] = founder.gossip.split(":");
    // Theirs through our seed, ours through theirs.
    await first.join({ host, port: Number(port) });
    await second.join(first.gossip);
    const seeds = [`${second.gossip.host}:${second.gossip.port}`];
    for (const name of ["n2", "n3", "n4"]) await lab.start(name, { flags, seeds });
    await using client = connect({ addresses: [founder.grpc] });
    const seen = async (name: string): Promise<string | undefined> =>
      (await client.cluster.members()).members.find((member) => member.name === name)?.alive;
    await waitUntil(
      "all see all",
      async () => (await Promise.all(agents.map((agent) => agent.aliveCount()))).join() === "6,6",
      WAIT_MS,
    );
    const standing = async (): Promise<string> =>
      (await client.cluster.members()).members.map(({ name, status }) => `${name} ${status}`).join(", ");
    const expected = "n1 valid, n2 valid, n3 valid, n4 valid, serf-1 none, serf-2 none";
    await waitUntil("ours are members, theirs are not", async () => (await standing()) === expected, WAIT_MS);
    const { members } = await client.cluster.members();
    expect(members.find(({ name }) => name === "serf-1")).toMatchObject({ tags: { dc: "east" }, health: "" });
    expect(members.find(({ name }) => name === "n2")).toMatchObject({ tags: { role: "taskring" }, health: "ok" });
    expect((await first.members()).find(({ name }) => name === "n2")?.tags).toMatchObject({ role: "taskring" });
    await client.cluster.stage({ leave: "n4" });
    await client.cluster.commit(undefined);
    expect(await lab.exited("n4")).toBe(0);
    await lab.kill("n3");
    await first.kill();
    await waitUntil(
      "both deaths are known",
      async () => (await second.statusOf("n3")) === "failed" && (await seen("serf-1")) === "dead",
      WAIT_MS,
    );
    expect(await second.statusOf("n4")).toBe("left");
    expect(await second.statusOf("serf-1")).toBe("failed");
    expect(await seen("n3")).toBe("dead");
    await second.leave();
    await waitUntil("their leave is a leave", async () => (await seen("serf-2")) === "left", WAIT_MS);
    expect(await seen("n2")).toBe("alive");
  }, 90_000);
});

const WAIT_MS = 30_000;
