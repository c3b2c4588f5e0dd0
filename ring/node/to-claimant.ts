/** What this node has to say to the member that proposes ring changes now, which may be itself. */

import type { Epoch, NodeName } from "../ids.ts";
import type { Asks } from "./asks.ts";
import type { Claimant } from "./claimant.ts";
import type { Here } from "./here.ts";
import type { Giving, NodeMessage } from "./messages.ts";
import type { NodeRequest } from "./requests.ts";

export class ToClaimant {
  readonly #here: Here;
  readonly #own: Claimant;
  readonly #asks: Asks;

  constructor(here: Here, own: Claimant, asks: Asks) {
    this.#here = here;
    this.#own = own;
    this.#asks = asks;
  }

  /** `insist`: to the own claimant also if it is another's turn, which may not be known there. */
  consent(member: NodeName, epoch: Epoch, gives: Giving, insist: boolean): void {
    const role = this.#own.role();
    if (insist || role === this.#here.self) this.#own.consent(member, epoch, gives, insist);
    if (role !== undefined && role !== this.#here.self)
      this.#here.send(role, { type: "consent", member, epoch, gives });
  }

  absorbed(message: Extract<NodeMessage, { type: "absorbed" }>): void {
    const role = this.#own.role();
    if (role === undefined || role === this.#here.self) this.#own.absorbed(this.#here.self, message);
    else this.#here.send(role, message);
  }

  /** Nobody waits for the answer: the ring tells. */
  ask(request: NodeRequest): void {
    const role = this.#own.role();
    if (role !== undefined) this.#asks.forward({ type: "local", askId: NOBODY }, role, request, DEADLINE_MS);
  }
}

const NOBODY = -1;
const DEADLINE_MS = 2_000;
