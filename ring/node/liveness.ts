/**
 * Who can be counted on, from membership, links and what peers announced. It suggests; only the register decides.
 */

import type { NodeName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { MemberNotice } from "../membership/events.ts";
import { RESTART_GRACE_MS } from "./adoption.ts";
import { KnownNames } from "./known-names.ts";

export class Liveness {
  readonly #self: NodeName;
  readonly #states = new Map<NodeName, { readonly dead: boolean; readonly since: Instant }>();
  readonly #links = new Set<NodeName>();
  #members: ReadonlySet<NodeName> = new Set();
  /** Members stopped on purpose, and until when they are waited for. */
  readonly #restarting: KnownNames<Instant>;
  /** Members that nothing was heard of since this node started, and when that was noticed. */
  readonly #unheard = new Map<NodeName, Instant>();
  /** All members ask this node, a voter, for their leases: one that is silent over its link can say nothing to it. */
  #isAsked = false;
  /** Members without a link, or silent over it, and since when: noticed when they are asked about. */
  readonly #unlinked = new Map<NodeName, Instant>();
  /** Members whose name another one uses now (ownership rule 4), and since when: they are gone, whatever is heard under it. */
  readonly #replaced = new Map<NodeName, Instant>();
  /** Dead members whose directories a peer (or this node) holds, by its word. */
  readonly #spokenFor: KnownNames<NodeName>;

  constructor(self: NodeName) {
    this.#self = self;
    const counts = (name: NodeName): boolean => this.#members.has(name) || this.#links.has(name);
    this.#restarting = new KnownNames(counts);
    this.#spokenFor = new KnownNames(counts);
  }

  /** The ring's members from now on. `isAsked`: this node is one of its voters. */
  follow(members: ReadonlySet<NodeName>, { isAsked = false }: { readonly isAsked?: boolean } = {}): void {
    this.#members = members;
    if (isAsked && !this.#isAsked) for (const name of this.#links) this.#unlinked.delete(name);
    this.#isAsked = isAsked;
    for (const known of [this.#unheard, this.#unlinked, this.#replaced])
      for (const name of known.keys()) if (!members.has(name)) known.delete(name);
  }

  isMember(name: NodeName): boolean {
    return this.#members.has(name);
  }

  notice(now: Instant, notice: MemberNotice): void {
    const { name } = notice.member;
    const dead = notice.type === "member-dead" || notice.type === "member-left";
    this.#unheard.delete(name);
    const known = this.#states.get(name);
    if (known?.dead === dead) return;
    this.#states.delete(name); // so that those dead for longest come first
    this.#states.set(name, { dead, since: now });
    if (this.#states.size > 2 * STATES_MOST) this.#forgetDead();
  }

  /** Down to `STATES_MOST`. A member of the ring that is forgotten counts as unheard of. */
  #forgetDead(): void {
    for (const [name, { dead }] of this.#states) {
      if (this.#states.size <= STATES_MOST) return;
      if (dead) this.#states.delete(name);
    }
  }

  link(name: NodeName, up: boolean): void {
    if (!up) this.#links.delete(name);
    else {
      this.#links.add(name);
      this.#spokenFor.delete(name); // its process is there, so nobody else holds its directory
      this.#unheard.delete(name);
      this.#unlinked.delete(name);
      this.#restarting.delete(name);
    }
  }

  /** A message came from it, over its own link. */
  heard(name: NodeName): void {
    if (this.#links.has(name)) this.#unlinked.delete(name);
  }

  /** Whether whom one hears of under the member's name is another one. */
  replaced(now: Instant, name: NodeName, isReplaced: boolean): void {
    if (!isReplaced) this.#replaced.delete(name);
    else if (!this.#replaced.has(name)) this.#replaced.set(name, now);
  }

  restarting(name: NodeName, until: Instant): void {
    this.#restarting.set(name, until);
  }

  /** `by` says that it speaks for exactly these. */
  speaks(by: NodeName, members: readonly NodeName[]): void {
    for (const [member, speaker] of this.#spokenFor) if (speaker === by) this.#spokenFor.delete(member);
    for (const member of members) this.#spokenFor.set(member, by);
  }

  speakerFor(name: NodeName): NodeName | undefined {
    return this.#spokenFor.get(name);
  }

  /** Of these, the ones for whom anybody speaks, and who. */
  speakersFor(names: readonly NodeName[]): ReadonlyMap<NodeName, NodeName> {
    const speakers = new Map<NodeName, NodeName>();
    for (const name of names) {
      const speaker = this.#spokenFor.get(name);
      if (speaker !== undefined) speakers.set(name, speaker);
    }
    return speakers;
  }

  linked(name: NodeName): boolean {
    return name === this.#self || this.#links.has(name);
  }

  /** The member itself, and nobody else under its name, can be reached, and reaches this node. */
  reached(now: Instant, name: NodeName): boolean {
    if (!this.linked(name) || this.#replaced.has(name)) return false;
    return name === this.#self || this.#cutOffSince(now, name) === undefined;
  }

  links(): ReadonlySet<NodeName> {
    return this.#links;
  }

  isRestarting(now: Instant, name: NodeName): boolean {
    return (this.#restarting.get(name) ?? Number.NEGATIVE_INFINITY) > now;
  }

  /** May vote and own; a member stopped on purpose counts while it is waited for. */
  live(now: Instant, name: NodeName): boolean {
    if (name === this.#self) return true;
    if (this.#spokenFor.has(name) || this.#replaced.has(name)) return false;
    if (this.isRestarting(now, name)) return true;
    return this.#states.get(name)?.dead !== true && (this.#states.has(name) || this.#links.has(name));
  }

  /** Live, and there to do the claimant's work: a member that restarts on purpose is not, nor one that is cut off. */
  acts(now: Instant, name: NodeName): boolean {
    if (name === this.#self) return true;
    return this.live(now, name) && !this.isRestarting(now, name) && this.#cutOffSince(now, name) === undefined;
  }

  /**
   * Since when it is held dead; undefined if it is not, or if it is restarting on purpose. Membership holds only those dead
   * that it has known alive: after a restart of the whole ring it never hears of one that stays away, so a member of the
   * ring that is silent for `UNHEARD_MS` counts as well. So does one that gossips and to which, or from which, there has been no link for long:
   * if it is cut off from the others, too, it has no lease, and nobody serves what it owns. To be asked of members only.
   */
  deadSince(now: Instant, name: NodeName): Instant | undefined {
    const replaced = this.#replaced.get(name);
    if (replaced !== undefined && name !== this.#self) return replaced;
    if (name === this.#self || this.isRestarting(now, name)) return undefined;
    if (this.#links.has(name)) return this.#cutOffSince(now, name);
    const state = this.#states.get(name);
    if (state !== undefined) return state.dead ? state.since : this.#cutOffSince(now, name);
    const since = (this.#unheard.get(name) ?? now) + UNHEARD_MS;
    if (!this.#unheard.has(name)) this.#unheard.set(name, now);
    return since <= now ? since : undefined;
  }

  /** Not heard of yet, and not given up: this node has started a moment ago. To be asked of members only. */
  awaited(now: Instant, name: NodeName): boolean {
    return !this.#spokenFor.has(name) && this.deadSince(now, name) === undefined;
  }

  #cutOffSince(now: Instant, name: NodeName): Instant | undefined {
    if (this.#links.has(name) && !this.#isAsked) return undefined;
    const since = this.#unlinked.get(name) ?? now;
    this.#unlinked.set(name, since);
    return now - since < CUT_OFF_MS ? undefined : since + CUT_OFF_MS;
  }
}

/** As for one that is silent: links that break are made again within moments. */
const CUT_OFF_MS = RESTART_GRACE_MS;
/** A ring that starts as a whole has its members linked long before this; a planned restart that this node was not told of is over. */
const UNHEARD_MS = RESTART_GRACE_MS;
/** As membership's table: names that came and went for good are forgotten. */
const STATES_MOST = 8_192;
