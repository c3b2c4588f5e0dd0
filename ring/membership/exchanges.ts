/** The TCP exchanges this node has asked for and what each is for, so that an outcome finds its way back. */

import type { NodeName } from "../ids.ts";
import type { Address } from "./address.ts";

export type Purpose =
  | { readonly type: "periodic"; readonly address: Address }
  | { readonly type: "join"; readonly address: Address }
  /** A dead member is tried, in case it was only cut off. */
  | { readonly type: "reconnect"; readonly address: Address; readonly name: NodeName }
  /** A second round, so that both sides see what the first made the other refute. */
  | { readonly type: "follow-up"; readonly address: Address }
  | { readonly type: "fallback-ping"; readonly address: Address; readonly sequence: number };

export class Exchanges {
  readonly #open = new Map<number, Purpose>();
  #next = 1;

  begin(purpose: Purpose): number {
    const exchange = this.#next++;
    this.#open.set(exchange, purpose);
    return exchange;
  }

  /** Undefined for one that is not, or no longer, ours. */
  end(exchange: number): Purpose | undefined {
    const purpose = this.#open.get(exchange);
    this.#open.delete(exchange);
    return purpose;
  }
}
