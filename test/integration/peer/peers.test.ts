/** Links between nodes over real sockets: hello, order, loss and return of a peer, another ring, a full queue. */

import { once } from "node:events";
import { connect } from "node:http2";
import { afterEach, expect, test } from "vitest";
import { LINK_PATH } from "../../../proto/load.ts";
import { PEER_WINDOW_BYTES } from "../../../proto/window.ts";
import type { NodeName } from "../../../ring/ids.ts";
import { openPeers, type Peers } from "../../../ring/io/peer/peers.ts";
import type { NodeMessage } from "../../../ring/node/messages.ts";
import { API_LIMITS } from "../../../services/api/limits.ts";
import { type Api, startApi } from "../../../services/api/server.ts";
import { documentOf, FakeNode, quiet, until } from "../api/fake-node.ts";

interface Running {
  readonly name: NodeName;
  readonly peers: Peers;
  readonly received: { readonly from: NodeName; readonly message: NodeMessage }[];
  readonly links: string[];
  readonly errors: string[];
  api: Api;
}

const addresses = new Map<NodeName, string>();
const running: Running[] = [];

afterEach(async () => {
  for (const one of running.splice(0)) {
    await one.peers[Symbol.asyncDispose]();
    await one.api.close({ graceMs: 0 });
  }
  addresses.clear();
});

async function start(text: string, ringId = "ring", limits = {}): Promise<Running> {
  const name = text as NodeName;
  const received: Running["received"] = [];
  const links: string[] = [];
  const errors: string[] = [];
  const peers = openPeers({
    self: () => ({
      type: "hello",
      protocol: { lowest: 1, highest: 1 },
      ringId: ringId as never,
      history: 1,
      name,
      memberId: `id-${text}` as never,
    }),
    onMessages: (from, messages) => received.push(...messages.map((message) => ({ from, message }))),
    onLink: (peer, state) => links.push(`${peer} ${state}`),
    addressOf: (peer) => addresses.get(peer),
    log: { info: () => undefined, error: (fields) => errors.push(JSON.stringify(fields)) },
    limits: { backoffMs: { first: 20, most: 50 }, ...limits },
  });
  const api = await listen(text, peers, 0);
  const one: Running = { name, peers, received, links, errors, api };
  addresses.set(name, api.address);
  running.push(one);
  return one;
}

function listen(name: string, peers: Peers, port: number): Promise<Api> {
  return startApi({
    node: new FakeNode(name, documentOf([name])),
    bind: { host: "127.0.0.1", port },
    log: quiet,
    services: [peers.service],
  });
}

/** Of the kind that goes before everything else. */
const LEASE = {
  type: "register",
  for: "b",
  as: "a",
  message: {
    ringId: "ring",
    history: 1,
    memberId: "id-a",
    starts: 1,
    run: 1,
    type: "inquired",
    epoch: 1,
    request: 1,
    waitsMs: [0],
  },
} as unknown as NodeMessage;

function pull(epoch: number): NodeMessage {
  return { type: "pull-document", epoch };
}

function epochs(one: Running): number[] {
  return one.received.flatMap(({ message }) => (message.type === "pull-document" ? [message.epoch] : []));
}

test("the first message dials; hello comes first, then everything in order", async () => {
  const a = await start("a");
  const b = await start("b");
  for (let epoch = 1; epoch <= 500; epoch++) expect(a.peers.send(b.name, pull(epoch))).toBe(true);
  await until(() => epochs(b).length === 500);
  expect(epochs(b)).toEqual(Array.from({ length: 500 }, (_, index) => index + 1));
  expect(b.received[0]).toMatchObject({ from: "a", message: { type: "hello", memberId: "id-a" } });
  expect(a.links).toEqual(["b up"]);
});

test("a peer that is gone is reported at once, and the link comes back with it", async () => {
  const a = await start("a");
  const b = await start("b");
  a.peers.send(b.name, pull(1));
  await until(() => epochs(b).length === 1);
  const port = Number(b.api.address.split(":")[1]);
  const before = performance.now();
  void b.api.close({ graceMs: 0 });
  await until(() => a.links.includes("b down"));
  expect(performance.now() - before).toBeLessThan(1_000);
  expect(a.peers.isUp(b.name)).toBe(false);
  await until(() => !a.peers.send(b.name, pull(2)));
  b.api = await listen("b", b.peers, port);
  await until(() => a.peers.isUp(b.name));
  expect(a.peers.send(b.name, pull(3))).toBe(true);
  await until(() => epochs(b).includes(3));
});

test("a node of another ring is refused loudly on both sides and hears nothing", async () => {
  const a = await start("a", "ring-1");
  const b = await start("b", "ring-2");
  a.peers.connect([b.name]);
  await until(() => a.errors.length > 0 && b.errors.length > 0);
  expect(a.errors[0]).toContain("WRONG_RING");
  expect(b.errors[0]).toContain("WRONG_RING");
  expect(b.received).toEqual([]);
  expect(a.peers.isUp(b.name)).toBe(false);
});

test("a node that answers under another name is not taken for the peer", async () => {
  const a = await start("a");
  const b = await start("b");
  addresses.set("c" as NodeName, b.api.address);
  a.peers.connect(["c" as NodeName]);
  await until(() => a.links.includes("c down"));
  expect(a.peers.isUp("c" as NodeName)).toBe(false);
});

