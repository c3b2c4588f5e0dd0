/**
 * The ring changes that the register model wishes for: moves with consent, revocations, other voters, and mistakes.
 */

import type { RingDocument } from "../../../ring/document.ts";
import type { NodeName } from "../../../ring/ids.ts";
import type { RegisterEffect } from "../../../ring/register/events.ts";
import type { Consent } from "../../../ring/register/messages.ts";
import { takenWithoutConsent } from "../../../ring/register/voting.ts";
import type { Cluster } from "./cluster.ts";
import { changed, idOf, NAMES, nextVoters, partitionsOf, taking } from "./documents.ts";
import type { ModelNode } from "./node.ts";
import { pick } from "./world.ts";

export interface ChangeCounts {
  decided: number;
  consented: number;
  revoked: number;
  voterChanges: number;
}

export class Changes {
  readonly counts: ChangeCounts = { decided: 0, consented: 0, revoked: 0, voterChanges: 0 };
  readonly #cluster: Cluster;
  readonly #onProposed: (proposer: ModelNode) => void;
  readonly #consents: Consent[] = [];
  readonly #pursuits = new Map<NodeName, { readonly victim: NodeName; readonly tries: number }>();
  readonly #decided = new Map<number, RingDocument>();
  #documents = 0;

  constructor(cluster: Cluster, onProposed: (proposer: ModelNode) => void) {
    this.#cluster = cluster;
    this.#onProposed = onProposed;
    cluster.observe((node, effect) => this.#observe(node, effect));
  }

  any(): void {
    const { random, voterCount } = this.#cluster;
    const proposer = pick(random, this.#cluster.up());
    const dice = random();
    if (proposer?.document === undefined) return;
    if (this.#documents % 3 === 0) proposer.feed({ type: "prepare" });
    const { voters } = proposer.document;
    const shuffled = [...NAMES].sort(() => random() - 0.5);
    if (dice < 0.4) this.#move();
    else if (dice < 0.6) this.pursue(proposer, this.#victim());
    else if (dice < 0.75) this.propose(proposer, { voters: nextVoters(proposer.document, voterCount, random) });
    else if (dice < 0.8) this.propose(proposer, { voters: shuffled.slice(0, voters.length).sort() });
    else if (dice < 0.88) this.#reuseConsent(proposer);
    else if (dice < 0.93) this.#readmit(proposer);
    else this.propose(proposer, {});
  }

  propose(
    proposer: ModelNode,
    changes: Partial<Pick<RingDocument, "owners" | "voters" | "members">>,
    consents: readonly Consent[] = [],
  ): void {
    if (proposer.document === undefined) return;
    this.#documents += 1;
    const document = changed(proposer.document, changes, `change-${this.#documents}`);
    proposer.feed({ type: "propose", document, consents });
    this.#onProposed(proposer);
  }

  /** Takes everything from the victim without asking it. */
  take(claimant: ModelNode, victim: NodeName): void {
    const { document } = claimant;
    if (document === undefined) return;
    const to = claimant.name === victim ? pick(this.#cluster.random, NAMES)! : claimant.name;
    this.propose(claimant, { owners: taking(document, victim, to, partitionsOf(document, victim)) });
  }

  /** As the claimant does: ask whether the grants have run out, wait, ask again, take. */
  pursue(claimant: ModelNode, victim: NodeName | undefined, tries = 0): void {
    if (victim === undefined || tries > 8 || !claimant.isUp) return;
    this.#pursuits.set(claimant.name, { victim, tries });
    claimant.feed({ type: "ask-revocable", member: victim });
  }

  /** An owner seals some of its partitions and hands its consent to whoever proposes; a lost one leaves it in doubt. */
  #move(): void {
    const { random, network, timeline, timing } = this.#cluster;
    const owner = pick(random, this.#cluster.up());
    const { document } = owner ?? {};
    if (owner === undefined || document === undefined) return;
    const owned = partitionsOf(document, owner.name).filter((partition) => !owner.isSealed(partition));
    const partitions = owned.filter(() => random() < 0.5);
    if (partitions.length === 0) return;
    const proposer = random() < 0.5 ? owner : pick(random, this.#cluster.up())!;
    const to = pick(random, NAMES)!;
    owner.seal(partitions, (consent) => {
      this.#consents.push(consent);
      timeline.after(timing.leaseMs, () => this.#resolveDoubt(owner));
      const propose = (): void => {
        const at = proposer.document;
        if (at?.epoch !== document.epoch || idOf(at, owner.name) !== idOf(document, owner.name)) return;
        this.propose(proposer, { owners: taking(at, owner.name, to, partitions) }, [consent]);
      };
      if (proposer === owner) propose();
      else network.carry(owner.name, proposer.name, propose);
    });
  }

  /** Rule 14: an owner in doubt drives the decision itself. */
  #resolveDoubt(owner: ModelNode): void {
    const { document } = owner;
    if (!owner.isUp || document === undefined) return;
    if (!partitionsOf(document, owner.name).some((partition) => owner.isSealed(partition))) return;
    this.propose(owner, {});
    this.#cluster.timeline.after(this.#cluster.timing.leaseMs, () => this.#resolveDoubt(owner));
  }

  /** A late or confused proposer offers a consent of an earlier epoch. */
  #reuseConsent(proposer: ModelNode): void {
    const { document } = proposer;
    const consent = pick(this.#cluster.random, this.#consents.slice(-8));
    if (document === undefined || consent === undefined) return;
    const to = pick(
      this.#cluster.random,
      NAMES.filter((name) => name !== consent.member),
    )!;
    this.propose(proposer, { owners: taking(document, consent.member, to, consent.partitions) }, [consent]);
  }

  /** A name that lost its directory joins as another member. */
  #readmit(proposer: ModelNode): void {
    const { document } = proposer;
    if (document === undefined) return;
    const stranger = [...this.#cluster.nodes.values()].find((node) => !this.#cluster.hasDirectory(document, node.name));
    if (stranger === undefined) return;
    const owners = taking(document, stranger.name, proposer.name, partitionsOf(document, stranger.name));
    const { memberId } = stranger.disk;
    const members = document.members.map((member) =>
      member.name === stranger.name ? { ...member, id: memberId } : member,
    );
    this.propose(proposer, { owners, members });
  }

  /** Prefers one that is away. */
  #victim(): NodeName | undefined {
    const { random, network } = this.#cluster;
    const isCut = (name: NodeName): boolean => NAMES.some((other) => network.cuts.has(`${name}>${other}`));
    const away = NAMES.filter((name) => !this.#cluster.node(name).isUp || isCut(name));
    return pick(random, away.length > 0 && random() < 0.8 ? away : NAMES);
  }

  #observe(node: ModelNode, effect: RegisterEffect): void {
    if (effect.type === "decided") this.#count(effect.document);
    if (effect.type !== "revocable") return;
    const pursuit = this.#pursuits.get(node.name);
    if (pursuit?.victim !== effect.member) return;
    this.#pursuits.delete(node.name);
    const { victim, tries } = pursuit;
    if (effect.majority) this.take(node, victim);
    else this.#cluster.timeline.after(effect.waitMs + 1, () => this.pursue(node, victim, tries + 1));
  }

  #count(document: RingDocument): void {
    if (this.#decided.has(document.epoch)) return;
    this.#decided.set(document.epoch, document);
    this.counts.decided += 1;
    const previous = this.#decided.get(document.epoch - 1);
    if (previous === undefined) return;
    if (previous.voters.join() !== document.voters.join()) this.counts.voterChanges += 1;
    const given = this.#consents.filter((consent) => consent.epoch === document.epoch);
    if (takenWithoutConsent(previous, document, given).length > 0) this.counts.revoked += 1;
    else if (takenWithoutConsent(previous, document, []).length > 0) this.counts.consented += 1;
  }
}
