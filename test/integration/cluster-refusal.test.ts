/** What a real node refuses, and how: typed errors, and nothing lost, crashed or grown by it. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { DETAILS_KEY, parseErrorDetails } from "../../proto/error-details.ts";
import { serviceDefinition } from "../../proto/load.ts";
import { connect } from "../../services/client/ring-client.ts";
import { builtFile, Lab, waitUntil } from "../../services/lab/lab.ts";
import { Cluster } from "./cluster.ts";
import { mountSmallDisk } from "./small-disk.ts";

test("P9: one command starts a working ring on one machine", async () => {
  const folder = mkdtempSync(join(tmpdir(), "taskring-one-"));
  const args = [
    RINGCTL,
    "start",
    "--data",
    join(folder, "data"),
    "--grpc",
    "127.0.0.1:0",
    "--http",
    "127.0.0.1:0",
    "--gossip",
    "127.0.0.1:0",
    "--app",
    APPS,
  ];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "ignore"] });
  try {
    let said = "";
    child.stdout.on("data", (bytes: Buffer) => {
      said += bytes.toString();
    });
    const [, address = ""] = await waitUntil(
      "the ready line",
      () => /grpc=(\S+) .*state=serving/.exec(said) ?? undefined,
      20_000,
    );
    await using client = connect({ addresses: [address] });
    const { taskId } = await client.submit({ app: "slow", type: "note", key: "k" });
    expect(await client.wait(taskId)).toMatchObject({ state: "DONE", attempts: 1 });
    child.kill("SIGTERM");
    expect((await once(child, "exit"))[0]).toBe(0);
  } finally {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  }
});

test("P1: a second process on a directory in use does not start, says who has it, and disturbs nothing", async () => {
  await using cluster = await Cluster.open({ nodes: ["n1"] });
  const { pid } = cluster.lab.node("n1");
  const second = spawn(
    process.execPath,
    [RINGCTL, "start", "--name", "n1", "--data", join(cluster.lab.folder, "n1"), ...ANYWHERE],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  let said = "";
  let ready = "";
  second.stderr.on("data", (bytes: Buffer) => {
    said += bytes.toString();
  });
  second.stdout.on("data", (bytes: Buffer) => {
    ready += bytes.toString();
  });
  try {
    await waitUntil("it says who has the directory", () => said.includes(`process ${pid} has it`), 20_000);
    const { id } = await cluster.submit("work", "k", 0);
    expect(await cluster.client.wait(id)).toMatchObject({ state: "DONE" });
    expect(ready).toBe("");
    second.kill("SIGTERM");
    await once(second, "exit");
    await cluster.atRest();
    await cluster.verdict();
  } finally {
    second.kill("SIGKILL");
  }
});

test("P7: a node of another ring is refused, with both rings named", async () => {
  await using lab = await Lab.open({ apps: [APPS], ringSize: 16 });
  const first = await lab.start("n1");
  const founder = await Lab.open({ apps: [APPS], folder: join(lab.folder, "founder"), ringSize: 16 });
  try {
    await founder.start("x1");
    expect(await founder.stop("x1")).toBe(0);
    const run = spawn(
      process.execPath,
      [RINGCTL, "start", "--name", "x1", "--data", join(founder.folder, "x1"), "--join", first.gossip, ...ANYWHERE],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    let said = "";
    run.stderr.on("data", (bytes: Buffer) => {
      said += bytes.toString();
    });
    await waitUntil("it says WRONG_RING", () => said.includes("WRONG_RING"), 20_000);
    run.kill("SIGTERM");
    await once(run, "exit");
    await using client = connect({ addresses: [first.grpc] });
    const { members } = await client.cluster.members();
    expect(members.filter(({ status }) => status === "valid").map(({ name }) => name)).toEqual(["n1"]);
  } finally {
    await founder[Symbol.asyncDispose]();
  }
});

test("P7: a minority cannot change the ring: the call ends with a typed error and the epoch stays", async () => {
  await using cluster = await Cluster.open({ nodes: ["n1", "n2", "n3"], apart: true });
  const { address, epoch } = await cluster.client.cluster
    .ring(CALL)
    .then((ring) => ({ address: cluster.lab.node("n1").grpc, epoch: ring.epoch }));
  await cluster.kill("n2");
  await cluster.kill("n3");
  const change = cluster.client.cluster.stage(
    { setWeight: { name: "n1", weight: 50 } },
    { address, deadlineMs: 8_000 },
  );
  await expect(change).rejects.toMatchObject({
    code: expect.stringMatching(/^(RING_BUSY|DEADLINE|NO_OWNER|NO_LEASE)$/),
  });
  const ring = await cluster.client.cluster.ring({ address, deadlineMs: 5_000 });
  expect(ring.epoch).toBe(epoch);
  // And it starts nothing: its lease has run out.
  await waitUntil(
    "n1 has no lease",
    async () =>
      (await cluster.client.cluster.status({ node: "n1" }, { address, deadlineMs: 5_000 })).nodes[0]?.state !==
      "serving",
    20_000,
  );
});

test("P5: what is wrong with a request is a typed error, and garbage leaves the node's memory flat", async () => {
  await using cluster = await Cluster.open({ nodes: ["n1"] });
  const { client } = cluster;
  const { grpc, pid } = cluster.lab.node("n1");
  const refusal = (task: Parameters<typeof client.submit>[0]) =>
    client.submit(task, { deadlineMs: 3_000 }).then(
      () => "accepted",
      (error: { code: string }) => error.code,
    );
  expect(await refusal({ app: "nobody", type: "t", key: "k" })).toBe("APP_UNKNOWN");
  expect(await refusal({ app: "slow", type: "nothing", key: "k" })).toBe("TASK_TYPE_UNKNOWN");
  expect(await refusal({ app: "Not A Name", type: "t", key: "k" })).toBe("APP_NAME_INVALID");
  expect(await refusal({ app: "slow", type: "note", key: "k".repeat(5_000) })).toBe("INVALID_ARGUMENT");
  expect(await refusal({ app: "slow", type: "note", key: "k", payload: new Uint8Array(1_100_000) })).toBe(
    "PAYLOAD_TOO_LARGE",
  );
  await expect(client.get("0".repeat(32))).rejects.toMatchObject({ code: "TASK_NOT_FOUND" });

  const raw = new Client(grpc, credentials.createInsecure());
  const call = (method: string, bytes: Buffer) =>
    new Promise<ServiceError | undefined>((resolve) => {
      raw.makeUnaryRequest(
        method,
        (value: Buffer) => value,
        (value: Buffer) => value,
        bytes,
        { deadline: Date.now() + 5_000 },
        (error) => resolve(error ?? undefined),
      );
    });
  const malformed = await call("/taskring.v1.Tasks/Submit", Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f]));
  expect(malformed?.code).toBeOneOf([3, 13]);
  const settle = async (count: number): Promise<void> => {
    for (let round = 0; round < count; round++) {
      const calls = Array.from({ length: 50 }, (_, index) =>
        call(
          index % 2 === 0 ? "/taskring.v1.Tasks/Submit" : "/taskring.v1.Tasks/SubmitBatch",
          garbage(round * 50 + index),
        ),
      );
      for (const error of await Promise.all(calls)) expect(error).toBeDefined();
    }
  };
  await settle(10);
  const before = rssMiB(pid);
  await settle(60);
  expect(rssMiB(pid) - before).toBeLessThan(48);
  raw.close();
  const { id } = await cluster.submit("work", "k", 0);
  expect(await client.wait(id)).toMatchObject({ state: "DONE" });
});

test("P5: a full queue refuses with a delay, takes again when there is room, and loses nothing", async () => {
  await using cluster = await Cluster.open({ nodes: ["n1"] });
  const { client } = cluster;
  const ids: string[] = [];
  let refusal: { readonly code: string; readonly retryAfterMs?: number } | undefined;
  for (let count = 0; count < 50 && refusal === undefined; count++) {
    await client
      .submit({ app: "tiny", type: "hold", key: "k", payload: { seq: 0, ms: 100 } }, { deadlineMs: 3_000 })
      .then(
        ({ taskId }) => ids.push(taskId),
        (error: typeof refusal) => {
          refusal = error;
        },
      );
  }
  expect(refusal?.code).toBe("QUEUE_FULL");
  expect(refusal?.retryAfterMs).toBeGreaterThan(0);
  for (const id of ids) expect(await client.wait(id)).toMatchObject({ state: "DONE" });
  await client.submit({ app: "tiny", type: "hold", key: "k", payload: { seq: 0, ms: 0 } });
});

test("P1: a draining node refuses with DRAINING, ends what runs, and goes with exit code 0", async () => {
  await using cluster = await Cluster.open({ nodes: ["n1"] });
  const { grpc } = cluster.lab.node("n1");
  const held = await cluster.submit("hold", "k", 1_500);
  await waitUntil("the handler runs", async () => (await cluster.client.get(held.id)).state === "RUNNING", 10_000);
  const stopped = cluster.lab.stop("n1");
  const refusal = await waitUntil("a refusal", async () => refusalOf(await submitOnce(grpc)), 10_000);
  expect(refusal).toBe("DRAINING");
  expect(await stopped).toBe(0);
});

test("P5: on a full disk submits are refused, running tasks end, and the node recovers by itself", async (context) => {
  const disk = mountSmallDisk(160);
  if (typeof disk === "string") return context.skip();
  const folder = disk.path;
  try {
    await using lab = await Lab.open({ apps: [APPS], folder, ringSize: 16, flags: ["--log-level", "error"] });
    const { grpc } = await lab.start("n1");
    await using client = connect({ addresses: [grpc] });
    await client.apps.pause("slow");
    const payload = new Uint8Array(900_000);
    const ids: string[] = [];
    const refusal = await waitUntil(
      "the disk is full",
      () =>
        client.submit({ app: "slow", type: "note", key: `k${ids.length}`, payload }, { deadlineMs: 5_000 }).then(
          ({ taskId }) => void ids.push(taskId),
          (error: { code: string }) => error.code,
        ),
      60_000,
    );
    expect(refusal).toBe("QUEUE_FULL");
    await client.apps.resume("slow");
    for (const id of ids) expect(await client.wait(id, { timeoutMs: 20_000 })).toMatchObject({ state: "DONE" });
    await waitUntil(
      "it takes tasks again",
      () =>
        client.submit({ app: "slow", type: "note", key: "again" }, { deadlineMs: 2_000 }).then(
          () => true,
          () => false,
        ),
      30_000,
    );
    expect(await lab.stop("n1")).toBe(0);
  } finally {
    disk.remove();
  }
});

function refusalOf(answer: string): string | undefined {
  return answer === "accepted" ? undefined : answer;
}

/** The code of the refusal by this very node, without another try. */
function submitOnce(address: string): Promise<string> {
  const { path, requestSerialize, responseDeserialize } = serviceDefinition("taskring.v1.Tasks").Submit!;
  const raw = new Client(address, credentials.createInsecure());
  const task = { app: "slow", type: "note", key: "x" };
  return new Promise((resolve) => {
    raw.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      task,
      { deadline: Date.now() + 5_000 },
      (error) => {
        const [details] = error?.metadata?.get(DETAILS_KEY) ?? [];
        raw.close();
        resolve(details instanceof Uint8Array ? parseErrorDetails(details).reason : (error?.details ?? "accepted"));
      },
    );
  });
}

/** Differs with each number, and parses as nothing. */
function garbage(number: number): Buffer {
  const bytes = Buffer.alloc(200 + (number % 1_000), 0xff);
  bytes.writeUInt32LE((number * 2_654_435_761) >>> 0, 0);
  return bytes;
}

function rssMiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1_024;
}

const RINGCTL = builtFile("cli/ringctl.ts");
const APPS = builtFile("test/chaos/apps.ts");
const ANYWHERE = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--gossip", "127.0.0.1:0", "--app", APPS];
const CALL = { deadlineMs: 5_000 };
