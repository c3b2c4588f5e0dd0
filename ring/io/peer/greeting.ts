/** What must agree before two nodes talk: the ring, where it keeps its tasks, and a version of the protocol. */

import type { ErrorCode } from "../../errors.ts";
import type { Hello } from "../../node/messages.ts";

export interface Objection {
  readonly code: ErrorCode;
  readonly detail: string;
}

/** `undefined`: nothing stands against it. A node that is in no ring yet may talk to any. */
export function objectionTo(theirs: Hello, ours: Hello): Objection | undefined {
  if (theirs.ringId !== undefined && ours.ringId !== undefined && theirs.ringId !== ours.ringId) {
    return { code: "WRONG_RING", detail: `${theirs.name} is of ring ${theirs.ringId}, ${ours.name} of ${ours.ringId}` };
  }
  if (theirs.store !== undefined && ours.store !== undefined && theirs.store !== ours.store) {
    const [own, shared] = ours.store === "own" ? [ours.name, theirs.name] : [theirs.name, ours.name];
    return {
      code: "WRONG_RING",
      detail: `${own} keeps its tasks on its own disk, ${shared} in a store that all share: give all nodes the same --store`,
    };
  }
  if (theirs.protocol.lowest > ours.protocol.highest || theirs.protocol.highest < ours.protocol.lowest) {
    const range = (hello: Hello): string => `${hello.protocol.lowest} to ${hello.protocol.highest}`;
    return {
      code: "INVALID_ARGUMENT",
      detail: `${theirs.name} speaks protocol ${range(theirs)}, ${ours.name} ${range(ours)}`,
    };
  }
  if (theirs.name === ours.name) return { code: "INVALID_ARGUMENT", detail: `two nodes are called ${ours.name}` };
  return undefined;
}
