/** A staged change out of a StageRequest. What the ring must know of a newcomer comes from its gossip tags. */

import type { StageRequest } from "../../proto/messages.ts";
import type { Member, StagedChange } from "../../ring/document.ts";
import { RingError } from "../../ring/errors.ts";
import { type MemberId, parseNodeName } from "../../ring/ids.ts";
import type { RingNode } from "../../ring/node/port.ts";

/** Throws `INVALID_ARGUMENT` or `MEMBER_UNKNOWN`. */
export function stagedChangeOf(node: RingNode, request: StageRequest): StagedChange {
  const { join, replace, setWeight, setZone } = request;
  if (join) return { type: "join", member: newcomer(node, join) };
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

type Newcomer = Omit<Member, "status">;

function newcomer(node: RingNode, join: NonNullable<StageRequest["join"]>): Newcomer {
  const name = parseNodeName(join.name);
  const seen = node.members().find((member) => member.name === name);
  if (seen === undefined)
    throw new RingError("MEMBER_UNKNOWN", `${name} has not been heard of; start it with --join first`);
  if (seen.state !== "alive") throw new RingError("MEMBER_UNKNOWN", `${name} is ${seen.state}`);
  const id = seen.tags.get(MEMBER_TAGS.id);
  if (id === undefined) throw new RingError("MEMBER_UNKNOWN", `${name} is no taskring node: it gossips no member id`);
  const told = Number(seen.tags.get(MEMBER_TAGS.weight) ?? "");
  const weight = join.weight === undefined || join.weight === 0 ? told || DEFAULT_WEIGHT : join.weight;
  const zone = join.zone === undefined || join.zone === "" ? (seen.tags.get(MEMBER_TAGS.zone) ?? "") : join.zone;
  return {
    name,
    id: id as MemberId,
    weight,
    machine: seen.tags.get(MEMBER_TAGS.machine) ?? "",
    directory: seen.tags.get(MEMBER_TAGS.directory) ?? "",
    ...(zone === "" ? {} : { zone }),
  };
}

/** Names of the gossip tags that describe a node to the ring. */
export const MEMBER_TAGS = { id: "id", machine: "machine", directory: "dir", weight: "weight", zone: "zone" } as const;
const DEFAULT_WEIGHT = 100;
