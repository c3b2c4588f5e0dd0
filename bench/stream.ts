/**
 * Micro-benchmark of the gRPC edge: the client's sink in this process, a node that accepts at once in another, between
 * them SubmitStream over loopback. 200-byte payloads, 10,000 keys, three apps.
 *
 * Prints tasks a second and CPU time per task of both ends. Not part of `npm run bench`: it guides work on the hot path.
 */

import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { RingDocument } from "../ring/document.ts";
import type { RingNode } from "../ring/node/port.ts";
import type { SubmitOutcome } from "../ring/tasks/task.ts";
import { startApi } from "../services/api/server.ts";
import { connect } from "../services/client/index.ts";

async function main(): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url), ["serve"]);
  const next = (): Promise<{ readonly address?: string; readonly cpuMs?: number; readonly rssMb?: number }> =>
    new Promise((resolve) => child.once("message", (message) => resolve(message as never)));
  const { address } = await next();
  const rates: number[] = [];
  for (let run = 0; run < RUNS; run++) rates.push(await measure(address ?? ""));
  child.send("usage");
  const usage = await next();
  child.disconnect();
  rates.sort((left, right) => left - right);
  const shown = [rates[0], rates[RUNS >> 1], rates[RUNS - 1]].map((rate) => Math.round(rate ?? 0).toLocaleString("en"));
  const total = TASKS * RUNS;
  const own = process.cpuUsage();
  console.log(`stream ${shown.join(" / ")} tasks/s (min / median / max of ${RUNS} runs)`);
  console.log(`server ${(((usage.cpuMs ?? 0) * 1000) / total).toFixed(2)} µs/task, RSS ${usage.rssMb} MB`);
  console.log(`client ${((own.user + own.system) / total).toFixed(2)} µs/task`);
}

async function measure(address: string): Promise<number> {
  const client = connect({ addresses: [address] });
  await client.ready();
  const sink = client.openSink();
  const payload = Buffer.alloc(200, 7);
  const before = performance.now();
  for (let index = 0; index < TASKS; index++) {
    const task = {
      app: APPS[index % 3] ?? "",
      type: "bench.bump",
      key: KEYS[(index * 7_919) % KEYS.length] ?? "",
      payload,
    };
    if (!sink.push(task)) await sink.ready();
  }
  await sink.drained();
  const seconds = (performance.now() - before) / 1000;
  if (sink.counts.accepted !== TASKS) throw new Error(`${sink.counts.accepted} of ${TASKS} accepted`);
  client.close();
  return TASKS / seconds;
}

async function serve(): Promise<void> {
  const name = "bench" as never;
  const document: RingDocument = {
    version: 1,
    ringId: "bench" as never,
    history: 1,
    epoch: 1 as never,
    ringSize: 64,
    members: [{ name, id: "id" as never, status: "valid", weight: 100, machine: "m", directory: "/" }],
    voters: [name],
    owners: new Array(64).fill(name),
    next: new Array(64).fill(undefined),
    generations: new Array(64).fill(1),
    stranded: [],
    staged: [],
    applied: [],
  };
  let address = "";
  const node: RingNode = {
    name,
    document: () => document,
    members: () => [],
    member: () => undefined,
    addressesOf: () => ({ grpc: address, http: "" }),
    ownerOf: () => name,
    submit: (origin, tokens, records) => {
      const outcomes: SubmitOutcome[] = records.map((record) => ({ type: "accepted", id: record.id }));
      setImmediate(() => origin.outcomes(tokens, outcomes));
    },
    forget: () => undefined,
    ask: async () => ({ type: "refused", code: "UNIMPLEMENTED", detail: "" }),
    onRingEvent: () => () => undefined,
    onTaskEvents: () => () => undefined,
    onDocument: () => () => undefined,
    recentEvents: () => [],
    holdings: async () => undefined,
  };
  const api = await startApi({ node, bind: { host: "127.0.0.1", port: 0 }, log: console });
  address = api.address;
  process.send?.({ address });
  process.on("message", () => {
    const { user, system } = process.cpuUsage();
    process.send?.({ cpuMs: (user + system) / 1000, rssMb: Math.round(process.memoryUsage.rss() / 1e6) });
  });
  process.on("disconnect", () => process.exit(0));
}

const RUNS = 5;
const TASKS = 1_000_000;
const APPS = ["acme", "globex", "initech"];
const KEYS = Array.from({ length: 10_000 }, (_, index) => `key-${index}`);

await (process.argv[2] === "serve" ? serve() : main());
