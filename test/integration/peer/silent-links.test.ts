/** Links that say nothing hold no place of a peer. */

import { once } from "node:events";
import { connect } from "node:http2";
import { test } from "vitest";
import { LINK_PATH } from "../../../proto/load.ts";
import type { NodeName } from "../../../ring/ids.ts";
import { openPeers } from "../../../ring/io/peer/peers.ts";
import { startApi } from "../../../services/api/server.ts";
import { documentOf, FakeNode, quiet, until } from "../api/fake-node.ts";

test("P5: a link without a hello is ended, so that strangers do not keep peers out", async () => {
  const received: string[] = [];
  const addresses = new Map<string, string>();
  const open = (name: string, limits = {}) =>
    openPeers({
      self: () => ({
        type: "hello",
        protocol: { lowest: 1, highest: 1 },
        ringId: "ring" as never,
        history: 1,
        name: name as NodeName,
        memberId: `id-${name}` as never,
      }),
      onMessages: (from) => void received.push(from),
      onLink: () => undefined,
      addressOf: (peer) => addresses.get(peer),
      log: { info: () => undefined, error: () => undefined },
      limits: { backoffMs: { first: 20, most: 50 }, helloMs: 300, ...limits },
    });
  await using a = open("a", { incoming: 3 });
  await using b = open("b");
  const api = await startApi({
    node: new FakeNode("a", documentOf(["a"])),
    bind: { host: "127.0.0.1", port: 0 },
    log: quiet,
    services: [a.service],
  });
  addresses.set("a", api.address);
  const stranger = connect(`http://${api.address}`);
  stranger.on("error", () => undefined);
  try {
    await once(stranger, "connect");
    const headers = { ":method": "POST", ":path": LINK_PATH, "content-type": "application/grpc" };
    let ended = 0;
    const open = (): void => {
      const stream = stranger.request(headers).on("error", () => undefined);
      stream.on("end", () => void ended++).resume();
    };
    for (let opened = 0; opened < 2; opened++) open(); // there is room for more: nobody makes any
    await until(() => ended === 2);
    for (let opened = 0; opened < 3; opened++) open();
    await new Promise<void>((resolve) => void stranger.ping(() => resolve()));
    b.connect(["a" as NodeName]);
    b.send("a" as NodeName, { type: "pull-document", epoch: 1 });
    await until(() => received.includes("b"));
    await until(() => b.isUp("a" as NodeName));
  } finally {
    stranger.destroy();
    await api.close({ graceMs: 0 });
  }
});
