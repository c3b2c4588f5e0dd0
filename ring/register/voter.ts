/**
 * A member as voter: answers the questions of proposers and lease holders from its state and its grants.
 *
 * V1  A voter that has voted for e+1 grants nothing until it knows what e+1 decided (ownership rule 9).
 * V2  On start, and on learning a document with other voters or with an epoch skipped, a voter acts as if it had just
 *     granted every lease (rule 10). Not on voting: the vote may come long before the decision.
 * V3  It grants, votes and tells only under the member id that the document gives its name (rule 4).
 */

import type { RingDocument } from "../document.ts";
import type { NodeName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import { accept, prepare } from "./acceptor.ts";
import { Grants, type GrantsOptions } from "./grants.ts";
import { type Envelope, INQUIRE_LIMIT, type RegisterBody, type RegisterState } from "./messages.ts";
import { isMember, isVoter, proposalFault, sameVoters } from "./voting.ts";

export type Question = Extract<RegisterBody, { readonly type: "prepare" | "accept" | "ask" | "inquire" }>;

export type VoterAnswer =
  | { readonly type: "reply"; readonly state: RegisterState; readonly reply: RegisterBody }
  /** A lease refused: silence, the holder asks again. */
  | { readonly type: "silent" }
  | { readonly type: "dropped"; readonly reason: "notVoter" | "invalid" };

export interface VoterOptions extends GrantsOptions {
  readonly checkSuccessor?: (previous: RingDocument, next: RingDocument) => string | undefined;
}

export class Voter {
  readonly #options: VoterOptions;
  readonly #grants: Grants;

  constructor(options: VoterOptions) {
    this.#options = options;
    this.#grants = new Grants(options);
  }

  /** `gone`: of whom it is proved that every lease granted before has ended. */
  start(now: Instant, gone?: NodeName): void {
    this.#grants.grantEveryone(now, gone); // V2: on start
  }

  learned(now: Instant, previous: RingDocument | undefined, document: RingDocument): void {
    const isSkip = previous === undefined || document.epoch !== previous.epoch + 1;
    if (isSkip || !sameVoters(previous, document)) this.#grants.grantEveryone(now); // V2: on learning
    this.#grants.decided(now, (name) => document.members.some((member) => member.name === name));
  }

  /** The caller has checked ring, history and epoch. */
  answer(now: Instant, state: RegisterState, from: NodeName, message: Envelope & Question): VoterAnswer {
    const { document, member, memberId, accepted } = state;
    if (document === undefined) return NOT_VOTER;
    if (message.type === "accept") return this.#accept(now, state, document, message);
    if (!isVoter(document, member, memberId)) return NOT_VOTER; // V3
    switch (message.type) {
      case "prepare":
        return { type: "reply", ...prepare(state, document, message.ballot) };
      case "ask":
        if (!isMember(document, from, message.memberId)) return NOT_VOTER;
        if (accepted !== undefined) return SILENT; // V1
        if (!this.#grants.grant(now, from)) return SILENT;
        return { type: "reply", state, reply: { type: "grant", epoch: message.epoch, request: message.request } };
      case "inquire": {
        const waitsMs = message.members.slice(0, INQUIRE_LIMIT).map((name) => this.#grants.waitMs(now, name));
        return {
          type: "reply",
          state,
          reply: { type: "inquired", epoch: document.epoch, request: message.request, waitsMs },
        };
      }
    }
  }

  /** Why neither this voter nor, at a proposer, any voter accepts the document. */
  faultOf(previous: RingDocument, next: RingDocument): string | undefined {
    return proposalFault(previous, next) ?? this.#options.checkSuccessor?.(previous, next);
  }

  #accept(
    now: Instant,
    state: RegisterState,
    document: RingDocument,
    message: Question & { readonly type: "accept" },
  ): VoterAnswer {
    const { vote, epoch } = message;
    const isOfNext = isVoter(vote.document, state.member, state.memberId);
    if (!isOfNext && !isVoter(document, state.member, state.memberId)) return NOT_VOTER; // V3
    if (vote.document.epoch !== epoch || this.faultOf(document, vote.document) !== undefined)
      return { type: "dropped", reason: "invalid" };
    return { type: "reply", ...accept(now, state, document, vote, this.#grants) };
  }
}

const NOT_VOTER: VoterAnswer = { type: "dropped", reason: "notVoter" };
const SILENT: VoterAnswer = { type: "silent" };
