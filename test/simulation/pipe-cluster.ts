/**
 * Pipelines over some nodes in virtual time, from one seed: messages are late, links break and lose what is under way, nodes
 * die, join, leave and come back, handlers and the reader are slow.
 *
 * Checkers:
 * X1  the run reports; if it says done, every input has an output or a recorded failure, and all that was accepted is
 *     acknowledged;
 * X2  no more duplicates than inputs sent again; none without a loss;
 * X3  no queue is above its limit;
 * X4  a keyed sum is exact, or the run has failed; with checkpoints it does not fail, and is exact if no fitting before it was
 *     lost, else more by no more than was sent again;
 * X5  afterwards nothing remains on any node;
 * X6  what one sender gives for one key is begun in that order, unless it was sent again.
 */

import { type Fitting, fitting, type Pipeline, pipeline } from "../../pipe/fitting.ts";
import type { Home } from "../../pipe/home.ts";
import { PipeNode } from "../../pipe/node.ts";
import { byKey, follow } from "../../pipe/partition.ts";
import type { Report } from "../../pipe/views.ts";
import type { NodeName } from "../../ring/ids.ts";
import { Agenda } from "../../services/testing/agenda.ts";
import { type SeededRandom, seededRandom } from "../../services/testing/random.ts";

export type Scenario =
  | "calm"
  | "join"
  | "leave"
  | "cuts"
  | "kill"
  | "restart"
  | "coordinator-dies"
  | "mixed"
  | "join-at-end"
  | "kill-at-end";

export interface Verdict {
  readonly report: Report | undefined;
  readonly problems: readonly string[];
}

interface Node {
  readonly name: NodeName;
  machine: PipeNode;
  up: boolean;
  /** Raised with each process. */
  life: number;
  pumping: boolean;
  timerAt: number;
}

/** `kept`: a sum with checkpoints, of the client's inputs; `kept-second`: of another fitting's outputs. */
export type Kind = "pass" | "sum" | "kept" | "kept-second";

export function simulate(seed: number, scenario: Scenario, kind: Kind = "pass"): Verdict {
  return new World(seed, scenario, kind).run();
}

class World {
  readonly #random: SeededRandom;
  readonly #agenda = new Agenda();
  readonly #scenario: Scenario;
  readonly #kind: Kind;
  readonly #begun = new Map<number, number>();
  #outOfOrder = 0;
  readonly #nodes = new Map<string, Node>();
  readonly #cut = new Set<string>();
  readonly #arrival = new Map<string, number>();
  readonly #problems: string[] = [];
  readonly #pipeline: Pipeline;
  readonly #seen = new Map<number, number>();
  readonly #inputs: number;
  readonly #window: number;
  readonly #windowCharacters: number | undefined;
  #sums = new Map<number, number>();
  /** Sums that came twice. */
  #again = 0;
  #epoch = 1;
  #owners: string[] = [];
  #alive = new Set<string>();
  #session = 0;
  #report: Report | undefined = undefined;
  #reportedAt = 0;
  #stopReadingUntil = 0;

  constructor(seed: number, scenario: Scenario, kind: Kind) {
    this.#random = seededRandom(seed);
    this.#scenario = scenario;
    this.#kind = kind;
    this.#window = this.#random.pick([1, 8, 64, 4_096]);
    this.#windowCharacters = [1, 500, undefined][seed % 3];
    this.#inputs = 200 + this.#random.below(1_500);
    this.#pipeline = kind === "pass" ? this.#passLine() : this.#sumLine();
  }

