/**
 * A history in memory: what the files of a directory say, joined into tasks, attempts, lanes and processes. A million
 * lines take about 400 MB and 6 s on two busy cores.
 */

import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { StringDecoder } from "node:string_decoder";
import { type AttemptOutcome, type HistoryLine, parseLine } from "./line.ts";

export interface History {
  readonly tasks: ReadonlyMap<string, HistoryTask>;
  readonly lanes: ReadonlyMap<string, Lane>;
  readonly processes: readonly HistoryProcess[];
  readonly lines: number;
  /** Lines cut off by a kill: the last one of a file, without its end. */
  readonly torn: number;
  /** What makes the history itself unfit for a verdict. */
  readonly damage: readonly string[];
}

/** All tasks of one (app, key). */
export interface Lane {
  readonly app: string;
  readonly key: string;
  readonly tasks: HistoryTask[];
  readonly attempts: Attempt[];
}

export interface HistoryTask {
  readonly id: string;
  readonly lane: Lane;
  seq: number | undefined;
  /** When a client began to submit it, if it said so, and had the acknowledgement. */
  submittedAt: number | undefined;
  acceptedAt: number | undefined;
  settled: "dead" | "cancelled" | undefined;
  parent: string | undefined;
  child: string | undefined;
  readonly attempts: Attempt[];
}

export interface Attempt {
  readonly task: HistoryTask;
  readonly process: HistoryProcess;
  readonly fence: bigint;
  readonly attempt: number;
  readonly start: number;
  /** Fence of the state that it found, 0 for none; undefined when that was not traced. */
  readonly saw: bigint | undefined;
  /** Undefined while no end was written. */
  end: number | undefined;
  outcome: AttemptOutcome | undefined;
  children: readonly string[];
}

interface HistoryProcess {
  readonly node: string;
  readonly pid: number;
  readonly openedAt: number;
  /** Time of its last line. */
  lastAt: number;
  closed: boolean;
  /** It did nothing after this. */
  killedAt: number | undefined;
  readonly pauses: { readonly from: number; readonly until: number }[];
}

/** Reads every `.ndjson` file of the directory. */
export function loadHistory(directory: string): History {
  const loader = new Loader();
  const names = readdirSync(directory).filter((name) => name.endsWith(".ndjson"));
  for (const name of names.sort()) loader.readFile(join(directory, name), name);
  return loader.finish();
}

class Loader {
  readonly #tasks = new Map<string, HistoryTask>();
  readonly #lanes = new Map<string, Lane>();
  readonly #processes: HistoryProcess[] = [];
  readonly #faults: Extract<HistoryLine, { type: "killed" | "paused" }>[] = [];
  readonly #settled: Extract<HistoryLine, { type: "settled" }>[] = [];
  readonly #damage: string[] = [];
  #lines = 0;
  #torn = 0;

  readFile(path: string, name: string): void {
    const reader = new FileReader(this, name);
    const rest = eachLine(path, (text) => reader.line(text));
    if (rest !== "") this.#torn += 1;
  }

  finish(): History {
    for (const { id, state } of this.#settled) {
      const task = this.#tasks.get(id);
      if (task !== undefined) task.settled = state;
    }
    for (const fault of this.#faults) this.#apply(fault);
    if (this.#processes.length === 0) this.damaged("no history files");
    return {
      tasks: this.#tasks,
      lanes: this.#lanes,
      processes: this.#processes,
      lines: this.#lines,
      torn: this.#torn,
      damage: this.#damage,
    };
  }

  counted(): void {
    this.#lines += 1;
  }

  damaged(what: string): void {
    if (this.#damage.length < DAMAGE_LIMIT) this.#damage.push(what);
  }

  addProcess(opening: Extract<HistoryLine, { type: "open" }>): HistoryProcess {
    const { node, pid, t } = opening;
    const made = { node, pid, openedAt: t, lastAt: t, closed: false, killedAt: undefined, pauses: [] };
    this.#processes.push(made);
    return made;
  }

  addFault(fault: Extract<HistoryLine, { type: "killed" | "paused" }>): void {
    this.#faults.push(fault);
  }

  addSettled(line: Extract<HistoryLine, { type: "settled" }>): void {
    this.#settled.push(line);
  }

  task(line: { readonly id: string; readonly app: string; readonly key: string; readonly seq?: number }): HistoryTask {
    const known = this.#tasks.get(line.id);
    if (known !== undefined) {
      if (known.lane.app !== line.app || known.lane.key !== line.key) {
        this.damaged(
          `task ${line.id} appears under (${known.lane.app}, ${known.lane.key}) and (${line.app}, ${line.key})`,
        );
      }
      known.seq ??= line.seq;
      return known;
    }
    const lane = this.#lane(line.app, line.key);
    const made: HistoryTask = {
      id: line.id,
      lane,
      seq: line.seq,
      submittedAt: undefined,
      acceptedAt: undefined,
      settled: undefined,
      parent: undefined,
      child: undefined,
      attempts: [],
    };
    lane.tasks.push(made);
    this.#tasks.set(line.id, made);
    return made;
  }

  #lane(app: string, key: string): Lane {
    const name = `${app}\0${key}`;
    const known = this.#lanes.get(name);
    if (known !== undefined) return known;
    const made: Lane = { app, key, tasks: [], attempts: [] };
    this.#lanes.set(name, made);
    return made;
  }

  #apply(fault: Extract<HistoryLine, { type: "killed" | "paused" }>): void {
    // Names and pids come again; the one meant is the newest that had started by then.
    const victims = this.#processes.filter(
      (each) => (each.pid === fault.process || each.node === fault.process) && each.openedAt <= fault.t,
    );
    const victim = victims.sort((a, b) => b.openedAt - a.openedAt)[0];
    if (victim === undefined) return; // killed before it ran anything
    if (fault.type === "paused") victim.pauses.push({ from: fault.t, until: fault.until });
    // The signal takes effect a little after it was sent: what the process still wrote, it still did.
    else victim.killedAt = Math.max(fault.t, victim.lastAt);
  }
}

