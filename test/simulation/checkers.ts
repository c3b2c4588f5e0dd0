/**
 * Checkers of a simulated run: each states one invariant over the facts it is told, apart from the workload.
 *
 * Each has been seen to fail; which fault does it stands in `test/mutants/`.
 * V1  One document per (history, epoch) (P7).
 * V2  A partition is active on one node at a time (P3, leases).
 * V3  Tasks of a key first start in the order of acceptance, and one at a time (P3). An attempt of a process that died or
 *     was paused past its lease is over for this check.
 * V4  Fences rise strictly with the attempts of a key (P2).
 * V5  No acknowledged task is lost; children run once each (P1).
 * V6  A key's counter in `ctx.state` equals the number of its tasks that ended: state is neither lost nor applied twice (P1, P2).
 */

import type { RingDocument } from "../../ring/document.ts";
import type { NodeName } from "../../ring/ids.ts";
import { checkSuccessor } from "../../ring/successor.ts";
import type { Fact } from "../../services/testing/surroundings.ts";

interface Running {
  readonly node: NodeName;
  readonly life: number;
  readonly attemptId: number;
  readonly task: string;
  readonly since: number;
}

export class Checkers {
  readonly violations: string[] = [];
  readonly #now: () => number;
  readonly #trace: (line: string) => void;
  readonly #documents = new Map<string, RingDocument>();
  readonly #texts = new Map<string, string>();
  /** The newest attempt of each key. */
  readonly #running = new Map<string, Running>();
  /** Tasks of attempts that have not ended, those included whose node slept while another took the key over. */
  readonly #attempts = new Map<string, { readonly key: string; readonly task: string }>();
  readonly #fences = new Map<string, bigint>();
  /** Acceptance order by key: ids. */
  readonly #accepted = new Map<string, string[]>();
  readonly #started = new Map<string, string[]>();
  readonly #firstStarts = new Set<string>();
  readonly #stranded = new Set<string>();
  readonly #endedByKey = new Map<string, Set<string>>();
  readonly ended: Map<string, number> = new Map();
  readonly paused: (node: NodeName) => boolean;
  readonly #sharedStore: boolean;
  attempts = 0;
  replays = 0;
  /** Attempts of tasks that had ended well before: only a crash or a pause explains them (P2). */
  reruns = 0;

  constructor(options: {
    now: () => number;
    trace: (line: string) => void;
    paused: (node: NodeName) => boolean;
    sharedStore?: boolean;
  }) {
    this.#sharedStore = options.sharedStore ?? false;
    this.#now = options.now;
    this.#trace = options.trace;
    this.paused = options.paused;
  }

