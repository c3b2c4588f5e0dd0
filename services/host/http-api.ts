/** `/api/v1/*`: answers of this node to what `ringctl` asks of all, as JSON over HTTP. */

import { encodeDocument } from "../../ring/document-codec.ts";
import type { NodeDriver } from "../../ring/io/node.ts";
import type { NodeRequest } from "../../ring/node/requests.ts";
import { refusal } from "../api/asking.ts";
import type { ApiHook } from "../http/server.ts";

export function httpApi(node: NodeDriver): ApiHook {
  const ask = async (request: NodeRequest): Promise<unknown> => {
    const answer = await node.ask(request, { deadlineMs: ASK_MS, to: node.name });
    if (answer.type === "refused") throw refusal(answer);
    return answer;
  };
  return (path, query) => {
    switch (path) {
      case "status":
        return ask({ type: "node-status" });
      case "transfers":
        return ask({ type: "transfers" });
      case "apps":
        return ask({ type: "list-apps", limit: LIST_LIMIT });
      case "members":
        return node.members().map(({ tags, ...member }) => ({ ...member, tags: Object.fromEntries(tags) }));
      case "ring": {
        const document = node.document();
        return document === undefined ? undefined : encodeDocument(document);
      }
      case "events":
        return node.recentEvents().slice(-Math.min(LIST_LIMIT, Number(query.get("limit") ?? LIST_LIMIT) || LIST_LIMIT));
      default:
        return undefined;
    }
  };
}

const ASK_MS = 2_000;
const LIST_LIMIT = 1_000;
