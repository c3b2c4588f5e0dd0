/** Two nodes that use one name, by mistake: which of them is heard. */

import { afterEach, expect, test } from "vitest";
import type { MemberId, NodeName } from "../../../ring/ids.ts";
import { openPeers, type Peers } from "../../../ring/io/peer/peers.ts";
import { type Api, startApi } from "../../../services/api/server.ts";
import { documentOf, FakeNode, quiet, until } from "../api/fake-node.ts";

const open: { readonly peers: Peers; readonly api: Api }[] = [];

afterEach(async () => {
  for (const { peers, api } of open.splice(0)) {
    await peers[Symbol.asyncDispose]();
    await api.close({ graceMs: 0 });
  }
});

interface Node {
  readonly peers: Peers;
  readonly address: string;
  readonly heard: MemberId[];
  readonly links: string[];
}

/** The node dials `a` at the given address. */
async function start(name: string, id: string, dials: () => string | undefined, member?: string): Promise<Node> {
  const heard: MemberId[] = [];
  const links: string[] = [];
  const peers = openPeers({
    self: () => ({
      type: "hello",
      protocol: { lowest: 1, highest: 1 },
      ringId: "ring" as never,
      history: 1,
      name: name as NodeName,
      memberId: id as MemberId,
    }),
    onMessages: (_from, messages) => {
      for (const message of messages) if (message.type === "hello") heard.push(message.memberId);
    },
    onLink: (_peer, state, reason) => links.push(state === "up" ? state : reason),
    addressOf: dials,
    memberId: () => member as MemberId | undefined,
    log: { info: () => undefined, error: () => undefined },
    limits: { backoffMs: { first: 20, most: 50 } },
  });
  const api = await startApi({
    node: new FakeNode(name, documentOf([name])),
    bind: { host: "127.0.0.1", port: 0 },
    log: quiet,
    services: [peers.service],
  });
  open.push({ peers, api });
  return { peers, address: api.address, heard, links };
}

const A = "a" as NodeName;

test("a node that comes with the name of one that is linked is turned away, and the link stays as it is", async () => {
  const a = await start("a", "id-a", () => undefined);
  const b = await start("b", "id-b", () => a.address);
  b.peers.connect([A]);
  await until(() => b.peers.isUp(A));
  const other = await start("b", "id-other", () => a.address);
  other.peers.connect([A]);
  await until(() => other.links.length >= 5);
  expect({ heard: a.heard, links: b.links }).toEqual({ heard: ["id-b"], links: ["up"] });
  expect(new Set(other.links)).toEqual(new Set(["INVALID_ARGUMENT: another node called b is linked; see --name"]));
  // Once its place is free it is heard: a member's machine was replaced.
  await b.peers[Symbol.asyncDispose]();
  await until(() => other.peers.isUp(A));
});

test("a member takes its name back from a newcomer that was linked before it", async () => {
  const a = await start("a", "id-a", () => undefined, "id-b");
  const other = await start("b", "id-other", () => a.address);
  other.peers.connect([A]);
  await until(() => other.peers.isUp(A));
  const b = await start("b", "id-b", () => a.address);
  b.peers.connect([A]);
  await until(() => b.peers.isUp(A));
  await until(() => other.links.filter((link) => link.startsWith("INVALID_ARGUMENT")).length >= 3);
  expect({ heard: a.heard, links: b.links }).toEqual({ heard: ["id-other", "id-b"], links: ["up"] });
});
