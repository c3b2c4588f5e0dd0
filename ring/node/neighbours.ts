/**
 * The other nodes as this one sees them: membership, links, what they have loaded and how much waits at them. Tells them
 * of this node, and while it is not a member yet, asks to be taken in.
 */

import type { Member, RingDocument } from "../document.ts";
import { findMember } from "../draft.ts";
import type { MemberId, NodeName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { MemberNotice, MemberView, SwimEffect, SwimEvent } from "../membership/events.ts";
import type { Swim } from "../membership/swim.ts";
import type { AppOverride } from "../tasks/definition.ts";
import type { Here } from "./here.ts";
import { KnownNames } from "./known-names.ts";
import type { Liveness } from "./liveness.ts";
import { type Counts, Loads } from "./loads.ts";
import type { NodeMessage } from "./messages.ts";
import type { NodeRequest } from "./requests.ts";

export type LoadedApps = readonly { readonly match: string; readonly version: string }[];

export interface NeighbourHooks {
  /** What this node has loaded and knows of apps. */
  presence(): LoadedApps;
  overrides(): readonly AppOverride[];
  /** Members whose directories this node holds. */
  speaksFor(): readonly NodeName[];
  /** A process may be gone. */
  suspect(name: NodeName): void;
  linkChanged(name: NodeName, up: boolean): void;
  noticed(notice: MemberNotice): void;
  /** Somebody came, went or changed. */
  changed(): void;
  /** Asks the claimant for a ring change; the answer does not matter, the ring tells. */
  askClaimant(request: NodeRequest): void;
  /** Tasks waiting in each partition served here. */
  counts(): ReadonlyMap<import("../ids.ts").Partition, number>;
}

export class Neighbours {
  readonly #here: Here;
  readonly #swim: Swim;
  readonly #liveness: Liveness;
  readonly #hooks: NeighbourHooks;
  readonly #member: Omit<Member, "status">;
  readonly #autoJoin: boolean;
  readonly #loaded: KnownNames<LoadedApps>;
  readonly loads: Loads;
  /** Newcomers that wait to be staged, by their own word. */
  readonly candidates: Map<NodeName, Omit<Member, "status">> = new Map();
  #outsideAt: Instant | undefined;
  #started = false;
  #left = false;
  #toldAll = false;

  constructor(
    here: Here,
    parts: { swim: Swim; liveness: Liveness; member: Omit<Member, "status">; autoJoin: boolean; hooks: NeighbourHooks },
  ) {
    this.#here = here;
    this.#swim = parts.swim;
    this.#liveness = parts.liveness;
    const isMember = (name: NodeName): boolean => this.#liveness.isMember(name);
    this.#loaded = new KnownNames((name) => isMember(name) || this.#liveness.linked(name));
    this.loads = new Loads(isMember);
    this.#hooks = parts.hooks;
    this.#member = parts.member;
    this.#autoJoin = parts.autoJoin;
  }

  members(): readonly MemberView[] {
    return this.#swim.members();
  }

  member(name: NodeName): MemberView | undefined {
    return this.#swim.member(name);
  }

  nextDeadline(): Instant | undefined {
    if (!this.#started) return undefined;
    const soonest = Math.min(
      this.#swim.nextDeadline() ?? Number.POSITIVE_INFINITY,
      this.#outsideAt ?? Number.POSITIVE_INFINITY,
      this.loads.nextDeadline(),
    );
    return soonest === Number.POSITIVE_INFINITY ? undefined : soonest;
  }

  start(): void {
    this.#started = true;
    this.#outsideAt = this.#here.now;
  }

  tick(): void {
    const { now } = this.#here;
    this.step({ type: "tick" });
    if (this.#outsideAt !== undefined && this.#outsideAt <= now) this.#askIn();
    const counts = this.loads.due(now, () => this.#hooks.counts());
    if (counts !== undefined) this.toAll({ type: "loads", counts });
  }

  /** Tells membership that this node leaves for good. False if it has been told. */
  leave(): boolean {
    if (this.#left) return false;
    this.#left = true;
    this.step({ type: "leave" });
    return true;
  }

  /** Membership has been told, as often as it takes. */
  get hasLeft(): boolean {
    return this.#toldAll;
  }

  step(event: SwimEvent): void {
    let noticed = false;
    for (const effect of this.#swim.step(this.#here.now, event)) {
      if (effect.type === "left") this.#toldAll = true;
      if (isNotice(effect)) {
        this.#notice(effect);
        noticed = true;
      } else this.#here.emit({ type: "swim", effect });
    }
    if (noticed) this.#keepLinks();
    // Membership tells nothing of this node itself.
    if (event.type === "set-tags") this.#hooks.noticed({ type: "member-updated", member: this.#swim.self() });
  }

  link(peer: NodeName, up: boolean): void {
    this.#liveness.link(peer, up);
    if (up) this.#greet(peer);
    else {
      this.#liveness.speaks(peer, []);
      this.#loaded.delete(peer);
      this.step({ type: "doubt", name: peer });
    }
    this.#hooks.linkChanged(peer, up);
    this.#hooks.changed();
  }

  /** The peer has linked to this node. If its link broke before, it has forgotten what it was told, though this node's own did not. */
  hailed(peer: NodeName): void {
    if (!this.#liveness.linked(peer)) return;
    this.#here.send(peer, { type: "apps", loaded: this.#hooks.presence(), overrides: [] });
    this.#tellHeld(peer);
  }

  follow(document: RingDocument): void {
    const { tags } = this.#swim.self();
    this.step({ type: "set-tags", tags: new Map([...tags, ["epoch", String(document.epoch)]]) });
    const names = new Set(document.members.map(({ name }) => name));
    this.step({ type: "keep", names });
    this.#liveness.follow(names, { isAsked: document.voters.includes(this.#here.self) });
    for (const member of this.#swim.members()) this.#tellApart(member);
    this.#keepLinks();
    if (!this.#isPlaced(document)) this.#outsideAt ??= this.#here.now;
  }

  /** Another directory under a member's name is not that member (ownership rule 4). */
  #tellApart({ name, tags }: MemberView): void {
    const { document, now } = this.#here;
    const [known, heard] = [document === undefined ? undefined : findMember(document, name)?.id, tags.get("id")];
    this.#liveness.replaced(now, name, known !== undefined && heard !== undefined && idTag(known) !== heard);
  }

  toAll(message: NodeMessage): void {
    for (const peer of this.#liveness.links()) this.#here.send(peer, message);
  }

  learnApps(from: NodeName, loaded: LoadedApps): void {
    this.#loaded.set(from, loaded);
  }

  learnLoads(from: NodeName, counts: Counts): void {
    this.loads.learn(from, counts);
  }

  learnCandidate(member: Omit<Member, "status">): void {
    this.candidates.delete(member.name);
    this.candidates.set(member.name, member);
    // Those that fell silent longest ago give way.
    for (const name of this.candidates.keys()) if (this.candidates.size > CANDIDATE_LIMIT) this.candidates.delete(name);
  }

  /** The peer that has loaded an app which this node has not. */
  loadedElsewhere(app: string): NodeName | undefined {
    for (const [peer, loaded] of this.#loaded) {
      if (loaded.some(({ match }) => match === app || (match.endsWith("*") && app.startsWith(match.slice(0, -1)))))
        return peer;
    }
    return undefined;
  }

  /** A live member shares that one's machine, so its directory may still be adopted. */
  sharesMachine(name: NodeName): boolean {
    const { document, now } = this.#here;
    const member = document === undefined ? undefined : findMember(document, name);
    if (document === undefined || member === undefined) return false;
    return document.members.some(
      (other) => other.name !== name && other.machine === member.machine && this.#liveness.live(now, other.name),
    );
  }

  #notice(notice: MemberNotice): void {
    const { name } = notice.member;
    this.#liveness.notice(this.#here.now, notice);
    this.#tellApart(notice.member);
    if (notice.type === "member-dead") this.#hooks.suspect(name);
    if (notice.type !== "member-updated") this.#here.note(notice.type, name);
    this.#hooks.noticed(notice);
    const epoch = this.#here.document?.epoch ?? 0;
    if (Number(notice.member.tags.get("epoch") ?? 0) > epoch && this.#liveness.linked(name))
      this.#here.send(name, { type: "pull-document", epoch });
  }

  #keepLinks(): void {
    const wanted = new Set(this.#here.document?.members.map(({ name }) => name));
    const most = wanted.size + STRANGER_LINKS;
    // Others may gossip along (serf agents): they have no links.
    for (const member of this.#swim.members()) {
      if (wanted.size >= most) break;
      if (member.state !== "left" && member.state !== "dead" && member.tags.has("id")) wanted.add(member.name);
    }
    wanted.delete(this.#here.self);
    this.#here.emit({ type: "links", to: [...wanted] });
  }

  /** What a peer must know of this node when a link comes up. */
  #greet(peer: NodeName): void {
    const overrides = this.#hooks.overrides();
    const loaded = this.#hooks.presence();
    for (let first = 0; first === 0 || first < overrides.length; first += OVERRIDES_PER_MESSAGE) {
      this.#here.send(peer, { type: "apps", loaded, overrides: overrides.slice(first, first + OVERRIDES_PER_MESSAGE) });
    }
    this.#tellHeld(peer);
    this.#here.send(peer, { type: "pull-document", epoch: this.#here.document?.epoch ?? 0 });
    const counts = this.loads.all();
    if (counts.length > 0) this.#here.send(peer, { type: "loads", counts });
    if (this.#outsideAt !== undefined) this.#outsideAt = this.#here.now;
  }

  #tellHeld(peer: NodeName): void {
    const members = this.#hooks.speaksFor();
    if (members.length > 0) this.#here.send(peer, { type: "speaking-for", members });
  }

  /** While this node is not a member: tells the ring of itself, and with `autoJoin` asks to be taken in. Of a member: where it is. */
  #askIn(): void {
    const { now, document, self } = this.#here;
    this.#outsideAt = now + OUTSIDE_EVERY_MS;
    if (document === undefined) return this.toAll({ type: "pull-document", epoch: 0 });
    if (findMember(document, self)?.id === this.#member.id) {
      const isPlaced = this.#isPlaced(document);
      this.#outsideAt = isPlaced ? undefined : now + PLACE_EVERY_MS;
      if (!isPlaced) this.#hooks.askClaimant({ type: "admit", member: this.#member });
      return;
    }
    this.toAll({ type: "candidate", member: this.#member });
    if (this.#autoJoin) this.#hooks.askClaimant({ type: "admit", member: this.#member });
  }

  /** False for a member that the ring would look for elsewhere (`Adoption`): it was restarted with its directory moved, or another machine id. */
  #isPlaced(document: RingDocument): boolean {
    const { id, machine, directory } = this.#member;
    const known = findMember(document, this.#here.self);
    return known?.id !== id || (known.machine === machine && known.directory === directory);
  }
}

function isNotice(effect: SwimEffect): effect is MemberNotice {
  return effect.type.startsWith("member-");
}

/** Links to nodes that are no members, which may not even exist: gossip is believed without proof. */
const STRANGER_LINKS = 256;
/** Whoever waits to be staged says so over its link, several times a second: of more than these each would be unknown at times. */
const CANDIDATE_LIMIT: number = STRANGER_LINKS;
const OUTSIDE_EVERY_MS = 250;
const PLACE_EVERY_MS = 2_000;
/** A message between nodes stays below 4 MiB. */
const OVERRIDES_PER_MESSAGE = 5_000;

/** What a node says of its member id in gossip, as its tag `id`: tags are short. */
export function idTag(id: MemberId): string {
  return id.slice(0, ID_TAG_LENGTH);
}

const ID_TAG_LENGTH = 16;
