/** A staged change out of a StageRequest. */

import type { StageRequest } from "../../proto/messages.ts";
import type { Member, StagedChange } from "../../ring/document.ts";
import { RingError } from "../../ring/errors.ts";
import { type MemberId, parseNodeName } from "../../ring/ids.ts";

/** Throws `INVALID_ARGUMENT`. */
export function stagedChangeOf(request: StageRequest): StagedChange {
  const { join, replace, setWeight, setZone } = request;
  if (join) return { type: "join", member: newcomer(join) };
  if (request.leave) return { type: "leave", name: parseNodeName(request.leave) };
  if (replace) return { type: "replace", name: parseNodeName(replace.name), by: parseNodeName(replace.by) };
  if (request.forceRemove) return { type: "force-remove", name: parseNodeName(request.forceRemove) };
  if (request.down) return { type: "down", name: parseNodeName(request.down) };
  if (setWeight) return { type: "set-weight", name: parseNodeName(setWeight.name), weight: setWeight.weight };
  if (setZone) {
    return {
      type: "set-zone",
      name: parseNodeName(setZone.name),
      ...(setZone.zone === "" ? {} : { zone: setZone.zone }),
    };
  }
  throw new RingError("INVALID_ARGUMENT", "the request names no change");
}

/** Zero and absent: as the newcomer says of itself. The node that stages it knows the rest from the newcomer's own words. */
function newcomer(join: NonNullable<StageRequest["join"]>): Omit<Member, "status"> {
  return {
    name: parseNodeName(join.name),
    id: "unknown" as MemberId,
    weight: join.weight ?? 0,
    machine: "",
    directory: "",
    ...(join.zone === undefined || join.zone === "" ? {} : { zone: join.zone }),
  };
}