/** One file, line by line: its process and its attempts that have not ended. */
class FileReader {
  readonly #loader: Loader;
  readonly #name: string;
  #process: HistoryProcess | undefined;
  readonly #running = new Map<string, Attempt>();
  #number = 0;

  constructor(loader: Loader, name: string) {
    this.#loader = loader;
    this.#name = name;
  }

  line(text: string): void {
    this.#number += 1;
    this.#loader.counted();
    const line = parseLine(text);
    if (line === undefined) {
      this.#damaged("not a history line");
    } else if (line.type === "open") {
      this.#process = this.#loader.addProcess(line);
    } else if (this.#process === undefined) {
      this.#damaged("no open line before it");
    } else {
      if (line.type !== "paused") this.#process.lastAt = Math.max(this.#process.lastAt, line.t);
      this.#take(line, this.#process);
    }
  }

  #take(line: Exclude<HistoryLine, { type: "open" }>, process: HistoryProcess): void {
    switch (line.type) {
      case "closed":
        process.closed = true;
        break;
      case "accepted": {
        const task = this.#loader.task(line);
        task.acceptedAt = Math.min(task.acceptedAt ?? line.t, line.t);
        if (typeof line.submitted === "number")
          task.submittedAt = Math.min(task.submittedAt ?? line.submitted, line.submitted);
        break;
      }
      case "start":
        this.#start(line, process);
        break;
      case "end":
        this.#end(line);
        break;
      case "settled":
        this.#loader.addSettled(line);
        break;
      case "killed":
      case "paused":
        this.#loader.addFault(line);
        break;
    }
  }

  #end(line: Extract<HistoryLine, { type: "end" }>): void {
    const name = `${line.id}/${line.fence}`;
    const attempt = this.#running.get(name);
    if (attempt === undefined) {
      this.#damaged("an end without a start");
      return;
    }
    this.#running.delete(name);
    attempt.end = line.t;
    attempt.outcome = line.outcome;
    if (line.children !== undefined) attempt.children = line.children;
  }

  #damaged(what: string): void {
    this.#loader.damaged(`${this.#name}:${this.#number}: ${what}`);
  }

  #start(line: Extract<HistoryLine, { type: "start" }>, process: HistoryProcess): void {
    const task = this.#loader.task(line);
    const { saw } = line;
    if (saw !== undefined && !(typeof saw === "string" && /^\d{1,40}$/.test(saw)))
      return this.#damaged("a start that saw no fence");
    task.parent ??= line.parent;
    task.child ??= line.child;
    const attempt: Attempt = {
      task,
      process,
      fence: line.fence,
      attempt: line.attempt,
      start: line.t,
      saw: saw === undefined ? undefined : BigInt(saw),
      end: undefined,
      outcome: undefined,
      children: NO_CHILDREN,
    };
    task.attempts.push(attempt);
    task.lane.attempts.push(attempt);
    this.#running.set(`${line.id}/${line.fence}`, attempt);
  }
}

/** Calls `take` for each whole line; returns what stands after the last newline. */
function eachLine(path: string, take: (line: string) => void): string {
  const file = openSync(path, "r");
  const decoder = new StringDecoder("utf8");
  const chunk = Buffer.alloc(CHUNK_BYTES);
  let rest = "";
  try {
    for (;;) {
      const bytes = readSync(file, chunk, 0, CHUNK_BYTES, null);
      if (bytes === 0) return rest + decoder.end();
      const lines = (rest + decoder.write(chunk.subarray(0, bytes))).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) take(line);
    }
  } finally {
    closeSync(file);
  }
}

const NO_CHILDREN: readonly string[] = [];
const CHUNK_BYTES = 1 << 20;
const DAMAGE_LIMIT = 100;
