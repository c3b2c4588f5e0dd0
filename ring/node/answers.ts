/** Answers what the API, the CLI and peers ask this node, or sends the question to whoever can. */

import type { Member, RingDocument, StagedChange } from "../document.ts";
import { findMember } from "../draft.ts";
import { RingError } from "../errors.ts";
import type { NodeName, Partition } from "../ids.ts";
import { commitPlan, planOf } from "../plan.ts";
import { clearStaged, stageChange } from "../staging.ts";
import type { TaskAnswer, TaskEngineContract, TaskRequest } from "../tasks/engine-contract.ts";
import { setPlace } from "../transition.ts";
import { lackOfFailover } from "../voters.ts";
import type { Adoption } from "./adoption.ts";
import type { AppSettings } from "./app-settings.ts";
import type { AppSource } from "./app-source.ts";
import type { Asker, Asks } from "./asks.ts";
import type { Claimant } from "./claimant.ts";
import { liesIn } from "./copies.ts";
import { type Gathering, merged, straysIn } from "./gathering.ts";
import type { Here } from "./here.ts";
import type { Hosting } from "./hosting.ts";
import type { Liveness } from "./liveness.ts";
import type { Neighbours } from "./neighbours.ts";
import type { Outgoing } from "./outgoing.ts";
import type { NodeAnswer, NodeRequest, NodeStatus } from "./requests.ts";
import type { TransferLimit } from "./transfer.ts";

export interface AnswerParts {
  readonly asks: Asks;
  readonly engine: TaskEngineContract;
  readonly hosting: Hosting;
  readonly claimant: Claimant;
  readonly outgoing: Outgoing;
  readonly limit: TransferLimit;
  readonly settings: AppSettings;
  readonly apps: AppSource;
  readonly liveness: Liveness;
  readonly adoption: Adoption;
  readonly neighbours: Neighbours;
  readonly member: Omit<Member, "status">;
  readonly version: string;
  state(): NodeStatus["state"];
  leaseMs(): number | undefined;
}

export class Answers {
  readonly #here: Here;
  readonly #parts: AnswerParts;
  #requestId = 0;
  readonly #requests = new Map<
    number,
    | { readonly type: "one"; readonly askId: number; readonly partition: Partition }
    | { readonly type: "gather"; readonly gathering: Gathering }
  >();

  constructor(here: Here, parts: AnswerParts) {
    this.#here = here;
    this.#parts = parts;
  }

