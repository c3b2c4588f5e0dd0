/**
 * The apps that have something to start, in turn: the ring that deficit round robin goes around.
 */

import type { Instant } from "../machine.ts";
import type { Core } from "./core.ts";
import { Fifo } from "./fifo.ts";
import { holdsBack } from "./hold-back.ts";
import type { AppRun, Lane, TypeRun } from "./model.ts";

export class AppRing {
  readonly #core: Core;
  readonly #ring: Fifo<AppRun> = new Fifo();
  /** Out of the ring while their children hold them back; they count as listed. */
  readonly #aside: Fifo<AppRun> = new Fifo();

  constructor(core: Core) {
    this.#core = core;
  }

  /** The lane may start: it waits for its turn. */
  queue(lane: Lane): void {
    const { app } = lane;
    app.ready.push(lane, priorityOf(lane));
    if (app.ready.size > 2 * app.queued + STALE) {
      for (const dropped of app.ready.keep(isReady)) this.unpromise(dropped);
      this.wakeTypes(app);
    }
    if (!app.listed) this.enlist(app);
  }

  /** The lane waits for a slot of its head's type. */
  wait(lane: Lane, type: TypeRun): void {
    lane.phase = "type-full";
    type.waiting.push(lane, priorityOf(lane));
    if (type.waiting.size > 2 * lane.app.queued + STALE) type.waiting.keep(isTypeFull);
  }

  /** The app whose turn it is. */
  peek(): AppRun | undefined {
    return this.#ring.peek();
  }

  /** Enters the ring if it has a ready lane and may start one. */
  enlist(app: AppRun): void {
    if (app.listed || app.ready.size === 0 || !mayStart(app) || app.rateTimer !== undefined) return;
    app.listed = true;
    this.#ring.push(app);
  }

  /** Ends the turn of the app at the head. */
  rotate(): void {
    const app = this.#ring.shift();
    if (app === undefined) return;
    app.listed = false;
    app.inTurn = false;
    if (app.ready.size === 0) app.deficit = 0;
    this.enlist(app);
  }

  /** Takes the app at the head out of the ring until its children do not hold it back any more. */
  setAside(): void {
    const app = this.#ring.shift();
    if (app === undefined) return;
    app.inTurn = false;
    this.#aside.push(app);
  }

  /** Lets those back in that nothing holds back now. Of those still held, a few at a time: their children bring the next look. */
  lookAgain(): void {
    for (let held = 0, left = this.#aside.size; left > 0 && held < LOOKED_AT; left--) {
      const app = this.#aside.shift() as AppRun;
      if (holdsBack(this.#core, app)) {
        held++;
        this.#aside.push(app);
      } else {
        app.listed = false;
        this.enlist(app);
      }
    }
  }

  /** One token of the app's rate, or a timer for when there is one. */
  takeToken(now: Instant, app: AppRun): boolean {
    const { perSecond } = app.limits;
    if (perSecond <= 0) return true;
    const burst = Math.max(1, perSecond * BURST_SECONDS);
    app.tokens = Math.min(burst, app.tokens + ((now - app.tokensAt) / 1000) * perSecond);
    app.tokensAt = now;
    if (app.tokens >= 1 - TOKEN_ROUNDING) {
      app.tokens -= 1;
      return true;
    }
    app.rateTimer = this.#core.timers.set(now + Math.max(1, Math.ceil(((1 - app.tokens) / perSecond) * 1000)), {
      type: "rate",
      app,
    });
    return false;
  }

  /** A token that was taken and not used. */
  returnToken(app: AppRun): void {
    if (app.limits.perSecond > 0) app.tokens += 1;
  }

  rateDue(app: AppRun): void {
    app.rateTimer = undefined;
    this.enlist(app);
  }

  /** Its turn has come, or it has left the queue: the slot that it was woken for is anybody's. */
  unpromise(lane: Lane): TypeRun | undefined {
    const { slot } = lane;
    if (slot === undefined) return undefined;
    lane.slot = undefined;
    slot.promised--;
    return slot;
  }

  /** Slots of a type are free: lanes that waited for them are ready again. */
  wakeType(app: AppRun, type: TypeRun): void {
    for (let free = type.type.concurrency - type.running - type.promised; free > 0; ) {
      const lane = type.waiting.shift();
      if (lane === undefined) return;
      if (lane.phase !== "type-full") continue;
      lane.phase = "ready";
      lane.slot = type;
      type.promised++;
      app.ready.push(lane, priorityOf(lane));
      free--;
    }
  }

  wakeTypes(app: AppRun): void {
    for (const type of app.types.values()) if (type.waiting.size > 0) this.wakeType(app, type);
  }
}

export function mayStart(app: AppRun): boolean {
  return app.definition !== undefined && !app.paused && app.running < app.limits.running;
}

function priorityOf(lane: Lane): number {
  return lane.tasks.peek()?.record.priority ?? 0;
}

function isReady(lane: Lane): boolean {
  return lane.phase === "ready";
}

function isTypeFull(lane: Lane): boolean {
  return lane.phase === "type-full";
}

/** Entries of lanes that wait for something else by now, or are gone, beside as many as there are tasks. */
const STALE = 64;
/** A rate allows bursts of a tenth of a second. */
const BURST_SECONDS = 0.1;
const TOKEN_ROUNDING = 1e-9;
/** Apps looked at in one step and found still held back. */
const LOOKED_AT = 16;
