/**
 * A few registers on a perfect network (1 ms a message, 1 ms a sync, random always a half), written down line by line:
 * time, who, what. Lease traffic is left out unless asked for.
 */

import type { RingDocument } from "../../../ring/document.ts";
import type { NodeName } from "../../../ring/ids.ts";
import type { RegisterEffect, RegisterEvent } from "../../../ring/register/events.ts";
import type { Ballot, Consent, RegisterMessage, RegisterState, Vote } from "../../../ring/register/messages.ts";
import { Register } from "../../../ring/register/register.ts";
import { idOf } from "../../simulation/register/documents.ts";
import { Timeline } from "../../simulation/register/world.ts";

export class Transcript {
  readonly lines: string[] = [];
  readonly timeline: Timeline = new Timeline();
  /** One-way links "from>to" that are down. */
  readonly cuts: Set<string> = new Set();
  readonly #registers = new Map<NodeName, Register>();
  readonly #disks = new Map<NodeName, RegisterState>();
  readonly #showsLeases: boolean;

  constructor(document: RingDocument, names: readonly string[], options: { readonly showsLeases?: boolean } = {}) {
    this.#showsLeases = options.showsLeases ?? false;
    for (const name of names as readonly NodeName[]) {
      const undecided = { promised: undefined, accepted: undefined };
      this.#disks.set(name, {
        version: 1,
        member: name,
        memberId: idOf(document, name)!,
        starts: 0,
        document,
        ...undecided,
      });
      this.start(name);
    }
    this.timeline.runUntil(10);
  }

  get text(): string {
    return `${this.lines.join("\n")}\n`;
  }

  start(name: string): void {
    const member = name as NodeName;
    this.#registers.set(member, new Register({ state: this.#disks.get(member)!, random: () => 0.5 }));
    this.#feed(member, { type: "start" });
  }

  crash(name: string): void {
    this.#registers.delete(name as NodeName);
    this.#note(name, "crashes");
  }

  disk(name: string): RegisterState {
    return this.#disks.get(name as NodeName)!;
  }

  propose(name: string, document: RingDocument, consents: readonly Consent[] = []): void {
    this.#note(name, `proposes ${describe(document)}${consents.length > 0 ? " with consent" : ""}`);
    this.#feed(name as NodeName, { type: "propose", document, consents });
  }

  runFor(durationMs: number): void {
    this.timeline.runUntil(this.timeline.now + durationMs);
  }

  comment(text: string): void {
    this.lines.push(`# ${text}`);
  }

  #feed(name: NodeName, event: RegisterEvent): void {
    const register = this.#registers.get(name);
    if (register === undefined) return;
    for (const effect of register.step(this.timeline.now, event)) this.#perform(name, register, effect);
    const deadline = register.nextDeadline();
    if (deadline === undefined) return;
    this.timeline.after(Math.max(0.5, deadline - this.timeline.now), () => {
      const due = this.#registers.get(name) === register ? register.nextDeadline() : undefined;
      if (due !== undefined && due <= this.timeline.now) this.#feed(name, { type: "tick" });
    });
  }

  #perform(name: NodeName, register: Register, effect: RegisterEffect): void {
    switch (effect.type) {
      case "persist":
        this.timeline.after(1, () => {
          if (this.#registers.get(name) !== register) return;
          this.#disks.set(name, effect.state);
          this.#feed(name, { type: "persisted", sequence: effect.sequence });
        });
        return;
      case "send": {
        const { to, message } = effect;
        const isCut = this.cuts.has(`${name}>${to}`);
        if (isShown(message, this.#showsLeases))
          this.#note(`${name} > ${to}`, `${tell(message)}${isCut ? "   (lost)" : ""}`);
        if (!isCut) this.timeline.after(1, () => this.#feed(to, { type: "message", from: name, message }));
        return;
      }
      case "foreseen":
        this.#note(name, `foresees ${describe(effect.document)}`);
        return;
      case "decided":
        this.#note(name, `knows ${describe(effect.document)}`);
        return;
      case "proposal-ended":
        this.#note(name, `ends its proposal for ${effect.epoch}: ${Object.values(effect.outcome).join(" ")}`);
        return;
      case "lease":
        if (this.#showsLeases)
          this.#note(name, `lease ${effect.heldUntil === undefined ? "over" : `until ${effect.heldUntil}`}`);
        return;
      case "lease-warning":
        if (this.#showsLeases) this.#note(name, `lease warning, silent: ${effect.silent.join(" ")}`);
        return;
      default:
        this.#note(name, effect.type);
    }
  }

  #note(who: string, what: string): void {
    this.lines.push(`${String(Math.floor(this.timeline.now)).padStart(6)}  ${who.padEnd(5)}  ${what}`);
  }
}

function isShown(message: RegisterMessage, showsLeases: boolean): boolean {
  return showsLeases || (message.type !== "ask" && message.type !== "grant");
}

function tell(message: RegisterMessage): string {
  switch (message.type) {
    case "inquire":
      return `inquire at ${message.epoch}: ${message.members.join(" ")}`;
    case "inquired":
      return `inquired at ${message.epoch}: wait ${message.waitsMs.join(" ")}`;
    case "prepare":
      return `prepare ${message.epoch} ${tellBallot(message.ballot)}`;
    case "promise":
      return `promise ${message.epoch} ${tellBallot(message.ballot)}${message.accepted === undefined ? "" : `, voted for ${tellVote(message.accepted)}`}`;
    case "accept":
      return `accept ${message.epoch} ${tellVote(message.vote)}`;
    case "accepted":
      return `accepted ${message.epoch} ${tellBallot(message.ballot)}`;
    case "refused":
      return `refused ${message.epoch} ${tellBallot(message.ballot)}, promised ${tellBallot(message.promised)}`;
    case "leased":
      return `leased ${message.epoch} ${tellBallot(message.ballot)}, wait ${message.waitMs}`;
    case "decided":
      return `decided ${message.epoch} ${tellBallot(message.ballot)}`;
    case "document":
      return `document ${message.document.epoch}`;
    case "pull":
      return `pull from ${message.epoch}`;
    case "ask":
    case "grant":
      return `${message.type} ${message.request} at ${message.epoch}`;
    case "stale":
      return `stale, seen start ${message.seen.starts}`;
  }
}

function tellBallot({ round, member, starts }: Ballot): string {
  return `${round}.${member}.${starts}`;
}

function tellVote({ ballot, document }: Vote): string {
  return `${tellBallot(ballot)} "${document.applied.join()}"`;
}

function describe(document: RingDocument): string {
  return `document ${document.epoch} "${document.applied.join()}"`;
}