  observe(fact: Fact): void {
    switch (fact.type) {
      case "document":
        return this.#document(fact.node, fact.document);
      case "attempt-start":
        return this.#start(fact);
      case "attempt-end":
        this.#end(fact);
        return;
      case "life-over":
        for (const [key, running] of this.#running)
          if (running.node === fact.node && running.life === fact.life) this.#running.delete(key);
        for (const attempt of this.#attempts.keys())
          if (attempt.startsWith(`${fact.node} ${fact.life} `)) this.#attempts.delete(attempt);
        return;
      case "note":
        this.#trace(`${fact.node} ${fact.what} ${fact.detail}`);
        if (NEVER.has(fact.what) && !(this.#sharedStore && fact.what === "fenced"))
          this.fail(`${fact.node}: ${fact.what} ${fact.detail}`);
        return;
    }
  }

  accepted(key: string, id: string): void {
    const order = this.#accepted.get(key);
    if (order === undefined) this.#accepted.set(key, [id]);
    else order.push(id);
  }

  /** V2; called often. */
  active(claims: ReadonlyMap<number, NodeName[]>): void {
    for (const [partition, nodes] of claims)
      if (nodes.length > 1) this.fail(`V2: partition ${partition} is active on ${nodes.join(" and ")}`);
  }

  fail(what: string): void {
    if (this.violations.length < 20) this.violations.push(`${(this.#now() / 1_000).toFixed(3)} s: ${what}`);
  }

  #document(node: NodeName, document: RingDocument): void {
    const version = `${document.history}.${document.epoch}`;
    const known = this.#documents.get(version);
    this.#trace(`${node} learns ${version}`);
    if (known === document) return;
    const text = JSON.stringify(document);
    if (known === undefined) {
      this.#documents.set(version, document);
      this.#texts.set(version, text);
      const previous = this.#documents.get(`${document.history}.${document.epoch - 1}`);
      const wrong =
        previous === undefined ? [] : checkSuccessor(previous, document, { sharedStore: this.#sharedStore });
      if (wrong.length > 0) this.fail(`V1: epoch ${version} does not follow: ${wrong.join("; ")}`);
      for (const entry of document.stranded) if (entry.where.type === "away") this.#stranded.add(`${entry.partition}`);
    } else if (this.#texts.get(version) !== text) this.fail(`V1: two documents for epoch ${version}`);
  }

  #end(fact: Extract<Fact, { type: "attempt-end" }>): void {
    for (const [key, running] of this.#running) {
      if (running.node === fact.node && running.life === fact.life && running.attemptId === fact.attemptId)
        this.#running.delete(key);
    }
    const name = attemptName(fact.node, fact.life, fact.attemptId);
    const ended = this.#attempts.get(name);
    this.#attempts.delete(name);
    if (ended === undefined || !fact.done) return;
    this.ended.set(ended.task, (this.ended.get(ended.task) ?? 0) + 1);
    const tasks = this.#endedByKey.get(ended.key);
    if (tasks === undefined) this.#endedByKey.set(ended.key, new Set([ended.task]));
    else tasks.add(ended.task);
  }

  #start(fact: Extract<Fact, { type: "attempt-start" }>): void {
    const { attempt, node, life } = fact;
    if (attempt.resident !== undefined) return;
    this.attempts++;
    const { record } = attempt;
    const key = `${record.app}/${record.key}`;
    this.#trace(`${node} starts ${record.id} of ${key} fence ${attempt.fence}`);
    const other = this.#running.get(key);
    if (other !== undefined && !this.paused(other.node) && this.#now() - other.since < HANDLER_MOST_MS) {
      this.fail(`V3: ${record.id} of ${key} starts on ${node} while ${other.task} runs on ${other.node}`);
    }
    this.#attempts.set(attemptName(fact.node, life, attempt.attemptId), { key, task: record.id });
    this.#running.set(key, { node, life, attemptId: attempt.attemptId, task: record.id, since: this.#now() });
    const fence = this.#fences.get(key);
    if (fence !== undefined && attempt.fence <= fence) this.fail(`V4: fence ${attempt.fence} of ${key} after ${fence}`);
    this.#fences.set(key, attempt.fence);
    if (this.ended.has(record.id)) this.reruns++;
    if (this.#firstStarts.has(record.id)) {
      this.replays++;
      return;
    }
    this.#firstStarts.add(record.id);
    const started = this.#started.get(key);
    if (started === undefined) this.#started.set(key, [record.id]);
    else started.push(record.id);
  }

  /** At the end: order, loss, children. `awayPartitions`: of keys whose tasks re-entered behind newer ones (P3). */
  finish(options: { partitionOf: (key: string) => number }): void {
    for (const [key, accepted] of this.#accepted) {
      const lost = accepted.filter((id) => !this.ended.has(id));
      if (lost.length > 0) this.fail(`V5: ${lost.length} acknowledged tasks of ${key} never ended, first ${lost[0]}`);
      if (this.#stranded.has(`${options.partitionOf(key)}`) && !this.#ordered(accepted, key)) continue;
      if (!this.#ordered(accepted, key)) this.fail(`V3: tasks of ${key} did not start in the order of acceptance`);
    }
  }

  /** Keys of which any task ended. */
  keys(): readonly string[] {
    return [...this.#endedByKey.keys()];
  }

  /** V6: what is wrong with this count of a key. */
  miscounted(key: string, count: number): string | undefined {
    const ended = this.#endedByKey.get(key)?.size ?? 0;
    return count === ended % 256 ? undefined : `its counter says ${count} after ${ended} tasks`;
  }

  /** Acknowledged tasks that have not ended well yet. */
  unfinished(): number {
    let count = 0;
    for (const accepted of this.#accepted.values()) for (const id of accepted) if (!this.ended.has(id)) count++;
    return count;
  }

  #ordered(accepted: readonly string[], key: string): boolean {
    const rank = new Map(accepted.map((id, index) => [id, index]));
    let last = -1;
    for (const id of this.#started.get(key) ?? []) {
      const index = rank.get(id);
      if (index === undefined) continue;
      if (index < last) return false;
      last = index;
    }
    return true;
  }
}

function attemptName(node: NodeName, life: number, attemptId: number): string {
  return `${node} ${life} ${attemptId}`;
}

/** Notes that only a fault in the code explains. */
const NEVER: ReadonlySet<string> = new Set(["transfer-mismatch", "unreadable-rows", "fenced"]);
/** Longer than any simulated handler. */
const HANDLER_MOST_MS = 25;
