/** What a node tells those who listen to it: ring events, the newest of which it remembers, events of tasks, and ring documents. */

import type { RingDocument } from "../document.ts";
import { RingError } from "../errors.ts";
import type { NodeName } from "../ids.ts";
import { addressText } from "../membership/address.ts";
import type { SwimEffect } from "../membership/events.ts";
import type { RingEvent } from "../node/port.ts";
import type { TaskEvent } from "../tasks/engine-contract.ts";
import type { StoreLog } from "./store/log.ts";

export type NodeLog = StoreLog & { info(fields: object, message: string): void };

export class Announcements {
  readonly #node: NodeName;
  readonly #log: NodeLog;
  readonly #ringListeners = new Set<(event: RingEvent) => void>();
  readonly #taskListeners = new Set<(events: readonly TaskEvent[]) => void>();
  readonly #documentListeners = new Set<(document: RingDocument) => void>();
  readonly #recent: RingEvent[] = [];

  constructor(node: NodeName, log: NodeLog) {
    this.#node = node;
    this.#log = log;
  }

  /** Oldest first. */
  get recent(): readonly RingEvent[] {
    return this.#recent;
  }

  /** This and the next two return how to listen no longer, and throw `QUEUE_FULL`. */
  onRingEvent(listener: (event: RingEvent) => void): () => void {
    return listen(this.#ringListeners, listener);
  }

  onTaskEvents(listener: (events: readonly TaskEvent[]) => void): () => void {
    return listen(this.#taskListeners, listener);
  }

  onDocument(listener: (document: RingDocument) => void): () => void {
    return listen(this.#documentListeners, listener);
  }

  note(type: string, detail: string): void {
    const event: RingEvent = { atMs: Date.now(), type, detail, node: this.#node };
    this.#recent.push(event);
    if (this.#recent.length > RECENT_LIMIT) this.#recent.shift();
    this.#log.info({ event: type, detail }, "ring");
    for (const listener of this.#ringListeners) listener(event);
  }

  tasks(events: readonly TaskEvent[]): void {
    for (const listener of this.#taskListeners) listener(events);
  }

  document(document: RingDocument): void {
    for (const listener of this.#documentListeners) listener(document);
    this.note("ring-changed", `epoch ${document.epoch}`);
  }

  gossip(effect: SwimEffect): void {
    if (effect.type === "user-event") this.#userEvent(effect);
    if (effect.type === "conflict") this.#conflict(effect);
  }

  /** `payload` as far as people can read it. */
  #userEvent({ name, payload }: Extract<SwimEffect, { type: "user-event" }>): void {
    const text = new TextDecoder().decode(payload.subarray(0, USER_EVENT_BYTES));
    this.note("user-event", payload.length === 0 ? name : `${name} ${text}`);
  }

  /** Whoever came second waits for ever: its operator looks into the log first. */
  #conflict({ name, address, claimed }: Extract<SwimEffect, { type: "conflict" }>): void {
    const text = `${name} is at ${addressText(address)}, and somebody at ${addressText(claimed)} uses the same name`;
    this.note("name-conflict", text);
    this.#log.warn({ name, claimed: addressText(claimed) }, `${text}: names are unique in a ring, see --name`);
  }
}

function listen<T>(listeners: Set<(value: T) => void>, listener: (value: T) => void): () => void {
  if (listeners.size >= LISTENER_LIMIT)
    throw new RingError("QUEUE_FULL", `${LISTENER_LIMIT} listen to this node already`, {
      retryAfterMs: LISTENER_RETRY_MS,
    });
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

const RECENT_LIMIT = 1_000;
const LISTENER_LIMIT = 1_000;
const LISTENER_RETRY_MS = 1_000;
const USER_EVENT_BYTES = 512;
