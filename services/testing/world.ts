/** The hosts of a test's cluster, what binds them, and the way in: submits and questions that are asked again until they are answered. */

import type { Member, RingDocument } from "../../ring/document.ts";
import { type ErrorCode, RingError } from "../../ring/errors.ts";
import { foundRing } from "../../ring/founding.ts";
import { partitionOfHash } from "../../ring/hash.ts";
import type { MemberId, NodeName, Partition, RingId } from "../../ring/ids.ts";
import type { NodeAnswer } from "../../ring/node/requests.ts";
import type { TaskAnswer, TaskRequest } from "../../ring/tasks/engine-contract.ts";
import { isRefused, parseRecord } from "../../ring/tasks/record.ts";
import type { SubmitOutcome } from "../../ring/tasks/task.ts";
import type { App } from "../app.ts";
import { Catalogue } from "../apps/catalogue.ts";
import { PASSING } from "../client/passing.ts";
import { Agenda } from "./agenda.ts";
import type { Disk } from "./disk.ts";
import { Host, WALL_START } from "./host.ts";
import { Network } from "./network.ts";
import { Pump } from "./pump.ts";
import { type SeededRandom, seededRandom } from "./random.ts";
import { RunnerHandlers } from "./runner-handlers.ts";
import type { Surroundings } from "./surroundings.ts";

export interface WorldOptions {
  readonly apps: readonly App[];
  readonly seed: number;
  readonly nodes: number;
  readonly ringSize: number;
  readonly apart: boolean;
}

