/**
 * Which members lose their partitions because they say themselves that they do badly (the application health gate), and
 * which get them back. They lose them as drained ones do: by transfers, in order.
 *
 * W1  What counts is the member's own word, repeated without a break for `ILL_MS` by a process that answers probes: what a
 *     suspect or dead one said last says nothing.
 * W2  It gets partitions again after it has been well for a time that doubles with each loss within the hour.
 * W3  At least half of the members that can own partitions keep theirs, among them one that is well: what all suffer from
 *     is no member's own fault, and moving it about would make it worse.
 */

import type { Member, RingDocument } from "../document.ts";
import { findMember, isClaimable } from "../draft.ts";
import type { NodeName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { MemberNotice } from "../membership/events.ts";

export interface WellnessChange {
  readonly name: NodeName;
  readonly unwell: boolean;
}

export class Wellness {
  readonly #said = new Map<NodeName, Word>();
  readonly #losses = new Map<NodeName, { readonly times: number; readonly last: Instant }>();
  #before: RingDocument | undefined;

  /** What membership says of a member, this node among them. */
  notice(now: Instant, { type, member }: MemberNotice): void {
    if (type !== "member-up" && type !== "member-updated") {
      this.#said.delete(member.name); // W1
      return;
    }
    const isIll = saysIll(member.tags.get("health"));
    const start = member.tags.get("starts");
    const known = this.#said.get(member.name);
    if (known?.isIll === isIll && known.start === start) return;
    if (known === undefined && this.#said.size >= MEMBER_MOST) return;
    this.#said.set(member.name, { isIll, start, since: now });
  }

  /** Another document was decided. */
  follow(now: Instant, document: RingDocument): void {
    const before = this.#before;
    this.#before = document;
    for (const { name, unwell } of document.members) {
      const was = before === undefined ? undefined : findMember(before, name);
      if (unwell === true && was !== undefined && was.unwell !== true)
        this.#losses.set(name, { times: this.#timesOf(now, name) + 1, last: now });
    }
    for (const name of this.#losses.keys()) if (findMember(document, name) === undefined) this.#losses.delete(name);
  }

  /** What the ring should say now and does not. `isThere`: linked and held alive. */
  changes(now: Instant, document: RingDocument, isThere: (name: NodeName) => boolean): readonly WellnessChange[] {
    const owning = document.members.filter(isClaimable);
    const back = document.members.filter((member) => member.unwell === true && this.#isWell(now, member));
    const changes: WellnessChange[] = back.map(({ name }) => ({ name, unwell: false }));
    const without = owning.filter((member) => member.unwell === true && !back.includes(member));
    for (const member of owning) {
      const said = this.#said.get(member.name);
      if (member.unwell === true || said?.isIll !== true || now - said.since < ILL_MS || !isThere(member.name))
        continue;
      // W3
      const rest = owning.filter((other) => other !== member && !without.includes(other));
      if (rest.length < owning.length / 2 || !rest.some((other) => other.weight > 0 && !this.#isIll(other))) break;
      without.push(member);
      changes.push({ name: member.name, unwell: true });
    }
    return changes;
  }

  #isIll({ name }: Member): boolean {
    return this.#said.get(name)?.isIll === true;
  }

  /** W2 */
  #isWell(now: Instant, { name }: Member): boolean {
    const said = this.#said.get(name);
    if (said === undefined || said.isIll) return false;
    const times = Math.max(1, this.#timesOf(now, name));
    return now - said.since >= Math.min(WELL_MOST_MS, WELL_MS * 2 ** (times - 1));
  }

  #timesOf(now: Instant, name: NodeName): number {
    const known = this.#losses.get(name);
    return known === undefined || now - known.last > MEMORY_MS ? 0 : known.times;
  }
}

interface Word {
  readonly isIll: boolean;
  /** Which process said it. */
  readonly start: string | undefined;
  readonly since: Instant;
}

/**
 * The `health` tag names the checks that fail. Partitions that do not open are not among those that count: what is not open
 * cannot be handed over either.
 */
function saysIll(health: string | undefined): boolean {
  return health?.split("+").some((check) => GATED.has(check)) ?? false;
}

const GATED: ReadonlySet<string> = new Set(["store", "progress"]);
/** The node itself says nothing before three looks, 2 s apart, agreed. */
const ILL_MS = 5_000;
const WELL_MS = 20_000;
const WELL_MOST_MS = 600_000;
const MEMORY_MS = 3_600_000;
/** Twice the largest ring, as membership's table. */
const MEMBER_MOST = 8_192;
