/**
 * What strangers may send to the gossip port of a node that serves: it is dropped, counted by reason in `/metrics`, and
 * changes neither the view nor the ring. Seen to fail: with the counters of the machine left out of the metrics
 * ("impossible" stays 0), and with streams left out of the replays.
 */

import { randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseNodeName } from "../../ring/ids.ts";
import { Envelope, Keyring, parseKey } from "../../ring/io/gossip-crypto.ts";
import type { Alive, PushPull } from "../../ring/membership/messages.ts";
import { encodeStream } from "../../ring/membership/stream.ts";
import { OUR_VERSIONS } from "../../ring/membership/versions.ts";
import { concat, encodeMessage } from "../../ring/membership/wire.ts";
import { connect, type RingClient } from "../../services/client/ring-client.ts";
import { builtFile, Lab, waitUntil } from "../../services/lab/lab.ts";
import { compoundOf, compressed, pack } from "../go-packing.ts";

test.concurrent("malformed, impossible and foreign packets are dropped and counted by reason, in clear", async () => {
  await using lab = await Lab.open({ apps: [APPS], ringSize: 8, flags: ["--log-level", "error"] });
  const { grpc, gossip, http } = await lab.start("n1");
  await using client = connect({ addresses: [grpc] });
  const whole = encodeMessage(STRANGER);
  const cuts = Array.from({ length: whole.length }, (_, length) => whole.subarray(0, length));
  const refused: [string, readonly Uint8Array[]][] = [
    ["truncated", cuts],
    ["unknown-type", [Uint8Array.of(0x42), encodeStream(PUSH_PULL)]],
    ["bad-checksum", [Uint8Array.of(12, 0, 0, 0, 0, ...whole)]],
    ["bad-compression", [compressed(Uint8Array.of(1, 2, 3))]],
    ["unsupported", [compressed(pack(whole), 7)]],
    // Bombs: 200 kB of zeros packed into some hundred bytes, and a compound of compounds.
    ["too-large", [compressed(pack(new Uint8Array(200_000))), nested(whole, 6)]],
    ["foreign-label", [concat([Uint8Array.of(244, 3, 97, 98, 99), whole])]],
    [
      "impossible",
      [
        encodeMessage({ ...STRANGER, incarnation: 0xffff_ffff }),
        encodeMessage({ ...STRANGER, versions: [0, 0, 0, 0, 0, 0] }),
        encodeMessage({ type: "suspect", node: parseNodeName("n1"), from: STRANGER.node, incarnation: 0xffff_ffff }),
        encodeMessage({ type: "dead", node: parseNodeName("n1"), from: STRANGER.node, incarnation: 0xffff_ffff }),
      ],
    ],
    ["conflict", [encodeMessage({ ...STRANGER, node: parseNodeName("n1"), incarnation: 1_000 })]],
  ];
  await sendAll(
    gossip,
    refused.flatMap(([, packets]) => packets),
  );
  for (const [reason, packets] of refused)
    await waitUntil(reason, async () => (await dropped(http, reason)) >= packets.length, WAIT_MS);
  // Streams: no request at all, one that announces more nodes than any ring has, and noise.
  const before = await dropped(http, "out-of-range");
  await answerOf(gossip, Uint8Array.of(6, 0x81, ...text("Nodes"), 0xce, 0x7f, 0, 0, 0));
  expect(await dropped(http, "out-of-range")).toBeGreaterThan(before);
  await answerOf(gossip, new Uint8Array(randomBytes(300)).with(0, 0x42));
  await expectUnharmed(client);
  expect(await firstEvent(client, "name-conflict")).toBe(
    `n1 is at ${gossip}, and somebody at 10.9.8.7:1 uses the same name`,
  );
}, 60_000);

