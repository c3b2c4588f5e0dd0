/**
 * Residents: long-lived per-app workers, each at the owner of (app, its name), started again with exponential delay when they end.
 *
 * They have no lane and no rows: what is declared and who owns the partition decide that they run.
 * N1  A resident starts only where tasks may start, and is aborted when its partition is held or closed; it counts until it settles.
 */

import type { AppName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { Core } from "./core.ts";
import type { DeclaredResident } from "./declared.ts";
import type { Vnode, Wake, Wakes } from "./model.ts";
import { isRefused, parseRecord } from "./record.ts";
import { encodeRecord } from "./record-encode.ts";
import { RunningAttempt } from "./running-attempt.ts";
import type { AbortReason, TaskRecord } from "./task.ts";
import { deriveId } from "./task-id.ts";
import type { Timer } from "./timers.ts";

interface Resident extends Wakes {
  readonly declared: DeclaredResident;
  readonly vnode: Vnode;
  readonly record: TaskRecord;
  attempt: RunningAttempt | undefined;
  timer: Timer<Wake> | undefined;
  failures: number;
}

export class Residents {
  readonly #core: Core;
  readonly #residents: Map<DeclaredResident, Resident> = new Map();
  /** The same: a change of one app is no matter of those of ten thousand others. */
  readonly #byApp: Map<AppName, Set<Resident>> = new Map();
  readonly #byAttempt: Map<number, Resident> = new Map();
  /** Those that have an attempt under way, also of one that is declared no longer. */
  readonly #busy: Set<string> = new Set();

  constructor(core: Core) {
    this.#core = core;
  }

  get running(): number {
    return this.#byAttempt.size;
  }

  /** The vnode serves this one from now on. */
  add(now: Instant, declared: DeclaredResident, vnode: Vnode): void {
    if (this.#residents.has(declared)) return;
    const record = recordOf(declared);
    if (record === undefined) return;
    const resident: Resident = {
      declared,
      vnode,
      record,
      attempt: undefined,
      timer: undefined,
      failures: 0,
      wake: (at): void => {
        resident.timer = undefined;
        this.#start(at, resident);
      },
    };
    this.#residents.set(declared, resident);
    const others = this.#byApp.get(declared.app);
    if (others === undefined) this.#byApp.set(declared.app, new Set([resident]));
    else others.add(resident);
    this.#start(now, resident);
  }

  /** No longer declared. */
  remove(declared: DeclaredResident): void {
    const resident = this.#residents.get(declared);
    if (resident !== undefined) this.#stop(resident, "cancelled");
  }

  /** Starts those that may start by now: starts were allowed, a partition was released, an app resumed. */
  startAll(now: Instant, residents: Iterable<Resident> = this.#residents.values()): void {
    for (const resident of residents) if (resident.timer === undefined) this.#start(now, resident);
  }

  hold(vnode: Vnode): void {
    for (const resident of this.#residents.values())
      if (resident.vnode === vnode && resident.attempt !== undefined) this.#abort(resident.attempt, "handoff");
  }

  close(now: Instant, vnode: Vnode): void {
    const wasFull = this.#byAttempt.size >= this.#core.limits.residents;
    for (const resident of this.#residents.values()) if (resident.vnode === vnode) this.#stop(resident, "handoff");
    // Also those that are declared no longer: nobody will hear of their end.
    for (const [attemptId, resident] of this.#byAttempt) {
      if (resident.vnode !== vnode || resident.attempt === undefined) continue;
      this.#byAttempt.delete(attemptId);
      this.#busy.delete(nameOf(resident));
      this.#core.running.delete(resident.attempt);
    }
    if (wasFull) this.startAll(now);
  }

  ended(now: Instant, attempt: RunningAttempt): void {
    const resident = this.#byAttempt.get(attempt.attemptId);
    if (resident === undefined) return;
    const wasFull = this.#byAttempt.size >= this.#core.limits.residents;
    this.#byAttempt.delete(attempt.attemptId);
    this.#busy.delete(nameOf(resident));
    resident.attempt = undefined;
    if (this.#residents.get(resident.declared) !== resident) {
      this.startAll(now); // one declared anew may wait for this one, or any for its place
      return;
    }
    const { baseMs, maxMs } = resident.declared.backoff;
    resident.failures =
      attempt.aborted !== undefined || now - attempt.startedAt > Math.max(maxMs, CALM_MS) ? 0 : resident.failures + 1;
    const delayMs =
      resident.failures === 0 ? baseMs : Math.min(maxMs, baseMs * 2 ** Math.min(30, resident.failures - 1));
    resident.timer = this.#core.timers.set(now + Math.round(delayMs * (0.5 + this.#core.random() / 2)), {
      type: "subject",
      subject: resident,
    });
    if (wasFull) this.startAll(now);
  }

  /** A paused or deleted app's residents stop; without a name those of every app are looked at. */
  appChanged(now: Instant, name: AppName | undefined): void {
    const residents = name === undefined ? [...this.#residents.values()] : (this.#byApp.get(name) ?? []);
    for (const resident of residents) {
      const app = this.#core.appOf(resident.declared.app);
      if ((app.paused || app.definition === undefined) && resident.attempt !== undefined)
        this.#abort(resident.attempt, "cancelled");
    }
    this.startAll(now, residents);
  }

  #start(now: Instant, resident: Resident): void {
    const core = this.#core;
    if (resident.attempt !== undefined || !core.startsAllowed || !resident.vnode.mayStart) return; // N1
    const app = core.appOf(resident.declared.app);
    if (app.paused || app.definition === undefined || this.#byAttempt.size >= core.limits.residents) return;
    if (this.#busy.has(nameOf(resident))) return;
    const attempt = new RunningAttempt(
      resident.vnode,
      core.running.nextId(),
      resident.record,
      core.moment(now),
      undefined,
      undefined,
    );
    attempt.attempt = resident.failures + 1;
    attempt.resident = resident.declared.name;
    resident.attempt = attempt;
    this.#byAttempt.set(attempt.attemptId, resident);
    this.#busy.add(nameOf(resident));
    core.running.add(attempt);
    core.output.starts.push(attempt);
  }

  #stop(resident: Resident, reason: AbortReason): void {
    const { declared } = resident;
    this.#residents.delete(declared);
    const others = this.#byApp.get(declared.app);
    if (others?.delete(resident) === true && others.size === 0) this.#byApp.delete(declared.app);
    resident.timer = this.#core.timers.remove(resident.timer);
    if (resident.attempt !== undefined) this.#abort(resident.attempt, reason);
  }

  #abort(attempt: RunningAttempt, reason: AbortReason): void {
    if (attempt.aborted !== undefined) return;
    attempt.aborted = reason;
    this.#core.output.aborts.push({ attemptId: attempt.attemptId, reason });
  }
}

function nameOf({ declared }: Resident): string {
  return `${declared.app}\0${declared.name}`;
}

/** What a resident's attempt carries as its task: app, name as type and key, an id of its own. */
function recordOf(declared: DeclaredResident): TaskRecord | undefined {
  const id = deriveId({ app: declared.app, key: declared.key, seed: `resident\0${declared.app}\0${declared.name}` });
  const wire = encodeRecord({ app: declared.app, type: declared.name, key: declared.key, id });
  const record = parseRecord(wire, 0, wire.length);
  return isRefused(record) ? undefined : record;
}

/** A resident that ran this long starts its delays from the beginning. */
const CALM_MS = 60_000;
