/** Links under names that are no members of the ring hold no place of a member. */

import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { expect, test } from "vitest";
import { LINK_PATH } from "../../../proto/load.ts";
import type { MemberId, NodeName } from "../../../ring/ids.ts";
import { encodeMessage, joinFrame } from "../../../ring/io/peer/frame.ts";
import { openPeers } from "../../../ring/io/peer/peers.ts";
import type { Hello } from "../../../ring/node/messages.ts";
import { startApi } from "../../../services/api/server.ts";
import { documentOf, FakeNode, quiet, until } from "../api/fake-node.ts";

const MEMBERS = new Set(["a", "b", "c"]);

function helloOf(name: string): Hello {
  return {
    type: "hello",
    protocol: { lowest: 1, highest: 1 },
    ringId: undefined,
    history: 0,
    name: name as NodeName,
    memberId: `id-${name}` as never,
  };
}

test("P5: links of strangers give way to those of members, the oldest first, and members to nobody", async () => {
  const received: string[] = [];
  await using a = openPeers({
    self: () => helloOf("a"),
    onMessages: (from) => void received.push(from),
    onLink: () => undefined,
    addressOf: () => undefined,
    memberId: (name) => (MEMBERS.has(name) ? (`id-${name}` as MemberId) : undefined),
    log: { info: () => undefined, error: () => undefined },
    limits: { incoming: 3 },
  });
  const api = await startApi({
    node: new FakeNode("a", documentOf(["a"])),
    bind: { host: "127.0.0.1", port: 0 },
    log: quiet,
    services: [a.service],
  });
  const session = connect(`http://${api.address}`);
  const ended: string[] = [];
  const link = (name: string): ClientHttp2Stream => open(session, name, () => ended.push(name));
  try {
    await once(session, "connect");
    for (const name of ["x1", "b", "x2"]) {
      link(name);
      await until(() => received.includes(name));
    }
    link("c");
    await until(() => received.includes("c"));
    await until(() => ended.length === 1);
    link("x3");
    await until(() => received.includes("x3"));
    await until(() => ended.length === 2);
    expect(ended).toEqual(["x1", "x2"]);
    MEMBERS.add("x3");
    link("x4");
    await until(() => ended.length === 3);
    expect(ended).toEqual(["x1", "x2", "x4"]);
    expect(received).not.toContain("x4");
  } finally {
    session.destroy();
    await api.close({ graceMs: 0 });
  }
});

function open(session: ClientHttp2Session, name: string, onEnd: () => void): ClientHttp2Stream {
  const stream = session.request({ ":method": "POST", ":path": LINK_PATH, "content-type": "application/grpc" });
  stream.on("error", () => undefined);
  stream.on("end", onEnd);
  stream.resume();
  const hello = joinFrame([encodeMessage(helloOf(name))]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(hello.length, 1);
  stream.write(Buffer.concat([head, hello]));
  return stream;
}
