/**
 * Random runs of one key against a model of promise P3: tasks start in the order in which they became runnable, delayed ones when
 * they were due, retried dead letters when that was asked for; whatever the partition goes through meanwhile: held and released,
 * paused and resumed, restarted, handed to a next owner, nobody's for a while.
 */

import { expect, test } from "vitest";
import type { AppName, Partition } from "../../ring/ids.ts";
import type { Attempt } from "../../ring/tasks/task.ts";
import { partitionOf, World } from "./task-world.ts";

const SEEDS = 300;
const FROM: number = Number(process.env.SEED ?? 1);
const STEPS = 60;
const A = "a" as AppName;

test("P3: tasks of a key start in the order in which they became runnable, also when they are delayed", () => {
  let starts = 0;
  for (let seed = FROM; seed < FROM + SEEDS; seed++) starts += new Key(seed).run();
  expect(starts).toBeGreaterThan(SEEDS * 5);
});

class Key {
  readonly #seed: number;
  readonly #world: World;
  readonly #partition: Partition;
  /** Ids of those that may run, the head first, and of those that are not due yet. */
  #runnable: string[] = [];
  readonly #dueAt = new Map<string, number>();
  readonly #dead: string[] = [];
  readonly #log: string[] = [];
  #running: Attempt | undefined;
  #isHeld = false;
  #starts = 0;

  constructor(seed: number) {
    this.#seed = seed;
    this.#world = new World({ seed, callsPerGroup: [1, 3, 9][seed % 3]! });
    this.#partition = partitionOf(this.#world.record({ app: A, type: "work", key: "k" }).hash);
    this.#world.onStart = (attempt) => this.#started(attempt);
  }

  run(): number {
    for (let step = 0; step < STEPS; step++) this.#step(this.#pick(100));
    return this.#starts;
  }

  #step(dice: number): void {
    const world = this.#world;
    if (dice < 30) this.#submit();
    else if (dice < 55) this.#end();
    else if (dice < 75) this.#advance(world.now + this.#pick(120));
    else if (dice < 82) this.#hold(true);
    else if (dice < 90) this.#hold(false);
    else if (dice < 94) this.#restart();
    else if (this.#isHeld)
      return; // it is not asked for anything then
    else if (dice < 97) this.#retry();
    else world.ask(A, "k", { type: "key", app: A, key: "k", action: this.#pick(2) === 0 ? "pause" : "resume" });
  }

  #submit(): void {
    if (this.#isHeld) return;
    const world = this.#world;
    let delayMs = this.#pick(3) === 0 ? 0 : 10 + this.#pick(300);
    while ([...this.#dueAt.values()].includes(world.now + delayMs)) delayMs++;
    const record = world.record({ app: A, type: "work", key: "k", delayMs, maxAttempts: 2 });
    this.#say("submit", record.id, `${delayMs} ms`);
    if (delayMs === 0) this.#runnable.push(record.id);
    else this.#dueAt.set(record.id, world.now + delayMs);
    world.submit(record);
    if (delayMs > 0 || this.#pick(2) === 0) world.sync();
  }

  #end(): void {
    const attempt = this.#running;
    if (attempt === undefined) return;
    this.#running = undefined;
    const { id } = attempt.record;
    const isFailure = this.#pick(4) === 0;
    this.#say(isFailure ? "fail" : "done", id);
    if (!isFailure || attempt.attempt === 2) this.#runnable.shift();
    if (isFailure && attempt.attempt === 2) this.#dead.push(id);
    if (isFailure) this.#world.fail(attempt);
    else this.#world.done(attempt);
    this.#world.sync();
  }

  #advance(until: number): void {
    const world = this.#world;
    this.#say("advance", undefined, `to ${until}`);
    do {
      const next = Math.min(until, world.engine.nextDeadline() ?? until, ...this.#dueAt.values());
      this.#pass(Math.max(0, next - world.now));
      world.advance(0);
      if (this.#pick(3) === 0) world.sync();
    } while (world.now < until);
  }

  #pass(ms: number): void {
    const world = this.#world;
    world.now += ms;
    world.wallMs += ms;
    const due = [...this.#dueAt].filter(([, at]) => at <= world.now).sort(([, a], [, b]) => a - b);
    for (const [id] of due) {
      this.#dueAt.delete(id);
      this.#runnable.push(id);
      this.#say("due", id);
    }
  }

  #hold(isHeld: boolean): void {
    if (this.#isHeld === isHeld) return;
    this.#say(isHeld ? "hold" : "release");
    this.#isHeld = isHeld;
    this.#world.call((engine) =>
      isHeld ? engine.hold(this.#world.now, this.#partition) : engine.release(this.#world.now, this.#partition),
    );
  }

  /** Here, or at the next owner; at once, or after a while. */
  #restart(): void {
    const world = this.#world;
    world.sync();
    this.#say("restart");
    this.#isHeld = false;
    this.#running = undefined;
    if (this.#pick(2) === 0) world.generation++;
    this.#pass(this.#pick(3) === 0 ? this.#pick(200) : 0);
    world.crash();
    world.advance(0);
    world.sync();
  }

  #retry(): void {
    const id = this.#dead.shift();
    if (id === undefined) return;
    this.#world.sync();
    this.#say("retry", id);
    this.#runnable.push(id);
    expect(this.#world.ask(A, "k", { type: "retry-dead", ids: [id] })).toEqual({ type: "count", count: 1 });
  }

  #started(attempt: Attempt): void {
    const { id } = attempt.record;
    this.#starts++;
    this.#say("start", id);
    const head = this.#runnable[0];
    if (this.#running !== undefined || this.#isHeld || head !== id)
      throw new Error(
        `seed ${this.#seed}: ${id} started${this.#isHeld ? " while held" : ""}; first ${head}\n${this.#log.join("\n")}`,
      );
    this.#running = attempt;
  }

  #say(what: string, id = "", more = ""): void {
    this.#log.push(`${this.#world.now} ${what} ${id} ${more}`);
  }

  #pick(count: number): number {
    return Math.floor(this.#world.random() * count);
  }
}
