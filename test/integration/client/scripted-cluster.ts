/** Scripted nodes with real sockets and clients of them, all closed by `closeAll`. */

import { type Api, type ApiOptions, startApi } from "../../../services/api/server.ts";
import { connect, type RingClient } from "../../../services/client/index.ts";
import { documentOf, FakeNode, quiet } from "../api/fake-node.ts";

export interface Scripted {
  readonly node: FakeNode;
  api: Api;
}

export async function closeAll(): Promise<void> {
  for (const client of clients.splice(0)) client.close();
  for (const api of apis.splice(0)) await api.close({ graceMs: 0 });
}

export async function cluster(
  names: readonly string[],
  limits: ApiOptions["limits"] = {},
  options: Pick<ApiOptions, "hotKeys" | "identify"> = {},
): Promise<Scripted[]> {
  const document = documentOf(names);
  const known = new Map();
  const accepted: never[] = [];
  const nodes: Scripted[] = [];
  for (const name of names) {
    const node = new FakeNode(name, document);
    node.known = known;
    node.accepted = accepted;
    const api = await startApi({ node, bind: { host: "127.0.0.1", port: 0 }, log: quiet, limits, ...options });
    apis.push(api);
    nodes.push({ node, api });
  }
  for (const { node } of nodes)
    for (const other of nodes) node.addresses.set(other.node.name, { grpc: other.api.address, http: "" });
  return nodes;
}

export function client(nodes: readonly Scripted[], options = {}): RingClient {
  const made = connect({ addresses: [nodes[0]!.api.address], ...options });
  clients.push(made);
  return made;
}

export const apis: Api[] = [];
export const clients: RingClient[] = [];
