/**
 * A few whole nodes in virtual time with nothing happening to them but what a test says: for the moments that a seed of the
 * big simulation meets too rarely. Runs the same hosts; everything that they do is kept as facts.
 */

import type { RingDocument } from "../../ring/document.ts";
import { foundRing } from "../../ring/founding.ts";
import type { MemberId, NodeName, RingId } from "../../ring/ids.ts";
import type { NodeEvent } from "../../ring/node/effects.ts";
import { isRefused, parseRecord } from "../../ring/tasks/record.ts";
import { encodeRecord } from "../../ring/tasks/record-encode.ts";
import type { SubmitOutcome } from "../../ring/tasks/task.ts";
import { mintId } from "../../ring/tasks/task-id.ts";
import { Agenda } from "../../services/testing/agenda.ts";
import type { Disk } from "../../services/testing/disk.ts";
import { Host } from "../../services/testing/host.ts";
import { Network } from "../../services/testing/network.ts";
import { type SeededRandom, seededRandom } from "../../services/testing/random.ts";
import type { Fact, Surroundings } from "../../services/testing/surroundings.ts";
import { SimulatedApps } from "./apps.ts";
import { SimulatedHandlers } from "./handlers.ts";

export interface SceneOptions {
  readonly nodes: number;
  /** Attempts of one app at once on one node; few of them make queues. Default 64. */
  readonly running?: number;
  /** Each node on a machine of its own. Default: all on one. */
  readonly apart?: boolean;
}

export class Scene implements Surroundings {
  readonly chunkRows = 250;
  readonly handoffs = 2;
  readonly agenda: Agenda = new Agenda();
  readonly random: SeededRandom = seededRandom(1);
  readonly network: Network = new Network(this.agenda, this.random);
  readonly running: number;
  readonly hosts: readonly Host[];
  readonly facts: { readonly atMs: number; readonly fact: Fact }[] = [];
  /** By token of the submit. */
  readonly outcomes: Map<number, SubmitOutcome> = new Map();
  /** Told once of the next consent that leaves a node, before it arrives. */
  whenConsented: (() => void) | undefined;
  #token = 0;

  constructor(options: SceneOptions) {
    this.running = options.running ?? 64;
    this.hosts = Array.from({ length: options.nodes }, (_, offset) => {
      const index = offset + 1;
      const machine = options.apart === true ? `m${index}` : "m1";
      const name = `n${index}` as NodeName;
      const member = { name, id: `id-${index}` as MemberId, weight: 100, machine, directory: `/${name}` };
      return new Host(this, { index, drift: 0, member });
    });
  }

  /** Founds the ring, joins the others, and waits until each has its share. */
  begin(): void {
    const first = this.host(1);
    const member = { name: first.name, id: "id-1" as MemberId, weight: 100, machine: "m1", directory: "/n1" };
    first.start({ founding: foundRing({ ringId: "scene" as RingId, ringSize: 8, member }), seeds: [] });
    for (const host of this.hosts.slice(1)) this.restart(host);
    this.until(() => this.#isAtRest(), 60_000);
  }

  host(number: number): Host {
    const host = this.hosts[number - 1];
    if (host === undefined) throw new Error(`there is no node ${number}`);
    return host;
  }

  restart(host: Host): void {
    host.start({ seeds: this.hosts.map(({ address }) => address) });
  }

  document(number: number = 1): RingDocument | undefined {
    return this.host(number).machine?.document;
  }

  /** Cuts a node off from all others, both ways. */
  isolate(host: Host): void {
    for (const other of this.hosts) {
      if (other === host) continue;
      this.network.cut(host.name, other.name);
      this.network.cut(other.name, host.name);
    }
  }

  submit(host: Host, count: number, key: (index: number) => string = (index) => `k${index}`): void {
    const records = Array.from({ length: count }, (_, index) => {
      const [app, name] = ["alpha", key(index)];
      const id = mintId({ wallMs: 1_700_000_000_000 + this.agenda.now, random: this.random, app, key: name });
      const wire = encodeRecord({ app, type: "bump", key: name, id });
      const record = parseRecord(wire, 0, wire.length);
      if (isRefused(record)) throw new Error(record.detail);
      return record;
    });
    host.step({ type: "submit", origin: 1, tokens: records.map(() => ++this.#token), records });
  }

  ask(host: Host, request: Extract<NodeEvent, { type: "ask" }>["request"]): void {
    host.step({ type: "ask", askId: ++this.#token, request, deadlineMs: 10_000 });
  }

  pass(ms: number): void {
    this.agenda.runUntil(this.agenda.now + ms);
  }

  /** Until it holds; throws when it does not within the time. */
  until(holds: () => boolean, mostMs: number): void {
    for (const end = this.agenda.now + mostMs; !holds(); ) {
      if (this.agenda.now >= end) throw new Error(`not within ${mostMs} ms`);
      this.pass(10);
    }
  }

  /** Attempts that began after the moment, of one node or of all. */
  starts(sinceMs: number, of?: Host): number {
    return this.facts.filter(
      ({ atMs, fact }) =>
        atMs > sinceMs && fact.type === "attempt-start" && (of === undefined || fact.node === of.name),
    ).length;
  }

  /** Tasks that ended well, each counted once. */
  done(): number {
    const ids = new Map<string, string>();
    const ended = new Set<string>();
    for (const { fact } of this.facts) {
      if (fact.type === "attempt-start")
        ids.set(`${fact.node} ${fact.life} ${fact.attempt.attemptId}`, fact.attempt.record.id);
      else if (fact.type === "attempt-end" && fact.done) {
        const id = ids.get(`${fact.node} ${fact.life} ${fact.attemptId}`);
        if (id !== undefined) ended.add(id);
      }
    }
    return ended.size;
  }

  accepted(): number {
    return [...this.outcomes.values()].filter(({ type }) => type === "accepted").length;
  }

  processOf(host: Host): ReturnType<Surroundings["processOf"]> {
    return { apps: new SimulatedApps({ running: this.running }), handlers: new SimulatedHandlers(host, this) };
  }

  hostAt(address: string): Host | undefined {
    return this.hosts.find((host) => host.address === address);
  }

  hostOf(name: NodeName): Host | undefined {
    return this.hosts.find((host) => host.name === name);
  }

  diskOf(name: NodeName): Disk | undefined {
    return this.hostOf(name)?.disk;
  }

  consented(): void {
    const then = this.whenConsented;
    this.whenConsented = undefined;
    if (then !== undefined) this.agenda.after(0, then);
  }

  observe(fact: Fact): void {
    this.facts.push({ atMs: this.agenda.now, fact });
  }

  outcome(_origin: number, token: number, outcome: SubmitOutcome): void {
    this.outcomes.set(token, outcome);
  }

  #isAtRest(): boolean {
    const document = this.document();
    if (document === undefined || document.members.length !== this.hosts.length) return false;
    if (document.next.some((next) => next !== undefined) || document.stranded.length > 0) return false;
    if (this.hosts.some((host) => host.machine?.document?.epoch !== document.epoch)) return false;
    return this.hosts.reduce((sum, host) => sum + host.partitionsActive().length, 0) === document.ringSize;
  }
}
