/** `Cluster.Keys`: the gossip keys of the asked node, and only of it; secrets go in and never come out. */

import type * as messages from "../../proto/messages.ts";
import { RingError } from "../../ring/errors.ts";
import type { NodeName } from "../../ring/ids.ts";
import type { Handlers } from "./calls.ts";

/** What the host's key file offers. */
export interface GossipKeys {
  change(
    change:
      | { readonly type: "list" }
      | { readonly type: "install"; readonly key: string }
      | { readonly type: "use" | "remove"; readonly fingerprint: string },
  ): Promise<readonly messages.GossipKey[]>;
}

export function keysHandlers(name: NodeName, keys: GossipKeys | undefined): Handlers["unary"] {
  return {
    Keys: async (request: messages.KeysRequest): Promise<messages.KeysReply> => {
      if (keys === undefined) throw new RingError("UNIMPLEMENTED", "this node has no key file");
      const { action, key } = request;
      switch (action) {
        case "":
        case "list":
          return { node: name, keys: await keys.change({ type: "list" }) };
        case "install":
          return { node: name, keys: await keys.change({ type: "install", key }) };
        case "use":
        case "remove":
          return { node: name, keys: await keys.change({ type: action, fingerprint: key }) };
        default:
          throw new RingError("INVALID_ARGUMENT", `action ${action}: expected list, install, use or remove`);
      }
    },
  };
}
