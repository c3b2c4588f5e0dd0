/** Where each member's list goes on: opaque to callers, checked when it comes back. */

import { RingError } from "../../ring/errors.ts";
import { type NodeName, parseNodeName } from "../../ring/ids.ts";

/** Empty when no member has more. An empty place: from the start. */
export function nextToken(places: readonly { readonly name: NodeName; readonly next: string | undefined }[]): string {
  const open = places.filter((place) => place.next !== undefined).map((place) => [place.name, place.next]);
  return open.length === 0 ? "" : Buffer.from(JSON.stringify(open)).toString("base64url");
}

/** `undefined` for the empty token: from the start, at every member. Throws `INVALID_ARGUMENT`. */
export function parseToken(token: string): ReadonlyMap<NodeName, string> | undefined {
  if (token === "") return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(token, "base64url").toString());
    if (!Array.isArray(value) || value.length > MEMBERS_MOST) throw new TypeError("not a list");
    return new Map(
      value.map((entry: unknown) => {
        if (!Array.isArray(entry) || typeof entry[0] !== "string" || typeof entry[1] !== "string")
          throw new TypeError("not a place");
        return [parseNodeName(entry[0]), entry[1]] as const;
      }),
    );
  } catch (error) {
    throw new RingError("INVALID_ARGUMENT", "page_token is not one that was given out", { cause: error });
  }
}

const MEMBERS_MOST = 4_096;
