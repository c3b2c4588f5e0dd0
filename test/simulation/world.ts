/** A whole simulated cluster with its workload and faults, from one seed. */

import type { RingDocument, StagedChange } from "../../ring/document.ts";
import { foundRing } from "../../ring/founding.ts";
import { hashKey, partitionOfHash } from "../../ring/hash.ts";
import type { AppName, MemberId, NodeName, Partition, RingId } from "../../ring/ids.ts";
import type { NodeAnswer, NodeRequest } from "../../ring/node/requests.ts";
import { isRefused, parseRecord } from "../../ring/tasks/record.ts";
import { encodeRecord } from "../../ring/tasks/record-encode.ts";
import type { Attempt, AttemptEnd, SubmitOutcome, TaskRecord } from "../../ring/tasks/task.ts";
import { mintId } from "../../ring/tasks/task-id.ts";
import { Agenda } from "../../services/testing/agenda.ts";
import type { Disk } from "../../services/testing/disk.ts";
import { Host } from "../../services/testing/host.ts";
import { Network } from "../../services/testing/network.ts";
import { type SeededRandom, seededRandom } from "../../services/testing/random.ts";
import type { Fact, RowsElsewhere, Surroundings } from "../../services/testing/surroundings.ts";
import { OPERATED_APP, SimulatedApps } from "./apps.ts";
import { Checkers } from "./checkers.ts";
import { DISKS, diskFault, healDisks } from "./disks.ts";
import { SimulatedHandlers } from "./handlers.ts";
import { LINKS, linkFault } from "./links.ts";
import { Operators } from "./operators.ts";
import { SharedSide } from "./shared-side.ts";
import { SharedStore } from "./shared-store.ts";
import { STORMS, type StormKind, storm } from "./storms.ts";

export interface SimulationOptions {
  readonly seed: number;
  readonly nodes?: number;
  readonly minutes?: number;
  readonly tasksPerSecond?: number;
  /** `moves`: nothing fails, but partitions move all the time. Default: true. */
  readonly faults?: boolean | "moves";
  /** Faults that come together (`storms.ts`) in place of single ones: all kinds of them, or one. */
  readonly storms?: boolean | StormKind;
  /** Faults of disks (`disks.ts`) in place of those. */
  readonly disks?: boolean;
  /** Faults of links while gossip goes on (`links.ts`), in place of those; with `disks` both. */
  readonly links?: boolean;
  readonly ringSize?: number;
  /** All nodes keep their rows in one store; on machines of their own, but in every third seed. */
  readonly shared?: boolean;
  /** Attempts of one app at once on one node. Default 64: nothing queues for long. */
  readonly running?: number;
  /** What operators do goes on beside the plain submits (`operators.ts`). */
  readonly operators?: boolean;
  readonly onTrace?: (line: string) => void;
}

export interface SimulationResult {
  readonly seed: number;
  readonly violations: readonly string[];
  readonly traceHash: string;
  readonly accepted: number;
  readonly attempts: number;
  readonly replays: number;
  readonly reruns: number;
  readonly steps: number;
  readonly epochs: number;
  readonly convergedMs: number;
  readonly faults: Readonly<Record<string, number>>;
  /** What operators did, by kind. */
  readonly operated: Readonly<Record<string, number>>;
}

interface Wanted {
  readonly record: TaskRecord;
  readonly key: string;
  tries: number;
  settled: boolean;
  readonly done: (outcome: SubmitOutcome) => void;
}