  run(): Verdict {
    const random = this.#random;
    for (const name of ["a", "b", "c"]) this.#start(name);
    this.#alive = new Set(["a", "b", "c"]);
    this.#owners = Array.from({ length: PARTITIONS }, (_, at) => ["a", "b", "c"][at % 3] as string);
    for (const node of this.#nodes.values()) this.#tell(node);
    const home = this.#node("a").machine.open(
      { id: `run-${this.#session}`, pipeline: this.#pipeline },
      { finished: (report) => this.#finished(report) },
    );
    this.#feed(home);
    this.#read(home);
    if (!this.#scenario.endsWith("-at-end")) this.#agenda.after(random.between(1, 40), () => this.#disturb());
    if (random.chance(0.3)) this.#stopReadingUntil = random.between(100, 3_000);
    while (this.#agenda.now < 120_000) {
      this.#agenda.runUntil(this.#agenda.now + 50);
      this.#watchQueues();
      if (this.#report !== undefined && this.#agenda.now > Math.max(20_000, this.#reportedAt + 5_000)) break;
      if (this.#scenario === "coordinator-dies" && this.#agenda.now > 30_000) break;
    }
    this.#judge(home);
    return { report: this.#report, problems: this.#problems };
  }

  #passLine(): Pipeline {
    const keys = this.#random.pick([5, 50, 1_500]);
    const first = fitting<number>({
      name: "one",
      partition: byKey((n: number) => n % keys),
      queueLimit: this.#random.pick([1, 4, 64]),
      process: (n) => {
        const before = this.#begun.get(n % keys) ?? -1;
        if (n < before) this.#outOfOrder += 1;
        this.#begun.set(n % keys, Math.max(before, n));
        return this.#random.chance(0.3) ? this.#later(n) : n;
      },
    }) as Fitting<never>;
    const slow = (name: string): Fitting<never> =>
      fitting<number>({
        name,
        partition: this.#random.chance(0.2) ? follow : byKey((n: number) => n + name.length),
        queueLimit: this.#random.pick([1, 4, 64]),
        concurrency: this.#random.pick([1, 1, 3]),
        process: (n) => {
          if (name === "five5" && isBad(n)) throw new Error("bad input");
          return this.#random.chance(0.3) ? this.#later(n) : n;
        },
      }) as Fitting<never>;
    return pipeline("line", [first, slow("three"), slow("five5")] as never);
  }

  #sumLine(): Pipeline {
    const sum = fitting<number, readonly [number, number], Map<number, number>>({
      name: "sum",
      partition: byKey((n: number) => n % 50),
      start: () => new Map(),
      ...(this.#kind === "sum" ? {} : { checkpointEvery: this.#random.pick([1, 7, 100, 5_000]) }),
      process: (n, { state }) => {
        state.set(n % 50, (state.get(n % 50) ?? 0) + n);
        return this.#random.chance(0.1) ? this.#later(undefined) : undefined;
      },
      done: ({ state }) => (this.#random.chance(0.5) ? this.#later([...state]) : [...state]),
      archive: (state) => [...state],
      absorb: (state, archived: [number, number][]) => {
        for (const [key, value] of archived) state.set(key, (state.get(key) ?? 0) + value);
        return state;
      },
    });
    const first = fitting<number>({
      name: "first",
      partition: byKey((n: number) => n),
      process: (n) => (this.#random.chance(0.3) ? this.#later(n) : n),
    });
    return pipeline("sums", (this.#kind === "kept" ? [sum] : [first, sum]) as never);
  }

  /** A promise in virtual time. */
  #later(value: unknown): PromiseLike<unknown> {
    const delay = this.#random.between(0.1, 20);
    return {
      // biome-ignore lint/suspicious/noThenProperty: it stands for a promise
      then: (resolve: ((value: never) => unknown) | null | undefined) => {
        this.#agenda.after(delay, () => void resolve?.(value as never));
        return undefined as never;
      },
    };
  }

  #feed(home: Home): void {
    const random = this.#random;
    let at = 0;
    const next = (): void => {
      if (home.run.over) return;
      if (at >= this.#inputs) {
        if (this.#scenario === "join-at-end" || this.#scenario === "kill-at-end")
          this.#agenda.after(random.between(0, 60), () => this.#disturb());
        return home.end();
      }
      const count = Math.min(this.#inputs - at, 1 + this.#random.below(100));
      const values = Array.from({ length: count }, (_, index) => at + index);
      at += count;
      home.send(values, () => this.#agenda.after(this.#random.between(0, 3), next));
      this.#pump(this.#node("a"));
    };
    next();
  }

  #read(home: Home): void {
    const { sink } = home.run;
    if (sink === undefined) return;
    const look = (): void => {
      if (!this.#node("a").up) return;
      if (this.#agenda.now >= this.#stopReadingUntil) {
        const values = sink.take();
        if (values !== undefined) {
          for (const value of values) this.#got(value);
          sink.acknowledge();
          this.#pump(this.#node("a"));
        }
      }
      if (this.#report === undefined) this.#agenda.after(this.#random.between(0.1, 5), look);
    };
    look();
  }

  #got(value: unknown): void {
    if (this.#kind === "pass") this.#seen.set(value as number, (this.#seen.get(value as number) ?? 0) + 1);
    else {
      const [key, sum] = value as [number, number];
      if (this.#sums.has(key) && this.#sums.get(key) !== sum) this.#problems.push(`X4: key ${key} came twice`);
      if (this.#sums.has(key)) this.#again += 1;
      this.#sums.set(key, sum);
    }
  }

  #disturb(): void {
    const random = this.#random;
    const what =
      this.#scenario === "mixed" ? random.pick(["join", "leave", "cuts", "kill", "restart"] as const) : this.#scenario;
    switch (what) {
      case "calm":
        return;
      case "join":
      case "join-at-end":
        return this.#join("d");
      case "leave":
        return this.#leave("b");
      case "cuts":
        for (let at = 0; at < 5; at++)
          this.#agenda.after(random.between(0, 300), () => this.#cutFor(random.between(1, 2_500)));
        return;
      case "kill":
      case "kill-at-end":
        return this.#kill(random.pick(["b", "c"]));
      case "restart": {
        const name = random.pick(["b", "c"]);
        this.#crash(name);
        // It is back before anybody has marked it down.
        this.#agenda.after(random.between(1, 400), () => {
          this.#start(name);
          this.#tell(this.#node(name));
          for (const other of this.#nodes.values()) if (other.name !== name) this.#linked(other.name, name);
        });
        return;
      }
      case "coordinator-dies":
        return this.#kill("a");
    }
  }

  #join(name: string): void {
    this.#start(name);
    this.#alive.add(name);
    const moves = this.#owners.flatMap((_, partition) => (partition % 4 === 3 ? [partition] : []));
    const step = (): void => {
      for (let count = 1 + this.#random.below(2); count > 0; count--) {
        const partition = moves.shift();
        if (partition !== undefined) this.#owners[partition] = name;
      }
      this.#decide();
      if (moves.length > 0) this.#agenda.after(this.#random.between(1, 60), step);
    };
    step();
  }

  #leave(name: string): void {
    const moves = this.#owners.flatMap((owner, partition) => (owner === name ? [partition] : []));
    const others = [...this.#alive].filter((other) => other !== name);
    const step = (): void => {
      const partition = moves.shift();
      if (partition !== undefined) this.#owners[partition] = this.#random.pick(others);
      this.#decide();
      if (moves.length > 0) this.#agenda.after(this.#random.between(1, 60), step);
    };
    step();
  }

  #cutFor(durationMs: number): void {
    const names = [...this.#nodes.keys()];
    const [from, to] = [this.#random.pick(names), this.#random.pick(names)];
    if (from === to) return;
    this.#cut.add(`${from} ${to}`);
    this.#agenda.after(durationMs, () => {
      this.#cut.delete(`${from} ${to}`);
      this.#linked(from, to);
    });
  }

  #kill(name: string): void {
    this.#crash(name);
    this.#agenda.after(this.#random.between(200, 3_000), () => {
      this.#alive.delete(name);
      const others = [...this.#alive];
      this.#owners = this.#owners.map((owner) => (owner === name ? this.#random.pick(others) : owner));
      this.#decide();
    });
  }

  #crash(name: string): void {
    const node = this.#node(name);
    node.up = false;
    node.life += 1;
  }

  #decide(): void {
    this.#epoch += 1;
    for (const node of this.#nodes.values()) if (node.up) this.#tell(node);
  }

  #tell(node: Node): void {
    const routes = { epoch: this.#epoch, ringSize: PARTITIONS, owners: [...this.#owners], alive: new Set(this.#alive) };
    const { life } = node;
    const tell = (): void => {
      if (!node.up || node.life !== life) return;
      node.machine.route(routes);
      this.#pump(node);
    };
    if (this.#agenda.now === 0) tell();
    else this.#agenda.after(this.#random.between(0.1, 80), tell);
  }

  #start(name: string): void {
    const life = (this.#nodes.get(name)?.life ?? 0) + 1;
    const machine = new PipeNode({
      self: name as NodeName,
      ringSize: PARTITIONS,
      graceMs: 500,
      windowInputs: this.#window,
      ...(this.#windowCharacters === undefined ? {} : { windowCharacters: this.#windowCharacters }),
      host: {
        now: () => this.#agenda.now,
        newSession: () => ++this.#session,
        wake: () => this.#pump(node),
        send: (to, bytes) => this.#send(node, to, bytes),
        settle: (promise, call) =>
          void promise.then((value) => node.life === life && this.#settled(node, () => call.resolved(value))),
        pull: () => undefined,
        close: () => undefined,
        find: () => this.#pipeline,
      },
    });
    const node: Node = {
      name: name as NodeName,
      machine,
      up: true,
      life,
      pumping: false,
      timerAt: Number.POSITIVE_INFINITY,
    };
    this.#nodes.set(name, node);
  }

  #settled(node: Node, settle: () => void): void {
    settle();
    this.#pump(node);
  }

  #pump(node: Node): void {
    if (node.pumping || !node.up) return;
    node.pumping = true;
    const { life } = node;
    this.#agenda.after(this.#random.between(0, 0.5), () => {
      node.pumping = false;
      if (!node.up || node.life !== life) return;
      const more = node.machine.runSome(64);
      node.machine.flush();
      if (more) this.#pump(node);
      const deadline = node.machine.nextDeadline();
      if (deadline !== undefined && deadline < node.timerAt) {
        node.timerAt = deadline;
        this.#agenda.at(deadline, () => {
          if (node.timerAt === deadline) node.timerAt = Number.POSITIVE_INFINITY;
          if (!node.up || node.life !== life) return;
          node.machine.tick();
          this.#pump(node);
        });
      }
    });
  }

  #send(from: Node, to: NodeName, bytes: Uint8Array): boolean {
    const link = `${from.name} ${to}`;
    const target = this.#nodes.get(to);
    if (this.#cut.has(link) || target === undefined || !target.up) return false;
    if (this.#scenario === "cuts" && this.#random.chance(0.002)) return true; // Lost without a word.
    const at = Math.max(this.#agenda.now + this.#random.between(0.1, 5), this.#arrival.get(link) ?? 0);
    this.#arrival.set(link, at);
    const copy = bytes.slice();
    const { life } = target;
    this.#agenda.at(at, () => {
      if (this.#cut.has(link) || !target.up || target.life !== life) return;
      target.machine.receive(from.name, copy);
      this.#pump(target);
    });
    return true;
  }

  #linked(from: string, to: string): void {
    const node = this.#node(from);
    if (node.up) node.machine.linkUp(to as NodeName);
  }

  #finished(report: Report): void {
    this.#report = report;
    this.#reportedAt = this.#agenda.now;
  }

  #watchQueues(): void {
    for (const node of this.#nodes.values())
      for (const run of node.machine.runs.values())
        for (const worker of run.status())
          if (worker.queue > worker.queueLimit)
            this.#problems.push(
              `X3: ${worker.fitting} ${worker.partition} has ${worker.queue} of ${worker.queueLimit}`,
            );
  }

  #judge(home: Home): void {
    const report = this.#report;
    for (const node of this.#nodes.values())
      if (node.up && node.machine.runs.size > 0) this.#problems.push(`X5: ${node.name} still has a run`);
    if (this.#scenario === "coordinator-dies") return;
    if (report === undefined) {
      const waits = [...this.#nodes.values()].flatMap((node) =>
        [...node.machine.runs.values()].flatMap((run) =>
          run
            .status()
            .filter((w) => w.queue + w.blocked > 0 || w.state === "working")
            .map((w) => JSON.stringify(w)),
        ),
      );
      this.#problems.push(`X1: no report; ${JSON.stringify(home.progress())}; ${waits.slice(0, 5).join(" ")}`);
      return;
    }
    if (report.state !== "done") {
      if (
        this.#kind === "sum" &&
        report.error?.code === "STATE_LOST" &&
        ["kill", "restart", "mixed", "kill-at-end"].includes(this.#scenario)
      )
        return;
      this.#problems.push(`X1: ${report.state}: ${report.error?.detail}`);
      return;
    }
    if (report.accepted !== this.#inputs || report.acknowledged !== report.accepted)
      this.#problems.push(`X1: ${JSON.stringify(report)}`);
    if (this.#kind !== "pass") return this.#judgeSums(report);
    if (this.#outOfOrder > report.resent) this.#problems.push(`X6: ${this.#outOfOrder} out of order`);
    let missing = 0;
    let twice = 0;
    let bad = 0;
    for (let input = 0; input < this.#inputs; input++) {
      const times = this.#seen.get(input) ?? 0;
      if (isBad(input)) {
        bad += 1;
        if (times > 0) this.#problems.push(`X1: ${input} has failed and came out`);
      } else if (times === 0) missing += 1;
      else twice += times - 1;
    }
    if (report.failed < bad || report.failed > bad + report.resent)
      this.#problems.push(`X1: ${bad} were bad, the report has ${report.failed} failures`);
    if (missing > 0) this.#problems.push(`X1: ${missing} of ${this.#inputs} never came out, and the run says done`);
    if (twice > report.resent) this.#problems.push(`X2: ${twice} twice, and ${report.resent} were sent again`);
  }

  #judgeSums(report: Report): void {
    const sums = new Map<number, number>();
    for (let input = 0; input < this.#inputs; input++) sums.set(input % 50, (sums.get(input % 50) ?? 0) + input);
    if (this.#again > report.resent) this.#problems.push(`X4: ${this.#again} sums came twice, ${report.resent} resent`);
    for (const [key, sum] of sums) {
      const got = this.#sums.get(key) ?? -1;
      const more = this.#kind === "kept-second" && report.resent > 0 && got > sum;
      if (got !== sum && !more) this.#problems.push(`X4: key ${key} is ${got}, not ${sum}`);
    }
  }

  #node(name: string): Node {
    return this.#nodes.get(name) as Node;
  }
}

/** The last fitting throws for these. */
function isBad(input: number): boolean {
  return input % 97 === 13;
}

const PARTITIONS = 16;
