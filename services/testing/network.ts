/**
 * Simulated network: datagrams that may be lost, doubled and reordered, and streams that are ordered and break.
 *
 * A cut blocks one direction. Streams need both directions, as TCP does: they break a few seconds after either is cut,
 * at once when the other process dies. A link from one node to another may be shut while all else goes on.
 */

import type { Agenda } from "./agenda.ts";
import type { SeededRandom } from "./random.ts";

export interface Weather {
  /** Probability that a datagram is lost. */
  loss: number;
  duplicate: number;
  /** Highest extra delay of a datagram. */
  reorderMs: number;
  /** Probability that a message of a stream is said twice, the second time a little later. */
  repeat: number;
  /** The most that anything takes longer than usual. */
  lagMs: number;
}

export class Network {
  readonly #agenda: Agenda;
  readonly #random: SeededRandom;
  readonly #cuts = new Set<string>();
  /** True time until which one cannot link to the other. */
  readonly #shut = new Map<string, number>();
  readonly #streamFree = new Map<string, number>();
  readonly weather: Weather = { loss: 0, duplicate: 0, reorderMs: 0, repeat: 0, lagMs: 0 };

  constructor(agenda: Agenda, random: SeededRandom) {
    this.#agenda = agenda;
    this.#random = random;
  }

  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`);
  }

  heal(): void {
    this.#cuts.clear();
  }

  open(from: string, to: string): boolean {
    return !this.#cuts.has(`${from}>${to}`);
  }

  /** Both directions: a stream can live. */
  joined(a: string, b: string): boolean {
    return this.open(a, b) && this.open(b, a);
  }

  /** As a firewall that closes the port of links: what comes the other way, and gossip, goes on. */
  shut(from: string, to: string, forMs: number): void {
    this.#shut.set(`${from}>${to}`, this.#agenda.now + forMs);
  }

  reopen(): void {
    this.#shut.clear();
  }

  /** A link from one to the other can live. */
  linkable(from: string, to: string): boolean {
    return (this.#shut.get(`${from}>${to}`) ?? 0) <= this.#agenda.now && this.joined(from, to);
  }

  datagram(from: string, to: string, deliver: () => void): void {
    if (!this.open(from, to) || this.#random.chance(this.weather.loss)) return;
    const copies = this.#random.chance(this.weather.duplicate) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++)
      this.#agenda.after(this.#latency() + this.#random() * this.weather.reorderMs, deliver);
  }

  /** In order per pair; lost if the pair is cut when it would arrive. */
  stream(from: string, to: string, deliver: () => void): void {
    const pair = `${from}>${to}`;
    const at = Math.max(this.#agenda.now + this.#latency(), (this.#streamFree.get(pair) ?? 0) + 0.001);
    this.#streamFree.set(pair, at);
    const arrive = (): void => {
      if (this.joined(from, to)) deliver();
    };
    this.#agenda.at(at, arrive);
    if (this.weather.repeat > 0 && this.#random.chance(this.weather.repeat))
      this.#agenda.at(at + this.#random.between(0, 50), arrive);
  }

  #latency(): number {
    return 0.1 + this.#random() * (0.9 + this.weather.lagMs);
  }
}
