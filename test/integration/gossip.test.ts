/** The gossip sockets on loopback: a small cluster on real time, and what strangers may send. */

import { createSocket } from "node:dgram";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer } from "node:net";
import { afterEach, expect, test } from "vitest";
import { parseNodeName } from "../../ring/ids.ts";
import type { Gossip } from "../../ring/io/gossip.ts";
import { openGossip } from "../../ring/io/gossip.ts";
import type { SwimEffect, SwimEvent } from "../../ring/membership/events.ts";
import { PROFILES } from "../../ring/membership/profile.ts";
import { StreamDecoder } from "../../ring/membership/stream.ts";
import { Swim } from "../../ring/membership/swim.ts";

/** As the driver does it: one timer, set to the machine's next deadline. */
class LiveNode implements AsyncDisposable {
  readonly gossip: Gossip;
  readonly swim: Swim;
  readonly effects: SwimEffect[] = [];
  #timer: NodeJS.Timeout | undefined;

  static async start(name: string): Promise<LiveNode> {
    const early: SwimEvent[] = [];
    let node: LiveNode | undefined;
    const gossip = await openGossip({
      bind: { host: "127.0.0.1", port: 0 },
      onEvent: (event) => (node === undefined ? early.push(event) : node.give(event)),
    });
    node = new LiveNode(name, gossip);
    expect(early).toEqual([]);
    live.push(node);
    return node;
  }

  constructor(name: string, gossip: Gossip) {
    this.gossip = gossip;
    this.swim = new Swim({
      name: parseNodeName(name),
      address: gossip.address,
      tags: new Map([["name", name]]),
      profile: PROFILES.fast,
      random: Math.random,
    });
  }

  give(event: SwimEvent): void {
    for (const effect of this.swim.step(performance.now(), event))
      if (!this.gossip.perform(effect)) this.effects.push(effect);
    clearTimeout(this.#timer);
    const next = this.swim.nextDeadline();
    if (next !== undefined)
      this.#timer = setTimeout(() => this.give({ type: "tick" }), Math.max(0, next - performance.now()));
  }

  alive(): number {
    return this.swim.members().filter(({ state }) => state === "alive").length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.gossip[Symbol.asyncDispose]();
  }
}

const live: AsyncDisposable[] = [];

afterEach(async () => {
  await Promise.all(live.splice(0).map((node) => node[Symbol.asyncDispose]()));
});

test("three nodes find each other over real sockets, see a death and a leave apart", async () => {
  const [a, b, c] = [await LiveNode.start("a"), await LiveNode.start("b"), await LiveNode.start("c")];
  for (const node of [b, c]) node.give({ type: "join", addresses: [a.gossip.address] });
  await until(() => [a, b, c].every((node) => node.alive() === 3));
  expect(b.effects).toContainEqual(expect.objectContaining({ type: "joined" }));
  expect(a.swim.member(parseNodeName("c"))!.tags.get("name")).toBe("c");
  c.give({ type: "leave" });
  await until(() => c.effects.some(({ type }) => type === "left"));
  expect(a.swim.member(parseNodeName("c"))!.state).toBe("left");
  await b[Symbol.asyncDispose]();
  await until(() => a.swim.member(parseNodeName("b"))!.state === "dead");
  expect(a.gossip.counters.drops).toEqual({});
}, 20_000);

test("garbage over UDP and TCP is counted, answered with an error on TCP, and harms nothing", async () => {
  const node = await LiveNode.start("a");
  const { host, port } = node.gossip.address;
  const udp = createSocket("udp4");
  for (const bytes of [[6, 1], [0x42], [12, 0, 0, 0, 0, 1], [9, 0x80], []])
    udp.send(Uint8Array.from(bytes), port, host);
  await until(() => node.gossip.counters.packetsIn === 5);
  udp.close();
  expect(node.gossip.counters.drops).toEqual({
    "unknown-type": 2,
    "bad-checksum": 1,
    "bad-compression": 1,
    truncated: 1,
  });
  const socket = connect(port, host);
  socket.write(Uint8Array.of(9, 0x80));
  const [chunk] = (await once(socket, "data")) as [Uint8Array];
  expect(new StreamDecoder().push(chunk)).toMatchObject({ type: "error" });
  await once(socket, "close");
});

test("a ping over TCP is answered, one for another name is closed", async () => {
  const [a, b] = [await LiveNode.start("a"), await LiveNode.start("b")];
  const ask = (exchange: number, name: string): void => {
    const request = { type: "ping", sequence: 7, node: parseNodeName(name) } as const;
    b.gossip.perform({ type: "exchange", exchange, to: a.gossip.address, request, timeoutMs: 2_000 });
  };
  ask(-1, "a");
  ask(-2, "stranger");
  await until(() => b.gossip.counters.streamsFailed === 1 && a.gossip.counters.streamsIn === 2);
  expect(a.swim.counters.refused).toBe(1);
});

test("an exchange with nobody, or with one that never answers, fails with a reason", async () => {
  const events: SwimEvent[] = [];
  const gossip = await openGossip({ bind: { host: "127.0.0.1", port: 0 }, onEvent: (event) => events.push(event) });
  live.push(gossip);
  const silent = createServer().listen(0, "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as AddressInfo;
  const request = { type: "ping", sequence: 1 } as const;
  gossip.perform({ type: "exchange", exchange: 1, to: { host: "127.0.0.1", port }, request, timeoutMs: 50 });
  gossip.perform({ type: "exchange", exchange: 2, to: { host: "127.0.0.1", port: 1 }, request, timeoutMs: 5_000 });
  await until(() => events.length === 2);
  expect(events).toContainEqual({
    type: "exchange-failed",
    exchange: 1,
    reason: expect.stringContaining("no answer within 50 ms"),
  });
  expect(events).toContainEqual({
    type: "exchange-failed",
    exchange: 2,
    reason: expect.stringContaining("ECONNREFUSED"),
    refused: true,
  });
  silent.close();
});

test("what the system refuses to send is counted as lost: it is neither an answer nor the word of the other machine", async () => {
  const events: SwimEvent[] = [];
  const gossip = await openGossip({ bind: { host: "127.0.0.1", port: 0 }, onEvent: (event) => events.push(event) });
  live.push(gossip);
  // Nobody may send there without asking for broadcasts.
  const to = { host: "255.255.255.255", port: 9 };
  gossip.perform({ type: "send", to, messages: [{ type: "ping", sequence: 1 }], checksum: false });
  gossip.perform({ type: "exchange", exchange: 1, to, request: { type: "ping", sequence: 1 }, timeoutMs: 5_000 });
  await until(() => gossip.counters.sendsFailed === 1 && events.length === 1);
  expect(events).toEqual([{ type: "exchange-failed", exchange: 1, reason: expect.stringContaining(to.host) }]);
});

test("a taken port is named with its remedy, and every address needs one to advertise", async () => {
  const first = await openGossip({ bind: { host: "localhost", port: 0 }, onEvent: () => {} });
  live.push(first);
  await expect(openGossip({ bind: first.bound, onEvent: () => {} })).rejects.toThrow(/--gossip/);
  await expect(openGossip({ bind: { host: "0.0.0.0", port: 0 }, onEvent: () => {} })).rejects.toThrow(/--advertise/);
  const advertised = await openGossip({
    bind: { host: "0.0.0.0", port: 0 },
    advertise: { host: "127.0.0.2" },
    onEvent: () => {},
  });
  live.push(advertised);
  expect(advertised.address).toEqual({ host: "127.0.0.2", port: advertised.bound.port });
});

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error("the condition did not come true within 15 s");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
