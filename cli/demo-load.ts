/**
 * The client of `ringctl demo`: submits numbered tasks at a steady pace and writes down each acknowledgement.
 *
 * L1  A task's number is its place among the submits of its key, so the history shows the order that was asked for.
 * L2  Work goes on for as long as the ring is changed: a reserve is kept, and when it is used up a trickle goes on beyond
 *     the number asked for.
 * L3  Never more than `PENDING_MOST` tasks without an acknowledgement: a ring that is slow slows the demo down.
 */

import { setTimeout as delay } from "node:timers/promises";
import { RingError } from "../ring/errors.ts";
import type { RingClient } from "../services/client/ring-client.ts";
import { monotonicNow } from "../services/history/line.ts";
import type { HistoryWriter } from "../services/history/writer.ts";

export interface LoadOptions {
  readonly client: RingClient;
  readonly writer: HistoryWriter;
  /** At least. */
  readonly tasks: number;
  readonly perSecond: number;
  readonly signal: AbortSignal;
}

export interface AnswerTimes {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly worstMs: number;
}

/** Keys of the notifier. */
export function devices(): readonly string[] {
  return Array.from({ length: DEVICES }, (_, index) => deviceAt(index));
}

export class Load {
  readonly #ended: Promise<void>;
  readonly #options: LoadOptions;
  /** Submits by app and key. */
  readonly #numbers = new Map<string, number>();
  readonly #acceptedByProfile = new Map<string, number>();
  readonly #answerMs: number[] = [];
  readonly #refusals = new Map<string, number>();
  #submitted = 0;
  #accepted = 0;
  #answered = 0;
  #last = false;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#ended = this.#run();
    this.#ended.catch(() => {}); // Whoever awaits `finish` hears of it.
  }

  get submitted(): number {
    return this.#submitted;
  }

  get accepted(): number {
    return this.#accepted;
  }

  /** By error code. */
  get refusals(): ReadonlyMap<string, number> {
    return this.#refusals;
  }

  /** How many touches of each session were acknowledged. */
  get acceptedByProfile(): ReadonlyMap<string, number> {
    return this.#acceptedByProfile;
  }

  /** From submit to acknowledgement, in ms. */
  answerTimes(): AnswerTimes {
    const sorted = Float64Array.from(this.#answerMs).sort();
    const at = (share: number): number => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
    return { p50Ms: at(0.5), p99Ms: at(0.99), worstMs: at(1) };
  }

  /** Notifies these devices many times at once, slowly, so that tasks queue up; resolves when half are acknowledged. */
  async flood(devices: readonly string[]): Promise<void> {
    const { signal } = this.#options;
    let answered = 0;
    for (let times = 0; times < FLOOD_TASKS; times += 1) {
      for (const key of devices)
        void this.#submit({ app: "notifier", type: "notify", key, tookMs: FLOOD_MS }).then(() => {
          answered += 1;
        });
    }
    while (answered < (devices.length * FLOOD_TASKS) / 2) {
      signal.throwIfAborted();
      await delay(TICK_MS);
    }
  }

  /** No more than asked for from now on; resolves when every task has its answer. */
  async finish(): Promise<void> {
    this.#last = true;
    await this.#ended;
  }

  async #run(): Promise<void> {
    const { tasks, signal } = this.#options;
    let credit = 0;
    let last = performance.now();
    while (!this.#last || this.#answered < Math.max(tasks, this.#submitted)) {
      await delay(TICK_MS);
      signal.throwIfAborted();
      const now = performance.now();
      // What could not be submitted while the ring was slow is not made up for: the pace goes on from here.
      const perSecond = this.#pace();
      credit = Math.min(credit + (perSecond * (now - last)) / 1_000, perSecond / 4);
      last = now;
      const pending = PENDING_MOST - (this.#submitted - this.#answered); // L3
      const most = this.#last ? Math.min(pending, tasks - this.#submitted) : pending;
      const due = Math.max(0, Math.min(Math.floor(credit), most));
      credit -= due;
      for (let count = 0; count < due; count += 1) void this.#submit(taskAt(this.#submitted));
    }
  }

  /** L2 */
  #pace(): number {
    const { tasks, perSecond } = this.#options;
    return this.#last || this.#submitted < tasks * (1 - RESERVE) ? perSecond : perSecond * TRICKLE;
  }

  #submit({ app, type, key, tookMs }: LoadTask): Promise<void> {
    const { client, writer } = this.#options;
    this.#submitted += 1;
    const lane = `${app}/${key}`;
    const seq = this.#numbers.get(lane) ?? 0;
    this.#numbers.set(lane, seq + 1); // L1
    const begun = performance.now();
    const submitted = monotonicNow();
    const payload = tookMs === undefined ? { seq } : { seq, tookMs };
    return client.submit({ app, type, key, payload }).then(
      ({ taskId }) => {
        this.#answered += 1;
        this.#accepted += 1;
        this.#answerMs.push(performance.now() - begun);
        writer.accepted({ id: taskId, app, key, submitted, seq });
        if (app === "auth") this.#acceptedByProfile.set(key, (this.#acceptedByProfile.get(key) ?? 0) + 1);
      },
      (error: unknown) => {
        this.#answered += 1;
        const code = error instanceof RingError ? error.code : "INTERNAL";
        this.#refusals.set(code, (this.#refusals.get(code) ?? 0) + 1);
      },
    );
  }
}

interface LoadTask {
  readonly app: string;
  readonly type: string;
  readonly key: string;
  readonly tookMs?: number;
}

/** Three of five touch a session, two of five notify a device; some keys are busier than others. */
function taskAt(index: number): LoadTask {
  const draw = Math.random() ** 1.3;
  if (index % 5 < 3) return { app: "auth", type: "session.touch", key: `profile-${Math.floor(draw * PROFILES)}` };
  return { app: "notifier", type: "notify", key: deviceAt(Math.floor(draw * DEVICES)) };
}

function deviceAt(index: number): string {
  return `device-${index}`;
}

const FLOOD_TASKS = 12;
const FLOOD_MS = 40;
const TICK_MS = 10;
const PENDING_MOST = 10_000;
const RESERVE = 0.25;
const TRICKLE = 0.1;
const PROFILES = 1_000;
const DEVICES = 500;