export class TestWorld implements Surroundings {
  readonly chunkRows = 250;
  readonly handoffs = undefined;
  readonly agenda: Agenda = new Agenda();
  readonly random: SeededRandom;
  readonly network: Network;
  readonly hosts: readonly Host[];
  readonly pump: Pump;
  readonly #options: WorldOptions;
  readonly #handlers = new Map<Host, RunnerHandlers>();
  readonly #outcomes = new Map<number, (outcome: SubmitOutcome) => void>();
  readonly #answers = new Map<number, (answer: NodeAnswer) => void>();
  /** Told to end, and not started again. */
  readonly #stopping = new Set<Host>();
  #count = 0;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.random = seededRandom(options.seed);
    this.network = new Network(this.agenda, this.random);
    this.pump = new Pump(this.agenda, () => [...this.#handlers.values()].some(({ busy }) => busy));
    this.hosts = Array.from({ length: options.nodes }, (_, offset) => this.#hostOf(offset + 1));
    const [first, ...others] = this.hosts as readonly [Host, ...Host[]];
    const founding = foundRing({
      ringId: "test" as RingId,
      ringSize: options.ringSize,
      member: this.#memberOf(1),
    });
    first.start({ founding, seeds: [] });
    for (const host of others) host.start({ seeds: [first.address] });
  }

  /** As the nodes' clocks have it. */
  get wallMs(): number {
    return WALL_START + this.agenda.now;
  }

  /** Throws `MEMBER_UNKNOWN`. */
  host(name: string): Host {
    const host = this.hosts.find((one) => one.name === name);
    if (host === undefined) throw new RingError("MEMBER_UNKNOWN", `there is no node ${name} in this cluster`);
    return host;
  }

  crash(name: string): void {
    const host = this.host(name);
    this.#stopping.delete(host);
    host.crash();
  }

  stop(name: string, graceMs: number): void {
    const host = this.host(name);
    if (host.up) this.#stopping.add(host);
    host.stop(graceMs);
  }

  start(name: string): void {
    const host = this.host(name);
    if (host.up && this.#stopping.has(host)) {
      // A crash before it has ended takes the start back, as it would end the process that was started.
      this.agenda.after(AGAIN_MS, () => this.#stopping.has(host) && this.start(name));
      return;
    }
    this.#stopping.delete(host);
    host.start({ seeds: this.hosts.map(({ address }) => address) });
  }

  /**
   * Resolves with the id, an earlier one's for the same idempotency key. Throws what refused it, or `DEADLINE`. `byTest`: not by a
   * handler, whose waiting lets no time pass.
   */
  submit(wire: Uint8Array, timeoutMs: number, { byTest }: { readonly byTest: boolean }): Promise<string> {
    const record = parseRecord(wire, 0, wire.length);
    if (isRefused(record)) throw new RingError(record.code, record.detail);
    const partition = partitionOfHash(record.hash, this.#options.ringSize);
    return this.#tried<SubmitOutcome, string>({
      what: `the submit of ${record.id}`,
      timeoutMs,
      byTest,
      waiting: this.#outcomes,
      ask: (token) =>
        this.#entry(partition)?.step({ type: "submit", origin: ORIGIN, tokens: [token], records: [record] }),
      refusalOf: (outcome) => (outcome.type === "refused" ? outcome : undefined),
      resultOf: (outcome) => (outcome.type === "refused" ? undefined : outcome.id),
    });
  }

  /** Throws what refused it, or `DEADLINE`. */
  ask(partition: Partition, request: TaskRequest, timeoutMs: number): Promise<Answered> {
    return this.#tried<NodeAnswer, Answered>({
      what: `the ${request.type}`,
      timeoutMs,
      byTest: true,
      waiting: this.#answers,
      ask: (askId) =>
        this.#entry(partition)?.step({
          type: "ask",
          askId,
          request: { type: "task", partition, request },
          deadlineMs: TRY_MS,
        }),
      refusalOf: (answer) => {
        if (answer.type === "refused") return answer;
        return answer.type === "task" && answer.answer.type === "refused" ? answer.answer : undefined;
      },
      resultOf: (answer) => (answer.type === "task" && answer.answer.type !== "refused" ? answer.answer : undefined),
    });
  }

  /** Of those that are known to nodes that are up. */
  newest(): RingDocument | undefined {
    let newest: RingDocument | undefined;
    for (const { machine } of this.hosts)
      if (machine?.document !== undefined && machine.document.epoch > (newest?.epoch ?? -1)) newest = machine.document;
    return newest;
  }

  /** What keeps the nodes that are up from being at rest. */
  unrest(): string | undefined {
    const document = this.newest();
    if (document === undefined) return "no node knows the ring";
    const up = this.hosts.filter((host) => host.up);
    for (const { name, machine } of up)
      if (machine?.document?.epoch !== document.epoch) return `${name} does not know the newest ring`;
    for (const { name } of up) {
      const status = document.members.find((member) => member.name === name)?.status;
      if (status !== "valid") return `${name} is ${status ?? "no member"}`;
    }
    const moving = document.next.findIndex((next) => next !== undefined);
    if (moving >= 0) return `partition ${moving} moves from ${document.owners[moving]} to ${document.next[moving]}`;
    const isUp = (name: string): boolean => up.some((host) => host.name === name);
    const stranded = document.stranded.find(({ member, where }) => isUp(member) || where.type === "adopter");
    if (stranded !== undefined) return `tasks of ${stranded.member} are stranded`;
    for (const host of up) {
      const owned = document.owners.filter((owner) => owner === host.name).length;
      const active = host.partitionsActive().length;
      if (active !== owned) return `${host.name} serves ${active} of ${owned} partitions`;
    }
    const unserved = document.owners.findIndex((owner) => owner === undefined || !isUp(owner));
    if (unserved >= 0) return `partition ${unserved} belongs to ${document.owners[unserved]}, which is down`;
    for (const { name, engine } of up)
      for (const { app, queued, children } of engine?.appViews(APPS_MOST) ?? [])
        if (queued + children > 0) return `${name} has ${queued} tasks and ${children} children of app ${app}`;
    return undefined;
  }

  close(): void {
    for (const handlers of this.#handlers.values()) handlers.over();
    this.#handlers.clear();
    this.pump.close();
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

  processOf(host: Host): ReturnType<Surroundings["processOf"]> {
    const apps = new Catalogue(this.#options.apps);
    const handlers = new RunnerHandlers({
      host,
      apps,
      wallNow: () => this.wallMs,
      submit: ({ wire }) => this.submit(wire, TIMEOUT_MS, { byTest: false }),
    });
    this.#handlers.set(host, handlers);
    return { apps, handlers };
  }

  consented(): void {}

  observe(): void {}

  outcome(_origin: number, token: number, outcome: SubmitOutcome): void {
    const told = this.#outcomes.get(token);
    this.#outcomes.delete(token);
    told?.(outcome);
  }

  #hostOf(index: number): Host {
    const host = new Host(this, { index, drift: this.random.between(-0.005, 0.005), member: this.#memberOf(index) });
    host.onAnswer = (askId, answer) => {
      const told = this.#answers.get(askId);
      this.#answers.delete(askId);
      told?.(answer);
    };
    return host;
  }

  #memberOf(index: number): Omit<Member, "status"> {
    const machine = this.#options.apart ? `m${index}` : "m1";
    return {
      name: `n${index}` as NodeName,
      id: `id-${index}` as MemberId,
      weight: 100,
      machine,
      directory: `/n${index}`,
    };
  }

  /** The owner, as a client has it; any other node forwards. */
  #entry(partition: Partition): Host | undefined {
    const up = this.hosts.filter((host) => host.up && !host.paused);
    const owner = this.newest()?.owners[partition];
    return up.find(({ name }) => name === owner) ?? (up.length === 0 ? undefined : this.random.pick(up));
  }

  #tried<Answer, Result>(options: {
    readonly what: string;
    readonly timeoutMs: number;
    readonly byTest: boolean;
    readonly waiting: Map<number, (answer: Answer) => void>;
    readonly ask: (number: number) => void;
    readonly refusalOf: (answer: Answer) => Refusal | undefined;
    readonly resultOf: (answer: Answer) => Result | undefined;
  }): Promise<Result> {
    const { what, timeoutMs, byTest, waiting, ask, refusalOf, resultOf } = options;
    const begin = (done: (result: Result) => void, failed: (error: RingError) => void): void => {
      const { agenda } = this;
      const end = agenda.now + timeoutMs;
      let last: RingError | undefined;
      const again = (): void => {
        if (agenda.now < end) attempt();
        else failed(last ?? new RingError("DEADLINE", `${what} has no answer after ${timeoutMs} ms`));
      };
      const attempt = (): void => {
        const number = ++this.#count;
        waiting.set(number, (answer) => {
          const refusal = refusalOf(answer);
          const result = resultOf(answer);
          if (result !== undefined) return done(result);
          const error = new RingError(refusal?.code ?? "INTERNAL", refusal?.detail ?? `${what} has another answer`);
          if (!PASSING.has(error.code)) return failed(error);
          last = error;
          agenda.at(Math.min(end, agenda.now + (refusal?.retryAfterMs ?? AGAIN_MS)), again);
        });
        ask(number);
        // The end of a try, and of no more: what was answered is let go after it, however long it might have taken.
        agenda.at(Math.min(end, agenda.now + TRY_MS + AGAIN_MS), () => {
          if (waiting.delete(number)) again();
        });
      };
      attempt();
    };
    return this.pump.wait<Result>(begin, { passes: byTest });
  }
}

type Answered = Exclude<TaskAnswer, { readonly type: "refused" }>;

interface Refusal {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly retryAfterMs?: number;
}

const ORIGIN = 1;
const TIMEOUT_MS = 60_000;
/** Of one try: a node that is asked may die. */
const TRY_MS = 5_000;
const AGAIN_MS = 200;
const APPS_MOST = 10_000;
