/**
 * Who can be counted on, from membership, links and what peers announced. It suggests; only the register decides.
 */

import type { NodeName } from "../ids.ts";
import type { MemberNotice } from "../membership/events.ts";
import type { Instant } from "../machine.ts";

export class Liveness {
  readonly #self: NodeName;
  readonly #states = new Map<NodeName, { readonly dead: boolean; readonly since: Instant }>();
  readonly #links = new Set<NodeName>();
  /** Members stopped on purpose, and until when they are waited for. */
  readonly #restarting = new Map<NodeName, Instant>();
  /** Dead members whose directories a peer holds, by that peer's word. */
  readonly #spokenFor = new Map<NodeName, NodeName>();

  constructor(self: NodeName) {
    this.#self = self;
  }

  notice(now: Instant, notice: MemberNotice): void {
    const { name } = notice.member;
    const dead = notice.type === "member-dead" || notice.type === "member-left";
    const known = this.#states.get(name);
    if (known === undefined || known.dead !== dead) this.#states.set(name, { dead, since: now });
  }

  link(name: NodeName, up: boolean): void {
    if (!up) this.#links.delete(name);
    else {
      this.#links.add(name);
      this.#restarting.delete(name);
    }
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

  linked(name: NodeName): boolean {
    return name === this.#self || this.#links.has(name);
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
    if (this.#spokenFor.has(name)) return false;
    if (this.isRestarting(now, name)) return true;
    return this.#states.get(name)?.dead !== true && (this.#states.has(name) || this.#links.has(name));
  }

  /** Since when membership holds it dead; undefined if it does not, or if it is restarting on purpose. */
  deadSince(now: Instant, name: NodeName): Instant | undefined {
    if (name === this.#self || this.isRestarting(now, name) || this.#links.has(name)) return undefined;
    const state = this.#states.get(name);
    return state?.dead === true ? state.since : undefined;
  }
}