export class World implements Surroundings {
  readonly agenda: Agenda = new Agenda();
  readonly random: SeededRandom;
  readonly running: number;
  /** Few in every second seed: so that much happens in the middle of a transfer. */
  readonly chunkRows: number;
  /** One in every fourth seed, as a ring of 64 partitions has it, else two: so that they meet. */
  readonly handoffs: number | undefined;
  readonly store: SharedStore | undefined;
  readonly hellos: boolean;
  readonly network: Network;
  readonly hosts: Host[] = [];
  readonly checkers: Checkers;
  readonly faults: Record<string, number> = {};
  readonly #options: Required<Omit<SimulationOptions, "onTrace">>;
  readonly #onTrace: ((line: string) => void) | undefined;
  readonly #byName = new Map<NodeName, Host>();
  readonly #byAddress = new Map<string, Host>();
  readonly #wanted = new Map<number, Wanted>();
  readonly #busyKeys = new Set<string>();
  readonly #operators: Operators | undefined;
  readonly #asked = new Map<number, (answer: NodeAnswer) => void>();
  #askId = ASKS_FROM;
  /** By partition: when rows of it were left on a machine that is away; and which ones those are. */
  readonly #awaySince = new Map<number, number>();
  readonly #away = new Set<string>();
  #token = 0;
  #hash = 0x811c9dc5;
  #accepted = 0;
  #submitting = true;
  /** Told of the next node that takes over a directory. */
  whenAdopted: ((adopter: Host) => void) | undefined;
  /** Told once of the next consent that a node sends. */
  whenConsented: (() => void) | undefined;

