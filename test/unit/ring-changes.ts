/** Ring documents for tests: rings at rest, and the changes that make them. */

import type { Member, RingDocument, StagedChange } from "../../ring/document.ts";
import { foundRing } from "../../ring/founding.ts";
import type { MemberId, NodeName, RingId } from "../../ring/ids.ts";
import { commitPlan, planOf } from "../../ring/plan.ts";
import { stageChange } from "../../ring/staging.ts";
import { moveDone, plannedMoves } from "../../ring/transition.ts";
import { nextVoters, setVoters } from "../../ring/voters.ts";

export function name(text: string): NodeName {
  return text as NodeName;
}

export function newcomer(
  text: string,
  extra: { readonly weight?: number; readonly zone?: string } = {},
): Omit<Member, "status"> {
  return {
    name: name(text),
    id: `id-${text}` as MemberId,
    weight: 100,
    machine: text,
    directory: `/data/${text}`,
    ...extra,
  };
}

export function founded(ringSize = 64): RingDocument {
  return foundRing({ ringId: "ring" as RingId, ringSize, member: newcomer("a") });
}

export function stage(document: RingDocument, ...changes: readonly StagedChange[]): RingDocument {
  return changes.reduce(stageChange, document);
}

export function commit(document: RingDocument): RingDocument {
  return commitPlan(document, planOf(document).id);
}

export function transferred(document: RingDocument): RingDocument {
  return moveDone(document, plannedMoves(document));
}

/** A ring at rest of the members named by the letters; all vote that should. */
export function ringOf(
  letters: string,
  ringSize = 64,
  extra: (letter: string) => { zone?: string } = () => ({}),
): RingDocument {
  let document = foundRing({ ringId: "ring" as RingId, ringSize, member: { ...newcomer("a"), ...extra("a") } });
  const rest = [...letters].filter((letter) => letter !== "a");
  document = stage(
    document,
    ...rest.map((letter) => ({ type: "join" as const, member: { ...newcomer(letter), ...extra(letter) } })),
  );
  return voted(transferred(commit(document)));
}

export function voted(document: RingDocument, absent = ""): RingDocument {
  const live = new Set(document.members.map((member) => member.name).filter((text) => !absent.includes(text)));
  const next = setVoters(document, nextVoters(document, { live, answered: live }));
  return next === document ? document : voted(next, absent);
}

export function owned(document: RingDocument, text: string): number {
  return document.owners.filter((owner) => owner === text).length;
}

export function statusOf(document: RingDocument, text: string): string | undefined {
  return document.members.find((member) => member.name === text)?.status;
}
