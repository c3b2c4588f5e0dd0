/** One host's side of the store that all share: performs the effects that go there, in the order in which they are asked. */

import type { NodeEffect, NodeEvent } from "../../ring/node/effects.ts";
import { NODE_ROWS } from "../../ring/node/overrides.ts";
import type { Agenda } from "../../services/testing/agenda.ts";
import { type Host, LEASE_MS } from "../../services/testing/host.ts";
import type { SeededRandom } from "../../services/testing/random.ts";
import type { RowsElsewhere } from "../../services/testing/surroundings.ts";
import type { SharedStore } from "./shared-store.ts";

export class SharedSide implements RowsElsewhere {
  readonly #host: Host;
  readonly #world: { readonly agenda: Agenda; readonly random: SeededRandom };
  readonly #store: SharedStore;
  /** The shared store does and answers what it is asked by one process in that order. */
  #storeDoneAt = 0;
  #storeAnsweredAt = 0;
  /** Of the newest register value that was given to the own disk. */
  #registerSequence = 0;

  constructor(host: Host, world: { readonly agenda: Agenda; readonly random: SeededRandom }, store: SharedStore) {
    this.#host = host;
    this.#world = world;
    this.#store = store;
  }

  /** A process begins. */
  begin(): void {
    this.#registerSequence = 0;
  }

  /** It has started. */
  started(): void {
    this.#renew();
  }

  /** What was asked of a shared store is done, whatever becomes of the asker meanwhile; while it is away it is asked again. */
  #onStore(run: () => NodeEvent | undefined): void {
    const { agenda, random } = this.#world;
    const { life } = this.#host;
    const attempt = (): void => {
      if (this.#store.isAway(this.#host.name)) {
        if (this.#host.life === life && this.#host.up) agenda.after(50, attempt);
        return;
      }
      const event = run();
      this.#storeAnsweredAt = Math.max(this.#storeAnsweredAt + 0.001, agenda.now + 0.1 + random());
      if (event !== undefined) this.#host.later(this.#storeAnsweredAt - agenda.now, () => this.#host.step(event));
    };
    this.#storeDoneAt = Math.max(this.#storeDoneAt + 0.001, agenda.now + 0.1 + random());
    agenda.at(this.#storeDoneAt, attempt);
  }

  #renew(): void {
    const askedAt = this.#host.clock;
    this.#onStore(() => {
      const { others, seat } = this.#store.renew(this.#host.name, LEASE_MS);
      return { type: "store-lease", heldUntil: askedAt + LEASE_MS, others, ...(seat && { seat }) };
    });
    this.#host.later(LEASE_MS * 0.3, () => this.#renew());
  }

  /** As the real opening: a newer owner may be first, before its document is known here. */
  #openShared(effect: Extract<NodeEffect, { type: "open" }>): void {
    this.#onStore(() => {
      const term = this.#store.open(effect.partition, effect);
      if (term !== undefined) return { type: "opened", partition: effect.partition, term };
      this.#host.later(500, () => {
        const { document } = this.#host.machine!;
        const { partition, generation } = effect;
        if (document?.owners[partition] === this.#host.name && document.generations[partition] === generation)
          this.#openShared(effect);
      });
      return undefined;
    });
  }

  /** In the shared store; own rows of a node are on its disk. True: done. */
  perform(effect: NodeEffect): boolean {
    switch (effect.type) {
      case "commit":
        this.#onStore(() => {
          const own = effect.groups.filter(({ partition }) => partition === NODE_ROWS);
          this.#host.disk.commit(own);
          const refused = this.#store.rows.commit(effect.groups.filter(({ partition }) => partition !== NODE_ROWS));
          return { type: "committed", group: effect.group, refused };
        });
        return true;
      case "commit-adopted":
        this.#onStore(() => {
          for (const { partition, term, changes } of effect.groups) {
            const opened = this.#store.open(partition, term);
            if (opened !== undefined) this.#store.rows.commit([{ partition, term: opened, changes }]);
          }
          return { type: "adopted-committed", writeId: effect.writeId };
        });
        return true;
      case "open":
        this.#openShared(effect);
        return true;
      case "read":
        if (effect.request.partition === NODE_ROWS) return false;
        this.#onStore(() => {
          const page = effect.directory.type === "own" ? this.#store.rows.page(effect.request) : { rows: [] };
          return { type: "rows", readId: effect.readId, ...page };
        });
        return true;
      case "drop":
        this.#host.later(1, () =>
          this.#host.step({ type: "dropped", directory: effect.directory, partition: effect.partition }),
        );
        return true;
      case "claim-seat":
        this.#onStore(() => ({
          type: "seat",
          of: effect.claim.of,
          result: this.#store.claim({ name: this.#host.name, id: this.#host.disk.memberId }, effect.claim),
        }));
        return true;
      case "leave-seat":
        this.#onStore(() => {
          this.#store.leave(effect.token);
          return undefined;
        });
        return true;
      case "persist-register": {
        const { of, sequence, seat } = effect;
        const { life } = this.#host;
        const write = (): void => {
          if (this.#host.life !== life || this.#registerSequence > sequence) return;
          this.#registerSequence = sequence;
          this.#host.work.register(this.#host.disk, () => {
            this.#host.disk.register = effect.state;
            this.#host.step({ type: "register-persisted", of, sequence });
          });
        };
        if (seat === undefined) {
          if (of === this.#host.name) write();
          return of === this.#host.name;
        }
        this.#onStore(() => {
          if (!this.#store.write(seat)) return { type: "seat-refused", seat: seat.token };
          if (of !== this.#host.name) return { type: "register-persisted", of, sequence, seat: seat.token };
          write(); // its own disk comes next, if it still lives
          return undefined;
        });
        return true;
      }
      default:
        return false;
    }
  }
}