  constructor(options: SimulationOptions) {
    this.#options = {
      nodes: 5,
      minutes: 10,
      tasksPerSecond: 20,
      faults: true,
      storms: false,
      disks: false,
      links: false,
      ringSize: 16,
      running: 64,
      shared: false,
      operators: false,
      ...options,
    };
    this.running = this.#options.running;
    this.chunkRows = options.seed % 2 === 1 ? 3 : 250;
    this.handoffs = options.seed % 4 === 0 ? undefined : 2;
    this.hellos = this.#options.links;
    this.#onTrace = options.onTrace;
    this.random = seededRandom(options.seed);
    this.store = this.#options.shared ? new SharedStore(() => this.agenda.now) : undefined;
    this.network = new Network(this.agenda, this.random);
    this.checkers = new Checkers({
      now: () => this.agenda.now,
      trace: (line) => this.trace(line),
      paused: (node) => this.#byName.get(node)?.paused ?? false,
      sharedStore: this.#options.shared,
    });
    const isApart = this.#options.shared && options.seed % 3 !== 0;
    for (let index = 1; index <= this.#options.nodes; index++) {
      const name = `n${index}` as NodeName;
      const host = new Host(this, {
        index,
        drift: this.random.between(-0.01, 0.01),
        member: {
          name,
          id: `id-${index}` as MemberId,
          weight: 100,
          machine: index <= 3 && !isApart ? "m1" : `m${index}`,
          directory: `/${name}`,
        },
      });
      host.disk.keepsMore = this.#options.disks;
      this.hosts.push(host);
      this.#byName.set(name, host);
      this.#byAddress.set(host.address, host);
      host.onAnswer = (askId, answer) => {
        this.#asked.get(askId)?.(answer);
        this.#asked.delete(askId);
      };
    }
    this.#operators = this.#options.operators ? new Operators(this) : undefined;
  }

  get ringSize(): number {
    return this.#options.ringSize;
  }

  run(): SimulationResult {
    const { minutes, ringSize, seed } = this.#options;
    const first = this.hosts[0]!;
    const member = { name: first.name, id: "id-1" as MemberId, weight: 100, machine: "m1", directory: "/n1" };
    first.start({ founding: foundRing({ ringId: "sim" as RingId, ringSize, member }), seeds: [] });
    for (const [index, host] of this.hosts.slice(1).entries()) {
      this.agenda.after(500 + index * 300, () => host.start({ seeds: this.seeds() }));
    }
    this.agenda.after(5_000, () => this.#submit());
    this.agenda.after(50, () => this.#sample());
    this.agenda.after(10_000, () => this.#operators?.begin());
    if (this.#options.faults === "moves") this.agenda.after(15_000, () => this.#move());
    else if (this.#options.faults) this.agenda.after(15_000, () => this.#fault());
    const end = minutes * 60_000;
    this.agenda.runUntil(end);
    this.#submitting = false;
    this.#operators?.stop();
    this.#heal();
    const convergedMs = this.#converge(end);
    this.#operators?.check();
    this.#readCounters(ringSize);
    this.checkers.finish({
      partitionOf: (key) => partitionOfHash(hashKey(...(key.split("/") as [string, string])), ringSize),
    });
    return {
      seed,
      violations: this.checkers.violations,
      traceHash: this.#hash.toString(16).padStart(8, "0"),
      accepted: this.#accepted,
      attempts: this.checkers.attempts,
      replays: this.checkers.replays,
      reruns: this.checkers.reruns,
      steps: this.agenda.steps,
      epochs: Math.max(...this.hosts.map((host) => host.machine?.document?.epoch ?? 0)),
      convergedMs,
      faults: this.faults,
      operated: this.#operators?.counts ?? {},
    };
  }

  consented(): void {
    const then = this.whenConsented;
    this.whenConsented = undefined;
    if (then !== undefined) this.agenda.after(this.random.between(0, 1), then);
  }

  processOf(host: Host): ReturnType<Surroundings["processOf"]> {
    return { apps: new SimulatedApps({ running: this.running }), handlers: new SimulatedHandlers(host, this) };
  }

  rowsOf(host: Host): RowsElsewhere | undefined {
    return this.store === undefined ? undefined : new SharedSide(host, this, this.store);
  }

  hostAt(address: string): Host | undefined {
    return this.#byAddress.get(address);
  }

  hostOf(name: NodeName): Host | undefined {
    return this.#byName.get(name);
  }

  diskOf(name: NodeName): Disk | undefined {
    return this.#byName.get(name)?.disk;
  }

  seeds(): string[] {
    return this.hosts.map((host) => host.address);
  }

  observe(fact: Fact): void {
    this.checkers.observe(fact);
    if (fact.type === "attempt-start") this.#operators?.started(fact.attempt);
    if (fact.type === "document" && this.#operators !== undefined) this.#noteAway(fact.document);
    if (fact.type === "note" && fact.what === "adoption-started") this.whenAdopted?.(this.#byName.get(fact.node)!);
    if (fact.type === "note" && fact.what === "exit") {
      const host = this.#byName.get(fact.node)!;
      this.agenda.after(this.random.between(500, 3_000), () => host.start({ seeds: this.seeds() }));
    }
  }

  #noteAway(document: RingDocument): void {
    for (const { member, memberId, partition, generation, where } of document.stranded) {
      const name = `${member} ${memberId} ${partition} ${generation}`;
      if (where.type !== "away" || this.#away.has(name)) continue;
      this.#away.add(name);
      this.#awaySince.set(partition, this.agenda.now);
    }
  }

  awaySince(partition: number): number {
    return this.#awaySince.get(partition) ?? 0;
  }

  endOf(attempt: Attempt): AttemptEnd | undefined {
    return attempt.record.app === OPERATED_APP ? this.#operators?.end(attempt) : undefined;
  }

  ask(request: NodeRequest, answered: (answer: NodeAnswer) => void): void {
    const up = this.hosts.filter((host) => host.up && !host.paused);
    if (up.length === 0) return;
    const askId = ++this.#askId;
    this.#asked.set(askId, answered);
    this.random.pick(up).step({ type: "ask", askId, request, deadlineMs: 5_000 });
  }

  fail(what: string): void {
    this.checkers.fail(what);
  }

  submit(record: TaskRecord, done: (outcome: SubmitOutcome) => void): void {
    this.#try({ record, key: `${record.app}/${record.key}`, tries: 0, settled: false, done });
  }

  trace(line: string): void {
    const text = `${this.agenda.now.toFixed(3)} ${line}`;
    for (let index = 0; index < text.length; index++)
      this.#hash = Math.imul(this.#hash ^ text.charCodeAt(index), 0x01000193) >>> 0;
    this.#onTrace?.(text);
  }

  // Workload: one outstanding submit per key, so that acceptance has an order.

  #submit(): void {
    if (!this.#submitting) return;
    this.agenda.after((1_000 / this.#options.tasksPerSecond) * this.random.between(0.5, 1.5), () => this.#submit());
    const app = this.random.pick(["alpha", "beta"]);
    const key = `k${this.random.below(40)}`;
    const lane = `${app}/${key}`;
    if (this.#busyKeys.has(lane)) return;
    const id = mintId({ wallMs: 1_700_000_000_000 + this.agenda.now, random: this.random, app, key });
    const wire = encodeRecord({ app, type: this.random.chance(0.1) ? "parent" : "bump", key, id });
    const record = parseRecord(wire, 0, wire.length);
    if (isRefused(record)) throw new Error(record.detail);
    this.#busyKeys.add(lane);
    const done = (): void => {
      this.#accepted++;
      this.#busyKeys.delete(lane);
      this.checkers.accepted(lane, id);
    };
    this.#try({ record, key: lane, tries: 0, settled: false, done });
  }

  #try(wanted: Wanted): void {
    if (wanted.settled) return;
    wanted.tries++;
    const token = ++this.#token;
    const up = this.hosts.filter((host) => host.up && !host.paused);
    if (up.length === 0) return this.agenda.after(500, () => this.#try(wanted));
    this.#wanted.set(token, wanted);
    this.random.pick(up).step({ type: "submit", origin: 1, tokens: [token], records: [wanted.record] });
    this.agenda.after(8_000, () => {
      if (this.#wanted.delete(token)) this.#try(wanted);
    });
  }

  outcome(_origin: number, token: number, outcome: SubmitOutcome): void {
    const wanted = this.#wanted.get(token);
    if (wanted === undefined) return;
    this.#wanted.delete(token);
    if (wanted.settled) return;
    if (outcome.type === "refused") return this.agenda.after(outcome.retryAfterMs ?? 500, () => this.#try(wanted));
    wanted.settled = true;
    wanted.done(outcome);
  }

  // Faults.

  #fault(): void {
    if (!this.#submitting) return;
    const { random } = this;
    const { storms, disks, links } = this.#options;
    const isTogether = storms !== false || disks || links;
    if (isTogether) {
      const isDouble = random.chance(0.3);
      this.agenda.after(isDouble ? random.between(500, 12_000) : SETTLE_MS, () => this.#fault());
      if (!isDouble) this.agenda.after(SETTLE_MS - 1, () => this.#settled());
    } else this.agenda.after(random.between(8_000, 29_000), () => this.#fault());
    const host = random.pick(this.hosts);
    const faults = this.store === undefined ? FAULTS : SHARED_FAULTS;
    const other = [...(disks ? DISKS : []), ...(links ? LINKS : [])];
    const kinds = other.length > 0 ? other : storms === true ? STORMS : storms === false ? faults : [storms];
    const kind = random.pick(kinds);
    this.faults[kind] = (this.faults[kind] ?? 0) + 1;
    this.trace(`fault ${kind} ${host.name}`);
    if (isTogether && [storm, diskFault, linkFault].some((fault) => fault(this, kind, host))) return;
    switch (kind) {
      case "crash":
        host.crash();
        return this.agenda.after(random.between(300, 20_000), () => host.start({ seeds: this.seeds() }));
      case "pause":
        return host.pause(random.between(300, 14_000));
      case "stop":
        host.stop(5_000);
        return;
      case "cut":
        for (const other of this.hosts) {
          if (other === host || random.chance(0.2)) continue;
          this.network.cut(host.name, other.name);
          this.network.cut(other.name, host.name);
        }
        return this.agenda.after(random.between(500, 15_000), () => this.network.heal());
      case "one-way":
        for (const other of this.hosts) if (other !== host) this.network.cut(host.name, other.name);
        return this.agenda.after(random.between(500, 15_000), () => this.network.heal());
      case "loss":
        this.network.weather.loss = random.between(0.05, 0.4);
        return this.agenda.after(random.between(2_000, 12_000), () => {
          this.network.weather.loss = 0;
        });
      case "reorder":
        this.network.weather.reorderMs = random.between(20, 400);
        this.network.weather.duplicate = 0.2;
        return this.agenda.after(random.between(2_000, 12_000), () => {
          this.network.weather.reorderMs = 0;
          this.network.weather.duplicate = 0;
        });
      case "fsync":
        host.syncFails = true;
        return;
      case "store-cut":
        return this.store?.cut([host.name], random.between(300, 25_000));
      case "store-away": {
        const names = this.hosts.map(({ name }) => name);
        return this.store?.cut(names, random.between(300, 15_000));
      }
      case "store-clock":
        if (this.store !== undefined) this.store.offset += random.between(-20_000, 20_000);
        return;
      case "weight":
        return this.#change({ type: "set-weight", name: host.name, weight: random.pick([50, 100, 200]) });
      case "leave":
        // It ends by itself when it has left, is started again, and asks to be taken in.
        return this.#change({ type: "leave", name: host.name });
    }
  }

  #move(): void {
    if (!this.#submitting) return;
    const { random, agenda } = this;
    agenda.after(random.between(2_000, 8_000), () => this.#move());
    const host = random.pick(this.hosts);
    if (random.chance(0.2)) this.#change({ type: "leave", name: host.name });
    else if (random.chance(0.4)) storm(this, "drain", host);
    else this.#change({ type: "set-weight", name: host.name, weight: random.pick([50, 100, 200]) });
  }

  /** Staged and committed by way of any node. */
  #change(change: StagedChange): void {
    const asked = this.random.pick(this.hosts);
    asked.step({ type: "ask", askId: 1, request: { type: "stage", change }, deadlineMs: 3_000 });
    this.agenda.after(1_500, () =>
      asked.step({ type: "ask", askId: 2, request: { type: "commit" }, deadlineMs: 3_000 }),
    );
  }

  #heal(): void {
    this.trace("faults end");
    this.network.heal();
    this.network.reopen();
    this.store?.heal();
    this.network.weather.loss = 0;
    this.network.weather.reorderMs = 0;
    this.network.weather.duplicate = 0;
    this.network.weather.repeat = 0;
    this.network.weather.lagMs = 0;
    healDisks(this.hosts);
    this.whenAdopted = undefined;
    this.whenConsented = undefined;
    for (const host of this.hosts) {
      host.step({ type: "store-full", full: false });
      host.step({
        type: "ask",
        askId: 5,
        request: { type: "drain", name: host.name, drain: false },
        deadlineMs: 5_000,
      });
      if (host.up) continue;
      this.agenda.after(100, () => host.start({ seeds: this.seeds() }));
    }
  }

  /** After the faults everything must come to rest; how long that took. */
  #converge(from: number): number {
    for (let waited = 0; waited <= CONVERGE_MS; waited += 1_000) {
      this.agenda.runUntil(from + waited);
      if (this.#unrest() === undefined) return waited;
    }
    this.checkers.fail(`not at rest ${CONVERGE_MS / 1_000} s after the faults ended: ${this.#unrest()}`);
    return CONVERGE_MS;
  }

  /** V6: what each key's state says, from its owner. Asked again while it differs: a child may have ended just now. */
  #readCounters(ringSize: number): void {
    const asked = new Map<number, string>();
    const keys = this.checkers.keys().filter((key) => !key.startsWith(`${OPERATED_APP}/`)); // their handlers count nothing
    const wrong = new Map(keys.map((key) => [key, "nobody answers"]));
    for (const host of this.hosts) {
      host.onAnswer = (askId, answer) => {
        const key = asked.get(askId);
        if (key === undefined) return;
        const found =
          answer.type === "task" && answer.answer.type === "state"
            ? this.checkers.miscounted(key, answer.answer.values.get("count")?.[0] ?? 0)
            : `cannot be read: ${JSON.stringify(answer)}`;
        if (found === undefined) wrong.delete(key);
        else wrong.set(key, found);
      };
    }
    for (let round = 0; round < COUNTER_ROUNDS && wrong.size > 0; round++) {
      for (const key of wrong.keys()) {
        const [app, name] = key.split("/") as [AppName, string];
        const partition = partitionOfHash(hashKey(app, name), ringSize);
        const askId = 1_000_000 + asked.size;
        asked.set(askId, key);
        const request = { type: "task", partition, request: { type: "read-state", app, key: name } } as const;
        this.hosts.find((host) => host.up && !host.paused)?.step({ type: "ask", askId, request, deadlineMs: 5_000 });
      }
      this.agenda.runUntil(this.agenda.now + 5_500);
    }
    for (const [key, found] of wrong) this.checkers.fail(`V6: the state of ${key}: ${found}`);
  }

  #unrest(): string | undefined {
    const documents = this.hosts.map((host) => host.machine?.document);
    const newest = documents[0];
    if (newest === undefined) return `${this.hosts[0]!.name} is down`;
    for (const [index, host] of this.hosts.entries()) {
      if (!host.up) return `${host.name} is down`;
      if (documents[index]?.epoch !== newest.epoch)
        return `${host.name} knows epoch ${documents[index]?.epoch}, ${this.hosts[0]!.name} ${newest.epoch}`;
    }
    if (newest.members.some((member) => member.status !== "valid"))
      return newest.members.map((member) => `${member.name} ${member.status}`).join(", ");
    if (newest.stranded.length > 0)
      return `${newest.stranded.length} stranded, first ${JSON.stringify(newest.stranded[0])}`;
    if (newest.next.some((next) => next !== undefined))
      return `transfers: ${JSON.stringify(this.hosts.map((host) => host.machine?.transfers().map((view) => `${view.partition} ${view.phase} ${view.reason}`)))}`;
    for (const host of this.hosts) {
      const owned = newest.owners.filter((owner) => owner === host.name).length;
      if (host.partitionsActive().length !== owned)
        return `${host.name} serves ${host.partitionsActive().length} of ${owned}`;
    }
    const missing = this.#busyKeys.size;
    if (missing > 0) return `${missing} submits without an answer`;
    if (this.checkers.unfinished() > 0) return `${this.checkers.unfinished()} tasks not ended`;
    return undefined;
  }

  /** Between two storms everything settles, without any member that is still away. A decision may be on its way just now: looked at twice. */
  #settled(looks = 2): void {
    const up = this.hosts.filter((host) => host.up);
    const newest = up[0]?.machine?.document;
    const away = new Set(this.hosts.filter((host) => !host.up).map((host) => host.name));
    let unrest: string | undefined;
    if (newest === undefined || up.length <= this.hosts.length / 2) return;
    if (up.some((host) => host.upSince > this.agenda.now - SETTLE_MS / 2)) return; // one has only just come back
    for (const host of up)
      if (host.machine?.document?.epoch !== newest.epoch)
        unrest ??= `${host.name} knows another epoch than ${up[0]!.name}`;
    for (const { name, status } of newest.members)
      if (status !== "valid" && !away.has(name)) unrest ??= `${name} is ${status}`;
    for (const { partition, member } of newest.stranded)
      if (!away.has(member)) unrest ??= `tasks of partition ${partition} are stranded on ${member}`;
    const active = new Set(up.flatMap((host) => host.partitionsActive()));
    for (let partition = 0; partition < newest.ringSize; partition++) {
      if (!active.has(partition as Partition))
        unrest ??= `nobody serves partition ${partition} of ${newest.owners[partition]}`;
    }
    if (unrest === undefined) return;
    if (looks > 1) this.agenda.after(1_000, () => this.#settled(looks - 1));
    else this.checkers.fail(`not at rest ${SETTLE_MS / 1_000} s after a storm: ${unrest}`);
  }

  #sample(): void {
    this.agenda.after(50, () => this.#sample());
    const claims = new Map<number, NodeName[]>();
    for (const host of this.hosts) {
      for (const partition of host.partitionsActive()) {
        const nodes = claims.get(partition);
        if (nodes === undefined) claims.set(partition, [host.name]);
        else nodes.push(host.name);
      }
    }
    this.checkers.active(claims);
  }
}

export function simulate(options: SimulationOptions): SimulationResult {
  return new World(options).run();
}

const FAULTS = [
  "crash",
  "crash",
  "pause",
  "pause",
  "stop",
  "cut",
  "one-way",
  "loss",
  "reorder",
  "fsync",
  "weight",
  "leave",
  "leave",
] as const;
const SHARED_FAULTS = [...FAULTS, "store-cut", "store-cut", "store-away", "store-clock"] as const;
const ASKS_FROM = 2_000_000;
const COUNTER_ROUNDS = 3;
const CONVERGE_MS = 120_000;
/** Longer than anything takes that follows from a storm: its own length, a lease, a return that waits, a planned stop's grace. */
const SETTLE_MS = 90_000;
