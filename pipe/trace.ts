/**
 * Who listens to the events of a run on this node: listeners here, and peers that have some.
 *
 * T1  Nobody listening costs one look. A peer that is lost listens no more, and nodes that take part later are told as well.
 * T2  A listener only looks: one that throws hears no more, and the run goes on.
 * T3  Nothing waits for a listener: while its node has `TRACE_BYTES` that it has not confirmed, events for it are dropped.
 */

import type { Run } from "./run.ts";
import type { TraceEvent } from "./views.ts";

export class RunTrace {
  readonly #run: Run;
  readonly #listeners = new Set<(event: TraceEvent) => void>();
  readonly #peers = new Set<number>();
  readonly #told = new Set<number>();

  constructor(run: Run) {
    this.#run = run;
  }

  get isHeard(): boolean {
    return this.#listeners.size > 0 || this.#peers.size > 0;
  }

  /** Events of all nodes that take part, until the returned function is called. */
  listen(listener: (event: TraceEvent) => void): () => void {
    this.#listeners.add(listener);
    this.rerouted();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0 || this.#run.over) return;
      for (const peer of this.#told) this.#run.peer(peer).say(["trace", this.#run.id, false]);
      this.#told.clear();
    };
  }

  asked(peer: number, on: boolean): void {
    if (on) this.#peers.add(peer);
    else this.#peers.delete(peer);
  }

  /** One of this node. */
  happened(event: TraceEvent): void {
    this.heard(event);
    const { node, id } = this.#run;
    for (const peer of this.#peers)
      if (node.channel(peer).keptBytes < TRACE_BYTES) this.#run.peer(peer).say(["traced", id, [event]]); // T3
  }

  /** One of a peer. */
  heard(event: TraceEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch {
        this.#listeners.delete(listener); // T2
      }
    }
  }

  rerouted(): void {
    if (this.#listeners.size === 0) return;
    for (const peer of [...this.#run.node.ownerPeers(), ...this.#run.peers.keys()]) {
      if (this.#told.has(peer)) continue;
      this.#told.add(peer);
      this.#run.peer(peer).say(["trace", this.#run.id, true]);
    }
  }

  lost(peer: number): void {
    this.#peers.delete(peer);
    this.#told.delete(peer);
  }
}

const TRACE_BYTES: number = 4 * 1024 * 1024;