test.concurrent("clear, wrongly sealed and replayed packets and streams are dropped and counted, in an encrypted ring", async () => {
  await using lab = await Lab.open({ apps: [APPS], ringSize: 8, flags: ["--log-level", "error"] });
  const key = randomBytes(32).toString("base64");
  const file = join(lab.folder, "keys.json");
  writeFileSync(file, JSON.stringify([key]));
  const { grpc, gossip, http } = await lab.start("n1", { flags: ["--gossip-keys", file] });
  await using client = connect({ addresses: [grpc] });
  const [ours, foreign] = [parseKey(key), new Uint8Array(32)].map(
    (secret) => new Envelope({ keyring: new Keyring([secret]), label: "" }),
  ) as [Envelope, Envelope];
  const ping = encodeMessage({ type: "ping", sequence: 1, node: parseNodeName("n1") });
  const sealed = ours.sealPacket(ping);
  await sendAll(gossip, [encodeMessage(STRANGER), foreign.sealPacket(ping), sealed, sealed, sealed]);
  for (const [reason, count] of [
    ["not-encrypted", 1],
    ["undecryptable", 1],
    ["replayed", 2],
  ] as const)
    await waitUntil(reason, async () => (await dropped(http, reason)) === count, WAIT_MS);
  const stream = ours.sealStream(encodeStream(PUSH_PULL));
  expect((await answerOf(gossip, stream)).length).toBeGreaterThan(100);
  await answerOf(gossip, stream);
  expect(await dropped(http, "replayed")).toBe(3);
  await answerOf(gossip, encodeStream(PUSH_PULL));
  expect(await dropped(http, "not-encrypted")).toBe(2);
  await expectUnharmed(client);
}, 60_000);

async function expectUnharmed(client: RingClient): Promise<void> {
  const { members } = await client.cluster.members();
  expect(members.map(({ name, alive }) => `${name} ${alive}`)).toEqual(["n1 alive"]);
  const { taskId } = await client.submit({ app: "slow", type: "note", key: "k" });
  expect(await client.wait(taskId)).toMatchObject({ state: "DONE" });
}

async function dropped(http: string, reason: string): Promise<number> {
  const metrics = await (await fetch(`http://${http}/metrics`)).text();
  const line = new RegExp(`^taskring_gossip_packets_total\\{[^}]*"${reason}"[^}]*\\} (\\d+)`, "m");
  return Number(line.exec(metrics)?.[1] ?? 0);
}

async function firstEvent(client: RingClient, type: string): Promise<string | undefined> {
  const options = { signal: AbortSignal.timeout(WAIT_MS) };
  for await (const event of client.cluster.events({ recent: 1_000 }, options))
    if (event.type === type) return event.detail;
  return undefined;
}

async function sendAll(gossip: string, packets: readonly Uint8Array[]): Promise<void> {
  const udp = createSocket("udp4");
  const { host, port } = addressOf(gossip);
  for (const packet of packets) await new Promise((resolve) => udp.send(packet, port, host, resolve));
  udp.close();
}

/** All that it answers until it closes. */
async function answerOf(gossip: string, request: Uint8Array): Promise<Uint8Array> {
  const socket = connectTcp(addressOf(gossip));
  const chunks: Uint8Array[] = [];
  socket.on("data", (chunk: Uint8Array) => chunks.push(chunk));
  socket.write(request);
  await once(socket, "close");
  return concat(chunks);
}

function addressOf(text: string): { readonly host: string; readonly port: number } {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at), port: Number(text.slice(at + 1)) };
}

function nested(message: Uint8Array, depth: number): Uint8Array {
  return depth === 0 ? message : compoundOf([nested(message, depth - 1)]);
}

function text(word: string): readonly number[] {
  return [0xa0 + word.length, ...new TextEncoder().encode(word)];
}

const STRANGER: Alive = {
  type: "alive",
  node: parseNodeName("stranger"),
  address: { host: "10.9.8.7", port: 1 },
  incarnation: 1,
  meta: new Uint8Array(0),
  versions: OUR_VERSIONS,
};
const PUSH_PULL: PushPull = { type: "push-pull", join: true, nodes: [], userState: new Uint8Array(0) };
const APPS = builtFile("test/chaos/apps.ts");
const WAIT_MS = 15_000;
