/**
 * What a benchmark gives back, and how it is printed and written: one shape for all of them.
 */

import { writeFile } from "node:fs/promises";
import { arch, availableParallelism, cpus, platform, release, totalmem } from "node:os";

export interface BenchResult {
  readonly case: string;
  /** `taskring`, or the peer that ran beside it: `bullmq`, `bull`, `hashring`, `serf`. */
  readonly subject: string;
  /** Rates in 1/s; times in s, ms or µs. */
  readonly unit: string;
  readonly runs: number;
  readonly min: number;
  readonly median: number;
  readonly max: number;
  /** Extra fields: pauses, percentiles, memory, counts. */
  readonly [extra: string]: string | number;
}

export interface BenchOptions {
  /** How often each case is run; the contract asks for at least 5. */
  readonly runs: number;
  /** Only this case; all of the benchmark's when absent. */
  readonly case?: string;
}

/** What `bench/<name>.ts` exports. */
export interface BenchModule {
  run(options: BenchOptions): Promise<readonly BenchResult[]>;
}

/** A peer that a benchmark compares with is not here; `run.ts` prints it and exits 1. */
export class PeerMissing extends Error {
  constructor(peer: string, remedy: string) {
    super(`${peer} is needed for this benchmark and is not installed: ${remedy}`);
    this.name = "PeerMissing";
  }
}

export interface Measured {
  readonly case: string;
  readonly subject: string;
  readonly unit: string;
  /** One number per run, at least one. */
  readonly values: readonly number[];
  readonly extra?: Readonly<Record<string, string | number>>;
}

/** Min, median and max of the runs. */
export function resultOf(measured: Measured): BenchResult {
  const sorted = [...measured.values].sort((left, right) => left - right);
  if (sorted.length === 0) throw new Error(`${measured.case}: no run was measured`);
  return {
    case: measured.case,
    subject: measured.subject,
    unit: measured.unit,
    runs: sorted.length,
    min: sorted[0] as number,
    median: medianOf(sorted),
    max: sorted[sorted.length - 1] as number,
    ...measured.extra,
  };
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly system: string;
  readonly node: string;
}

export function machineOf(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    system: `${platform()} ${release()} ${arch()}`,
    node: process.version,
  };
}

/** The contract's JSON: `{ name, machine, results }`. */
export async function writeResults(file: string, name: string, results: readonly BenchResult[]): Promise<void> {
  await writeFile(file, `${JSON.stringify({ name, machine: machineOf(), results }, undefined, 2)}\n`);
}

/** A table for people; extra fields stand below their row. */
export function tableOf(name: string, results: readonly BenchResult[]): string {
  const machine = machineOf();
  const heading = ["case", "subject", "unit", "runs", "min", "median", "max"];
  const rows = results.map((result) => [
    `${name}/${result.case}`,
    result.subject,
    result.unit,
    String(result.runs),
    ...[result.min, result.median, result.max].map(numberText),
  ]);
  const widths = heading.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells.map((cell, at) => (at < 3 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join("  ");
  const lines = [
    `${machine.cpu}, ${machine.cores} cores, ${(machine.memoryBytes / 2 ** 30).toFixed(1)} GiB, ${machine.system}, Node ${machine.node}`,
    line(heading),
  ];
  results.forEach((result, at) => {
    lines.push(line(rows[at] ?? []));
    const extra = Object.entries(result).filter(([field]) => !STANDARD.has(field));
    if (extra.length > 0) {
      const texts = extra.map(([field, value]) => `${field} ${typeof value === "number" ? numberText(value) : value}`);
      lines.push(`    ${texts.join(", ")}`);
    }
  });
  return `${lines.join("\n")}\n`;
}

function medianOf(sorted: readonly number[]): number {
  const middle = sorted.length >>> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2;
}

function numberText(value: number): string {
  if (Math.abs(value) >= 1_000) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(4)));
}

const STANDARD = new Set(["case", "subject", "unit", "runs", "min", "median", "max"]);