  ask(
    asker: Asker,
    request: NodeRequest,
    options: { readonly to: NodeName | undefined; readonly deadlineMs: number },
  ): void {
    const { asks } = this.#parts;
    const { self, document } = this.#here;
    if (options.to !== undefined && options.to !== self)
      return asks.forward(asker, options.to, request, options.deadlineMs);
    const keep = { keepStranded: this.#here.sharedStore !== true };
    try {
      switch (request.type) {
        case "task":
          return this.#task(asker, request.partition, request.request, options.deadlineMs);
        case "local-tasks":
          return this.#gather(asker, request.request);
        case "node-status":
          return asks.answer(asker, { type: "node-status", status: this.#status() });
        case "stage":
          return this.#change(asker, request, options.deadlineMs, (current) =>
            stageChange(current, this.#complete(current, request.change)),
          );
        case "clear":
          return this.#change(asker, request, options.deadlineMs, clearStaged);
        case "commit":
          return this.#change(asker, request, options.deadlineMs, (current) =>
            commitPlan(current, request.planId ?? planOf(current).id, keep),
          );
        case "admit":
          return this.#change(asker, request, options.deadlineMs, (current) => {
            const { member } = request;
            if (findMember(current, member.name)?.id === member.id) return setPlace(current, member.name, member);
            const isIt = (change: StagedChange): boolean =>
              change.type === "join" && change.member.name === member.name;
            const join = current.staged.find(isIt) ?? { type: "join", member };
            return committedAlone({ ...current, staged: current.staged.filter((change) => !isIt(change)) }, join, keep);
          });
        case "drain": {
          const { name, drain } = request;
          if (!drain && name !== self) {
            // Only the node knows the weight it was started with.
            if (asker.type !== "peer" && this.#here.linked(name))
              return asks.forward(asker, name, request, options.deadlineMs);
            throw new RingError("NO_OWNER", `${name} cannot be reached; its weight can be staged`);
          }
          const weight = drain ? 0 : this.#parts.member.weight || 100;
          return this.#change(asker, request, options.deadlineMs, (current) =>
            committedAlone(current, { type: "set-weight", name, weight }, keep),
          );
        }
        case "transfers": {
          const { outgoing, limit } = this.#parts;
          return asks.answer(asker, {
            type: "transfers",
            transfers: outgoing.views(),
            limit: limit.most("handoff", "out", document),
            paused: outgoing.paused,
          });
        }
        case "transfer-limit":
          return asks.answer(asker, this.#limitTransfers(request));
        case "app":
          return this.#parts.settings.change(asker, request, {
            document: this.#ring(),
            holdsLease: this.#holdsLease(),
            deadlineMs: options.deadlineMs,
          });
        case "list-apps":
          return asks.answer(asker, { type: "apps", apps: this.#parts.settings.views(request) });
      }
    } catch (error) {
      if (!(error instanceof RingError)) throw error;
      asks.answer(asker, refusalOf(error));
    }
    if (document === undefined) return;
  }

  /** The engine's answer to a request made here. */
  answered(requestId: number, answer: TaskAnswer): void {
    const request = this.#requests.get(requestId);
    if (request === undefined) return;
    this.#requests.delete(requestId);
    if (request.type === "one")
      return this.#parts.asks.settle(
        request.askId,
        this.#notFoundHere(request.partition, answer) ?? taskAnswer(answer),
      );
    const { gathering } = request;
    gathering.answers.push(answer);
    if (--gathering.missing > 0) return;
    const heard = gathering.answers.filter(({ type }) => type !== "refused");
    const missing = (gathering.away ?? 0) + gathering.answers.length - heard.length;
    const list = merged(heard.length === 0 ? gathering : { ...gathering, answers: heard });
    this.#parts.asks.answer(gathering.asker, { type: "task", answer: list, ...(missing === 0 ? {} : { missing }) });
  }

