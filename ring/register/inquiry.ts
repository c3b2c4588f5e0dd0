/**
 * Asks the voters whether their grants to some members have run out, before anybody proposes to take from them.
 *
 * So a claimant with a bad connection cannot cost a healthy member its lease: asking changes nothing at a voter, while a
 * proposal that must be refused stops renewals (ownership rule 11).
 * Q1  A member is revocable when a majority of the voters of one epoch said so in answer to one request.
 */

import type { RingDocument } from "../document.ts";
import type { Epoch, NodeName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import { INQUIRE_LIMIT } from "./messages.ts";
import { majorityOf } from "./voting.ts";

export type InquiryPurpose = { readonly type: "proposal" } | { readonly type: "revocable"; readonly member: NodeName };

export type InquiryEffect =
  | {
      readonly type: "inquire";
      readonly to: readonly NodeName[];
      readonly epoch: Epoch;
      readonly request: number;
      readonly members: readonly NodeName[];
    }
  | {
      readonly type: "verdict";
      readonly purpose: InquiryPurpose;
      /** A majority of voters said that the grants to all members asked about have run out. */
      readonly majority: boolean;
      /** When asking again makes sense; 0 with a majority. */
      readonly waitMs: number;
    };

interface Inquiry {
  readonly purpose: InquiryPurpose;
  readonly members: readonly NodeName[];
  readonly document: RingDocument;
  readonly answers: Map<NodeName, readonly number[]>;
  readonly resendAt: Instant;
  readonly endsAt: Instant;
}

export class Inquiries {
  readonly #open = new Map<number, Inquiry>();
  #requests = 0;

  /** At most `OPEN_LIMIT` at once; one for each purpose. */
  start(
    now: Instant,
    purpose: InquiryPurpose,
    members: readonly NodeName[],
    document: RingDocument,
  ): readonly InquiryEffect[] {
    if (members.length > INQUIRE_LIMIT || this.#open.size >= OPEN_LIMIT)
      return [{ type: "verdict", purpose, majority: false, waitMs: TIMEOUT_MS }];
    for (const { purpose: known } of this.#open.values()) if (samePurpose(known, purpose)) return [];
    this.#requests += 1;
    const request = this.#requests;
    this.#open.set(request, {
      purpose,
      members,
      document,
      answers: new Map(),
      resendAt: now + RESEND_MS,
      endsAt: now + TIMEOUT_MS,
    });
    return [{ type: "inquire", to: document.voters, epoch: document.epoch, request, members }];
  }

  /** The caller has checked that `from` is a voter of the epoch. */
  answered(
    from: NodeName,
    answer: { readonly epoch: Epoch; readonly request: number; readonly waitsMs: readonly number[] },
  ): readonly InquiryEffect[] {
    const inquiry = this.#open.get(answer.request);
    if (inquiry === undefined || answer.epoch !== inquiry.document.epoch) return [];
    if (answer.waitsMs.length !== inquiry.members.length) return [];
    inquiry.answers.set(from, answer.waitsMs);
    const verdict = judge(inquiry);
    if (verdict === undefined) return [];
    this.#open.delete(answer.request);
    return [{ type: "verdict", purpose: inquiry.purpose, ...verdict }];
  }

  /** The epoch is decided: the proposal that asked is settled elsewhere, the others ask again at the new epoch. */
  decided(now: Instant, document: RingDocument): readonly InquiryEffect[] {
    const open = [...this.#open.values()];
    this.#open.clear();
    return open.flatMap(({ purpose, members }) =>
      purpose.type === "proposal" ? [] : this.start(now, purpose, members, document),
    );
  }

  tick(now: Instant): readonly InquiryEffect[] {
    const effects: InquiryEffect[] = [];
    for (const [request, inquiry] of this.#open) {
      const { purpose, members, document, answers } = inquiry;
      if (now >= inquiry.endsAt) {
        this.#open.delete(request);
        effects.push({ type: "verdict", purpose, majority: false, waitMs: TIMEOUT_MS });
      } else if (now >= inquiry.resendAt) {
        this.#open.set(request, { ...inquiry, resendAt: now + RESEND_MS });
        const to = document.voters.filter((voter) => !answers.has(voter));
        effects.push({ type: "inquire", to, epoch: document.epoch, request, members });
      }
    }
    return effects;
  }

  nextDeadline(): Instant | undefined {
    let deadline: Instant | undefined;
    for (const { resendAt, endsAt } of this.#open.values()) {
      deadline = Math.min(deadline ?? Number.POSITIVE_INFINITY, resendAt, endsAt);
    }
    return deadline;
  }
}

/** Undefined while the answers that are missing could still decide. */
function judge({
  document,
  members,
  answers,
}: Inquiry): { readonly majority: boolean; readonly waitMs: number } | undefined {
  const needed = majorityOf(document.voters);
  const missing = document.voters.length - answers.size;
  let isOpen = false;
  let waitMs = 0;
  for (let index = 0; index < members.length; index += 1) {
    const waitsMs = [...answers.values()].map((answer) => answer[index] ?? 0).sort((a, b) => a - b);
    const runOut = waitsMs.filter((wait) => wait <= 0).length;
    if (runOut >= needed) continue; // Q1
    if (runOut + missing >= needed) isOpen = true;
    else waitMs = Math.max(waitMs, waitsMs[Math.min(needed, waitsMs.length) - 1] ?? 0);
  }
  if (waitMs > 0) return { majority: false, waitMs };
  return isOpen ? undefined : { majority: true, waitMs: 0 };
}

function samePurpose(a: InquiryPurpose, b: InquiryPurpose): boolean {
  if (a.type === "proposal" || b.type === "proposal") return a.type === b.type;
  return a.member === b.member;
}

const OPEN_LIMIT = 256;
const RESEND_MS = 150;
const TIMEOUT_MS = 1_000;
