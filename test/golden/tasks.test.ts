/**
 * Readable transcripts of the task engine: what it puts out, call by call, in small scenarios. A change here is a change of behaviour.
 */

import { describe, expect, test } from "vitest";
import type { Attempt, AttemptEnd } from "../../ring/tasks/task.ts";
import { catalogue, taskType, World } from "../property/task-world.ts";

/** Each line: virtual ms, what happened. */
class Transcript {
  readonly world: World;
  readonly lines: string[] = [];
  readonly #names: Map<string, string> = new Map();

  constructor(world: World) {
    this.world = world;
    world.onStart = (attempt) =>
      this.say(`start ${this.name(attempt.record.id)} key=${attempt.record.key} attempt=${attempt.attempt}`);
  }

  name(id: string): string {
    return this.#names.get(id) ?? id;
  }

  say(line: string): void {
    this.lines.push(`${this.world.now - 1_000} ${line}`);
  }

  submit(
    name: string,
    key: string,
    more: { readonly type?: string; readonly delayMs?: number; readonly maxAttempts?: number } = {},
  ): void {
    const record = this.world.record({ app: "a", type: "work", key, ...more });
    this.#names.set(record.id, name);
    this.say(`submit ${name}`);
    this.world.submit(record);
    this.changes();
  }

  end(name: string, outcome: AttemptEnd["outcome"], more: Partial<AttemptEnd> = {}): void {
    const attempt = [...this.world.running.values()].find((each) => this.name(each.record.id) === name) as Attempt;
    this.say(`end ${name} ${outcome.type}`);
    this.world.end(attempt, outcome, more);
    this.changes();
  }

  sync(): void {
    this.say("sync");
    this.world.sync();
    for (const event of this.world.events.splice(0)) this.say(`told ${this.name(event.id)} ${event.outcome}`);
  }

  run(ms: number): void {
    this.world.run(ms);
    for (const { reason } of this.world.aborted.splice(0)) this.say(`abort ${reason}`);
    for (const event of this.world.events.splice(0)) this.say(`told ${this.name(event.id)} ${event.outcome}`);
  }

  changes(): void {
    const now = this.world.unsynced.filter((each) => each.group === this.world.group);
    for (const { change } of now)
      this.say(`  ${change.value === undefined ? "-" : "+"} ${KINDS[change.key[0] as number]}`);
  }
}

const KINDS: Record<number, string> = {
  16: "task",
  32: "dead",
  48: "state",
  64: "dedupe",
  80: "result",
  88: "ended",
  96: "schedule",
  112: "outbox",
  128: "paused",
};

describe("transcripts", () => {
  test("P1: a task's life: accepted, run, done with state, told when durable", () => {
    const transcript = new Transcript(new World({ seed: 1 }));
    transcript.submit("one", "k");
    transcript.submit("two", "k");
    transcript.sync();
    transcript.end(
      "one",
      { type: "done", result: Uint8Array.of(1) },
      { stateChanges: [{ name: "n", value: Uint8Array.of(1) }] },
    );
    transcript.end("two", { type: "done", result: undefined });
    transcript.sync();
    expect(transcript.lines).toMatchInlineSnapshot(`
      [
        "0 submit one",
        "0   + task",
        "0 submit two",
        "0   + task",
        "0 sync",
        "0 start one key=k attempt=1",
        "0 end one done",
        "0 start two key=k attempt=1",
        "0   + state",
        "0   - task",
        "0   + result",
        "0 end two done",
        "0   - task",
        "0   + ended",
        "0 sync",
        "0 told one done",
        "0 told two done",
      ]
    `);
  });

  test("P3: a failing head: back-off, last attempt, dead letter, the lane goes on", () => {
    const transcript = new Transcript(new World({ seed: 1 }));
    transcript.submit("bad", "k", { maxAttempts: 2 });
    transcript.submit("good", "k");
    transcript.sync();
    transcript.end("bad", { type: "failed", error: { name: "E", message: "" }, permanent: false });
    transcript.run(1_000);
    transcript.end("bad", { type: "failed", error: { name: "E", message: "" }, permanent: false });
    transcript.sync();
    expect(transcript.lines).toMatchInlineSnapshot(`
      [
        "0 submit bad",
        "0   + task",
        "0 submit good",
        "0   + task",
        "0 sync",
        "0 start bad key=k attempt=1",
        "0 end bad failed",
        "0   + task",
        "57 start bad key=k attempt=2",
        "1000 told bad retry",
        "1000 end bad failed",
        "1000 start good key=k attempt=1",
        "1000   - task",
        "1000   + dead",
        "1000 sync",
        "1000 told bad dead",
      ]
    `);
  });

  test("P3: a delayed task is given a new place when it is due", () => {
    const transcript = new Transcript(new World({ seed: 1 }));
    transcript.submit("late", "k", { delayMs: 500 });
    transcript.submit("early", "k");
    transcript.sync();
    transcript.run(500);
    transcript.end("early", { type: "done", result: undefined });
    transcript.sync();
    expect(transcript.lines).toMatchInlineSnapshot(`
      [
        "0 submit late",
        "0   + task",
        "0 submit early",
        "0   + task",
        "0 sync",
        "0 start early key=k attempt=1",
        "500 end early done",
        "500 start late key=k attempt=1",
        "500   - task",
        "500   + ended",
        "500 sync",
        "500 told early done",
      ]
    `);
  });

  test("a handler past its timeout keeps its lane until it settles", () => {
    const transcript = new Transcript(
      new World({ seed: 1, apps: catalogue({ types: [taskType("work", { timeoutMs: 1_000 })] }) }),
    );
    transcript.submit("slow", "k");
    transcript.submit("next", "k");
    transcript.sync();
    transcript.run(5_000);
    transcript.end("slow", { type: "done", result: undefined });
    transcript.run(200);
    transcript.end("slow", { type: "done", result: undefined });
    transcript.sync();
    expect(transcript.lines).toMatchInlineSnapshot(`
      [
        "0 submit slow",
        "0   + task",
        "0 submit next",
        "0   + task",
        "0 sync",
        "0 start slow key=k attempt=1",
        "5000 abort timeout",
        "5000 end slow done",
        "5000   + task",
        "5057 start slow key=k attempt=2",
        "5200 told slow retry",
        "5200 end slow done",
        "5200 start next key=k attempt=1",
        "5200   - task",
        "5200   + ended",
        "5200 sync",
        "5200 told slow done",
      ]
    `);
  });
});
