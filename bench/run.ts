/**
 * `npm run bench -- NAME [--case C] [--runs N] [--json FILE]`: runs one benchmark and prints its table on stdout.
 *
 * Each benchmark is a module of its own, loaded only when asked for, so that one does not pay for another's packages.
 * Exit codes: 0 done, 1 failed or a peer is missing, 2 wrong usage.
 */

import { parseArgs } from "node:util";
import { type BenchModule, type BenchResult, PeerMissing, tableOf, writeResults } from "./result.ts";

interface Request {
  readonly name: string;
  readonly case?: string;
  readonly runs: number;
  readonly json?: string;
}

async function main(args: readonly string[]): Promise<number> {
  const request = requestOf(args);
  if (typeof request === "string") {
    process.stderr.write(`${request}\n${USAGE}\n`);
    return 2;
  }
  try {
    const module = (await import(`./${request.name}.ts`)) as BenchModule;
    const results = await module.run({
      runs: request.runs,
      ...(request.case === undefined ? {} : { case: request.case }),
    });
    return await report(request, results);
  } catch (error) {
    process.stderr.write(`${error instanceof PeerMissing ? error.message : textOf(error)}\n`);
    return 1;
  }
}

async function report(request: Request, results: readonly BenchResult[]): Promise<number> {
  if (results.length === 0) {
    process.stderr.write(`${request.name} has no case ${JSON.stringify(request.case ?? "")}\n`);
    return 2;
  }
  process.stdout.write(tableOf(request.name, results));
  if (request.json !== undefined) await writeResults(request.json, request.name, results);
  return 0;
}

/** What was asked for, or what is wrong with it. */
function requestOf(args: readonly string[]): Request | string {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { case: { type: "string" }, runs: { type: "string", default: "5" }, json: { type: "string" } },
    });
    const [name, ...rest] = positionals;
    if (name === undefined || !NAMES.includes(name)) return `no benchmark is named ${JSON.stringify(name ?? "")}`;
    if (rest.length > 0) return `one benchmark at a time; ${rest.join(" ")} is too much`;
    const runs = Number(values.runs);
    if (!Number.isInteger(runs) || runs < 1 || runs > RUN_LIMIT)
      return `--runs is a whole number from 1 to ${RUN_LIMIT}`;
    return {
      name,
      runs,
      ...(values.case === undefined ? {} : { case: values.case }),
      ...(values.json === undefined ? {} : { json: values.json }),
    };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

const NAMES: readonly string[] = ["route", "submit", "handoff", "failover", "membership", "tenants", "pipe"];
const RUN_LIMIT = 1_000;
const USAGE = `usage: npm run bench -- ${NAMES.join("|")} [--case C] [--runs N] [--json FILE]`;

process.exitCode = await main(process.argv.slice(2));