  #task(asker: Asker, partition: Partition, request: TaskRequest, deadlineMs: number): void {
    const { asks, hosting, engine } = this.#parts;
    const document = this.#ring();
    const owner = document.owners[partition];
    if (owner === undefined)
      throw new RingError("NO_OWNER", `partition ${partition} has no owner`, { retryAfterMs: 500 });
    if (owner !== this.#here.self) {
      if (asker.type === "peer")
        throw new RingError("NOT_OWNER", `${owner} owns partition ${partition}`, { retryAfterMs: 50 });
      return asks.forward(asker, owner, { type: "task", partition, request }, deadlineMs);
    }
    if (!hosting.loaded(partition))
      throw new RingError("NOT_OWNER", `partition ${partition} is not served yet: ${hosting.waitsFor(partition)}`, {
        retryAfterMs: 200,
      });
    // What is changed during a cut-over would stay behind (outgoing.ts, O2).
    if (!READS.has(request.type) && !hosting.serving(partition))
      throw new RingError("NOT_OWNER", `partition ${partition} is being handed over`, { retryAfterMs: 100 });
    if (!READS.has(request.type) && !this.#holdsLease()) throw noLease(partition);
    const askId = asks.expect(asker, { type: "task", partition, request }, deadlineMs);
    if (askId === undefined) return;
    const requestId = ++this.#requestId;
    this.#requests.set(requestId, { type: "one", askId, partition });
    if (this.#requests.size > REQUEST_MEMORY) this.#requests.delete(this.#requests.keys().next().value!);
    engine.request(this.#here.now, partition, request, requestId);
  }

  /** What this node does not know may be known to its successor, or lie on the disk of an earlier owner. */
  #notFoundHere(partition: Partition, answer: TaskAnswer): NodeAnswer | undefined {
    if (answer.type !== "refused" || answer.code !== "TASK_NOT_FOUND") return undefined;
    if (!this.#holdsLease()) return refusalOf(noLease(partition));
    const away = this.#here.document?.stranded.find(
      (entry) => entry.partition === partition && !liesIn(entry, this.#here),
    );
    if (away === undefined) return undefined;
    const detail = `not among the tasks here, but older ones of partition ${partition} lie on the disk of ${away.member}`;
    return { type: "refused", code: "STATE_AWAY", detail, retryAfterMs: 1_000 };
  }

  #holdsLease(): boolean {
    return (this.#parts.leaseMs() ?? 0) > 0;
  }

  #gather(asker: Asker, request: TaskRequest): void {
    const { hosting, engine, asks } = this.#parts;
    const reads = READS.has(request.type);
    if (!reads && !this.#holdsLease()) throw noLease();
    const isThere = (partition: Partition): boolean => (reads ? hosting.loaded(partition) : hosting.serving(partition));
    const partitions = [...hosting.partitions()].filter(isThere);
    const limit = "limit" in request ? request.limit : LIST_LIMIT;
    const paged = request.type === "list-dead";
    const { self, document } = this.#here;
    const owned = document?.owners.flatMap((owner, partition) => (owner === self ? [partition as Partition] : []));
    const away = (owned ?? []).filter((partition) => !isThere(partition)).length;
    const gathering: Gathering = { asker, limit, paged, missing: partitions.length, away, answers: [] };
    if (partitions.length === 0)
      return asks.answer(asker, {
        type: "task",
        answer: nothingOf(request),
        ...(away === 0 ? {} : { missing: away }),
      });
    const requestOf = straysIn(request, document?.ringSize ?? 0);
    for (const partition of partitions) {
      const requestId = ++this.#requestId;
      this.#requests.set(requestId, { type: "gather", gathering });
      engine.request(this.#here.now, partition, requestOf(partition), requestId);
    }
  }

  /** A ring change: made by the claimant; by this node if the claimant cannot be reached. */
  #change(
    asker: Asker,
    request: NodeRequest,
    deadlineMs: number,
    apply: (document: RingDocument) => RingDocument,
  ): void {
    const { claimant, asks } = this.#parts;
    this.#ring();
    const role = claimant.role();
    if (asker.type === "local" && role !== undefined && role !== this.#here.self && this.#here.linked(role)) {
      return asks.forward(asker, role, this.#carry(request), deadlineMs);
    }
    claimant.wish(
      apply,
      (result) =>
        asks.answer(asker, result instanceof RingError ? refusalOf(result) : { type: "document", document: result }),
      deadlineMs,
    );
  }

  /** A newcomer may be known only to this node: send what it told us along. */
  #carry(request: NodeRequest): NodeRequest {
    return request.type === "stage" ? { ...request, change: this.#complete(this.#ring(), request.change) } : request;
  }

  /** `stage join NAME` names a newcomer; what its member record is, it has told its peers. */
  #complete(document: RingDocument, change: StagedChange): StagedChange {
    if (change.type !== "join" || change.member.directory !== "") return change;
    const { name } = change.member;
    const candidate = name === this.#here.self ? this.#parts.member : this.#parts.neighbours.candidates.get(name);
    if (candidate === undefined) {
      if (findMember(document, name) !== undefined)
        throw new RingError("INVALID_ARGUMENT", `${name} is a member already`);
      throw new RingError("MEMBER_UNKNOWN", `no newcomer named ${name} has contacted this node; start it with --join`);
    }
    return {
      type: "join",
      member: {
        ...candidate,
        weight: change.member.weight || candidate.weight,
        ...(change.member.zone === undefined ? {} : { zone: change.member.zone }),
      },
    };
  }

  #limitTransfers(request: Extract<NodeRequest, { type: "transfer-limit" }>): NodeAnswer {
    const { outgoing, limit } = this.#parts;
    if (request.limit !== undefined) {
      if (!Number.isInteger(request.limit) || request.limit < 1 || request.limit > 64)
        throw new RingError("INVALID_ARGUMENT", "limit is a whole number from 1 to 64");
      limit.ask(request.limit);
    }
    if (request.paused !== undefined) outgoing.paused = request.paused;
    if (request.force !== undefined && !outgoing.force(request.force))
      throw new RingError("NOT_FOUND", `no transfer of partition ${request.force} waits for handlers here`);
    outgoing.pump();
    return { type: "ok" };
  }

  #status(): NodeStatus {
    const { hosting, engine, adoption, apps, member, version } = this.#parts;
    const document = this.#here.document;
    const partitions = [...hosting.partitions()].flatMap((partition) => engine.view(partition) ?? []);
    const leaseMs = this.#parts.leaseMs();
    const held = new Set(adoption.holding());
    return {
      name: member.name,
      version,
      state: this.#parts.state(),
      epoch: document?.epoch ?? 0,
      history: document?.history ?? 0,
      ...(leaseMs === undefined ? {} : { leaseMs }),
      partitions,
      queued: partitions.reduce((sum, view) => sum + view.queued + view.delayed, 0),
      running: partitions.reduce((sum, view) => sum + view.running, 0),
      dead: partitions.reduce((sum, view) => sum + view.dead, 0),
      children: engine.stats().outbox,
      stranded: (document?.stranded ?? []).map((entry) => {
        const rows = this.#parts.neighbours.loads.of(entry.member, entry.partition);
        const where = held.has(entry.member) ? ("adopter" as const) : entry.where.type;
        return { member: entry.member, partition: entry.partition, where, ...(rows === undefined ? {} : { rows }) };
      }),
      apps: apps.presence(),
      warnings: document === undefined ? [] : this.#warnings(document),
      store: { rows: 0, bytes: 0, commits: 0, syncs: 0, quarantined: 0 },
      adopting: adoption.holding(),
    };
  }

