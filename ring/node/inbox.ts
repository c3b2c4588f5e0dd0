/** What peers say to this node, and what it says to itself: each message to the part that it is for. */

import type { NodeName } from "../ids.ts";
import type { NodeMessage } from "./messages.ts";
import type { Parts } from "./parts.ts";
import { Sparing } from "./sparing.ts";

export class Inbox {
  readonly #parts: Parts;
  readonly #remarks = new Sparing();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  receive(from: NodeName, message: NodeMessage): void {
    const parts = this.#parts;
    switch (message.type) {
      case "forward":
        return parts.desk.fromPeer(from, message);
      case "forwarded":
        return parts.router.forwarded(from, message);
      case "register":
        return parts.seat.receive(message.for, message.as, message.message);
      case "ask":
        return parts.answers.ask({ type: "peer", name: from, askId: message.askId }, message.request, {
          to: parts.here.self,
          deadlineMs: PEER_ASK_MS,
        });
      case "answer":
        return parts.asks.settle(message.askId, message.answer, from);
      case "transfer-offer":
      case "transfer-chunk":
        return parts.incoming.receive(from, message);
      case "transfer-abort":
        parts.incoming.receive(from, message);
        return parts.outgoing.receive(from, message);
      case "transfer-wait":
      case "transfer-begin":
      case "transfer-ack":
        return parts.outgoing.receive(from, message);
      case "consent":
        // Whoever gives everything up for want of the store gives it to somebody who has it.
        if (message.gives.type === "all" && message.member === from && !parts.storeLease.steady) return;
        return parts.claimant.consent(message.member, message.epoch, message.gives, true);
      case "store-lost":
        return parts.storeLease.asked(from, message.epoch);
      case "store-kept":
        return parts.storeLease.answered(from, message.epoch);
      case "absorbed":
        return parts.claimant.absorbed(from, message);
      case "document":
        return parts.seat.learn(message.document);
      case "pull-document": {
        const { document } = parts.here;
        const epoch = document?.epoch ?? 0;
        if (document !== undefined && epoch > message.epoch) parts.here.send(from, { type: "document", document });
        // It knows more: its answer to our own question may have come before its link to us was up.
        else if (epoch < message.epoch) parts.here.send(from, { type: "pull-document", epoch });
        return;
      }
      case "apps":
        parts.neighbours.learnApps(from, message.loaded);
        parts.settings.told(from, message.overrides);
        return;
      case "speaking-for":
        parts.liveness.speaks(from, message.members);
        return parts.claimant.nudge();
      case "candidate":
        return parts.neighbours.learnCandidate(message.member);
      case "loads":
        return parts.neighbours.learnLoads(from, message.counts);
      case "restarting":
        if (!parts.liveness.isRestarting(parts.here.now, from)) this.#remark("member-restarting", from);
        return parts.liveness.restarting(from, parts.here.now + Math.min(message.graceMs, RESTARTING_MOST_MS));
      case "refused":
        return this.#remark("refused", `${from}: ${message.code} ${message.detail}`);
      case "hello":
        return parts.neighbours.hailed(from);
      case "pipe":
        return;
    }
  }

  /** What a peer says of itself, in its own words and as often as it likes. */
  #remark(what: string, detail: string): void {
    const leftOut = this.#remarks.take(this.#parts.here.now);
    if (leftOut === undefined) return;
    const more = leftOut === 0 ? "" : ` (${leftOut} more were left out before)`;
    this.#parts.here.note(what, `${detail.slice(0, REMARK_LENGTH)}${more}`);
  }
}

const REMARK_LENGTH = 500;
/** For how long a peer is waited for that says once that it will be back. */
const RESTARTING_MOST_MS = 60_000;
const PEER_ASK_MS = 30_000;
