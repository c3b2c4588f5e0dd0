/**
 * What a process costs, seen from outside: processor time and memory from /proc, counters from a node's /metrics.
 */

import { readFileSync } from "node:fs";

export interface Usage {
  readonly cpuMs: number;
  readonly peakRssMb: number;
  /** Without the mapped file of the store. */
  readonly peakAnonymousMb: number;
}

/** Watches processes until it is stopped. */
export class Probe {
  readonly #pids: readonly number[];
  readonly #cpuMs: number;
  readonly #timer: NodeJS.Timeout;
  #peakRssMb = 0;
  #peakAnonymousMb = 0;

  constructor(pids: readonly number[]) {
    this.#pids = pids;
    this.#cpuMs = this.#cpuNow();
    this.#look();
    this.#timer = setInterval(() => this.#look(), EVERY_MS);
  }

  /** CPU time of all of them since the start; the memory of the largest. */
  stop(): Usage {
    clearInterval(this.#timer);
    this.#look();
    return {
      cpuMs: this.#cpuNow() - this.#cpuMs,
      peakRssMb: this.#peakRssMb,
      peakAnonymousMb: this.#peakAnonymousMb,
    };
  }

  #cpuNow(): number {
    return this.#pids.reduce((sum, pid) => sum + cpuMsOf(pid), 0);
  }

  #look(): void {
    for (const pid of this.#pids) {
      const status = read(`/proc/${pid}/status`);
      this.#peakRssMb = Math.max(this.#peakRssMb, megabytes(status, "VmRSS"));
      this.#peakAnonymousMb = Math.max(this.#peakAnonymousMb, megabytes(status, "RssAnon"));
    }
  }
}

/** User and system time so far; 0 for a process that is gone. */
export function cpuMsOf(pid: number): number {
  const text = read(`/proc/${pid}/stat`);
  // The name, in parentheses, may hold anything.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * TICK_MS;
}

export interface NodeCounts {
  readonly accepted: number;
  /** Ended for good, and synced. */
  readonly completed: number;
  readonly syncs: number;
}

/** Summed over nodes, given by their HTTP addresses. */
export async function countsOf(addresses: readonly string[]): Promise<NodeCounts> {
  const texts = await Promise.all(addresses.map(async (address) => (await fetch(`http://${address}/metrics`)).text()));
  const sum = (pattern: RegExp): number =>
    texts.reduce(
      (total, text) => total + [...text.matchAll(pattern)].reduce((of, found) => of + Number(found[1]), 0),
      0,
    );
  return {
    accepted: sum(/^taskring_tasks_accepted_total(?:\{[^}]*\})? (\S+)$/gm),
    completed: sum(/^taskring_tasks_completed_total\{[^}]*outcome="done"[^}]*\} (\S+)$/gm),
    syncs: sum(/^taskring_store_syncs_total (\S+)$/gm),
  };
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function megabytes(status: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0) / 1_024;
}

const EVERY_MS = 50;
/** Linux counts in hundredths of a second for its users. */
const TICK_MS = 10;