  #warnings(document: RingDocument): { code: string; detail: string }[] {
    const warnings: { code: string; detail: string }[] = [];
    const live = new Set(
      document.members.map((member) => member.name).filter((name) => this.#parts.liveness.live(this.#here.now, name)),
    );
    const lack = lackOfFailover(document, live, { sharedStore: this.#here.sharedStore === true });
    if (lack !== undefined) warnings.push({ code: "NO_FAILOVER", detail: lack });
    const away = document.stranded.filter((entry) => entry.where.type === "away");
    for (const name of new Set(away.map((entry) => entry.member)))
      warnings.push({
        code: "STATE_AWAY",
        detail: `${name} is away with the tasks and state of ${away.filter((entry) => entry.member === name).length} partitions`,
      });
    const { count, first } = this.#parts.engine.asideKeys();
    if (first !== undefined)
      warnings.push({
        code: "STATE_ASIDE",
        detail: `state of ${count} keys that came back too late is kept aside, such as of key ${first.key} of ${first.app}: look at it with \`ringctl key aside\``,
      });
    return [...warnings, ...this.#parts.adoption.warnings()];
  }

  #ring(): RingDocument {
    const { document } = this.#here;
    if (document === undefined)
      throw new RingError("NO_OWNER", "this node is not part of a ring yet", { retryAfterMs: 500 });
    return document;
  }
}

/** The document with this change committed; what else is staged stays so. */
function committedAlone(
  document: RingDocument,
  change: StagedChange,
  keep: { readonly keepStranded: boolean },
): RingDocument {
  const alone = stageChange({ ...document, staged: [] }, change);
  return { ...commitPlan(alone, planOf(alone).id, keep), staged: document.staged };
}

function noLease(partition?: Partition): RingError {
  const what = partition === undefined ? "any partition" : `partition ${partition}`;
  return new RingError("NO_LEASE", `this node may not own ${what} any more`, { retryAfterMs: 500 });
}

function nothingOf({ type }: TaskRequest): TaskAnswer {
  if (type === "list-schedules") return { type: "schedules", schedules: [] };
  return READS.has(type) ? { type: "tasks", statuses: [] } : { type: "count", count: 0 };
}

function taskAnswer(answer: TaskAnswer): NodeAnswer {
  return answer.type === "refused" ? answer : { type: "task", answer };
}

function refusalOf(error: RingError): NodeAnswer {
  return {
    type: "refused",
    code: error.code,
    detail: error.message,
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
  };
}

const READS: ReadonlySet<TaskRequest["type"]> = new Set([
  "get",
  "wait",
  "list",
  "list-dead",
  "list-schedules",
  "read-state",
]);
const LIST_LIMIT = 1_000;
/** `Wait` requests of this node that the engine has not answered, at most; the oldest are forgotten (they time out). */
const REQUEST_MEMORY = 50_000;