test("a peer that no link is kept to any more is reported as every broken link: what it was asked has no answer", async () => {
  const a = await start("a");
  const [b, c] = [await start("b"), await start("c")];
  a.peers.connect([b.name, c.name]);
  await until(() => a.links.length === 2);
  a.peers.prune([c.name]);
  expect(a.links.slice(2)).toEqual(["b down"]);
  expect(a.peers.isUp(c.name)).toBe(true);
  a.peers.prune([c.name]);
  expect(a.links).toHaveLength(3);
});

test("P5: what waits for a peer is bounded; more is refused", async () => {
  const a = await start("a", "ring", { queueBytes: 10_000 });
  const b = await start("b");
  const large: NodeMessage = {
    type: "transfer-abort",
    transfer: { partition: 1 as never, kind: "handoff", generation: 1, nonce: 1 },
    reason: "x".repeat(900),
  };
  let taken = 0;
  while (a.peers.send(b.name, large)) taken += 1;
  expect(taken).toBeGreaterThan(5);
  expect(taken).toBeLessThan(12);
  expect(a.peers.queueBytes(b.name)).toBeLessThanOrEqual(10_000);
  await until(() => b.received.length === taken + 1);
  expect(a.peers.send(b.name, large)).toBe(true);
});

test("W1, W2: what is sent may be ahead of what is read, and further for a peer than for a client", async () => {
  const a = await start("a");
  for (const path of [LINK_PATH, "/taskring.v1.Tasks/SubmitStream"]) {
    const session = connect(`http://${a.api.address}`);
    try {
      await once(session, "connect");
      const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc" });
      stream.on("error", () => undefined);
      const bytes = path === LINK_PATH ? PEER_WINDOW_BYTES : API_LIMITS.windowBytes;
      await until(() => session.remoteSettings?.initialWindowSize === bytes);
      await until(() => (session.state.remoteWindowSize ?? 0) >= bytes);
      expect(session.state.remoteWindowSize).toBeLessThan(bytes + 65_536);
    } finally {
      session.destroy();
    }
  }
});

test("P5, W3: many links over one connection do the node no harm", async () => {
  const a = await start("a");
  const flood = connect(`http://${a.api.address}`);
  let told = 0;
  flood.on("error", () => undefined);
  flood.on("remoteSettings", () => void told++);
  await once(flood, "connect");
  for (let opened = 0; opened < 200; opened++) {
    const stream = flood.request({ ":method": "POST", ":path": LINK_PATH, "content-type": "application/grpc" });
    stream.on("error", () => undefined);
  }
  const answered = (): Promise<boolean> =>
    new Promise((resolve) => void flood.ping((error) => resolve(error === null)));
  // A ping overtakes what is not sent yet; behind the second one all of them have been seen.
  for (let ping = 0; ping < 2; ping++) expect(await answered()).toBe(true);
  expect(told).toBeLessThanOrEqual(2);
  flood.destroy();
  const b = await start("b");
  b.peers.send(a.name, pull(1));
  await until(() => epochs(a).length === 1);
});

test("a lease waits for little of what was sent before it", async () => {
  const a = await start("a");
  const b = await start("b");
  const chunks = 200;
  const rows = (sequence: number): NodeMessage => ({
    type: "transfer-chunk",
    transfer: { partition: 1 as never, kind: "handoff", generation: 1, nonce: 1 },
    sequence,
    changes: [{ key: Uint8Array.of(1), value: new Uint8Array(200_000) }],
  });
  for (let sequence = 1; sequence <= chunks; sequence++) expect(a.peers.send(b.name, rows(sequence))).toBe(true);
  const seen = (): number[] =>
    b.received.flatMap(({ message }) => (message.type === "transfer-chunk" ? [message.sequence] : []));
  await until(() => seen().length > 0);
  const before = seen().length;
  a.peers.send(b.name, LEASE);
  await until(() => seen().length === chunks);
  const at = b.received.findIndex(({ message }) => message.type === "register");
  expect(seen()).toEqual(Array.from({ length: chunks }, (_, index) => index + 1));
  expect(at).toBeLessThan(before + 20); // 4 MB of 40
});

test("a peer that is pruned is not dialled again, and an unknown address is no link", async () => {
  const a = await start("a");
  const b = await start("b");
  expect(a.peers.send("nobody" as NodeName, pull(1))).toBe(false);
  a.peers.connect([b.name]);
  await until(() => a.peers.isUp(b.name));
  a.peers.prune([]);
  expect(a.peers.isUp(b.name)).toBe(false);
});

test("P5: answers to names whose address nobody knows leave no link that is dialled for ever", async () => {
  const a = await start("a");
  for (let index = 0; index < 100; index++) expect(a.peers.send(`stranger-${index}` as NodeName, pull(1))).toBe(false);
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(a.links).toEqual([]);
});

test("garbage on the link is counted and dropped; the link stays", async () => {
  const a = await start("a");
  const b = await start("b");
  a.peers.send(b.name, pull(1));
  await until(() => epochs(b).length === 1);
  a.peers.send(b.name, { type: "nonsense" } as never);
  a.peers.send(b.name, pull(2));
  await until(() => epochs(b).length === 2);
  expect(b.peers.garbage).toBe(1);
});
