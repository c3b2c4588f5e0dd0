/**
 * One conversation with a node: the commands that ask or change a running ring are functions of it.
 *
 * The node at `--address` is the one that is asked, not just any that answers. A closed port is told at once; only then
 * is the gRPC library loaded.
 */

import { readFileSync } from "node:fs";
import { connect as connectSocket } from "node:net";
import type { CallOptions } from "../services/client/caller.ts";
import type { RingClient } from "../services/client/ring-client.ts";
import { parseHostPort, showHostPort } from "./address.ts";
import { parseDuration } from "./duration.ts";
import { CliError, EXIT, usage } from "./exit-codes.ts";
import type { Output } from "./output.ts";
import type { Flags, Settings } from "./settings.ts";

/** A command as its body sees it. */
export interface CommandRun {
  readonly args: readonly string[];
  readonly flags: Flags;
  readonly settings: Settings;
  readonly output: Output;
}

/** Resolves with the exit code; nothing means 0. */
export type CommandBody = (run: CommandRun) => Promise<number | undefined>;

export interface AskedNode {
  readonly client: RingClient;
  readonly address: string;
  /** For each call: this node, this deadline. */
  readonly call: CallOptions;
}

export async function askNode<T>(settings: Settings, use: (node: AskedNode) => Promise<T>): Promise<T> {
  const endpoint = parseHostPort(settings.required("address"), {
    flag: "--address",
    fallback: { host: "127.0.0.1", port: 7_400 },
  });
  const address = showHostPort(endpoint);
  const deadlineMs = parseDuration(settings.required("timeout"), "--timeout");
  const token = tokenOf(settings.text("token-file"));
  const onInterrupt = (): void => process.exit(EXIT.interrupted);
  process.on("SIGINT", onInterrupt);
  await reach(endpoint, Math.min(deadlineMs, REACH_MS));
  const { connect } = await import("../services/client/ring-client.ts");
  const client = connect({ addresses: [address], clientId: "ringctl", ...(token === undefined ? {} : { token }) });
  try {
    return await use({ client, address, call: { deadlineMs, address } });
  } finally {
    client.close();
    process.off("SIGINT", onInterrupt);
  }
}

/** A stream has no deadline: the node is asked for something that has one first, so that a frozen one is not waited for for ever. */
export async function answers({ client, call }: AskedNode): Promise<void> {
  await client.cluster.members(call);
}

/** How long a `--wait` may take: `--timeout` if it was given, else ten minutes. */
export function waitMs(settings: Settings): number {
  const timeout = settings.find("timeout");
  return timeout === undefined || timeout.source === "default"
    ? WAIT_MS
    : parseDuration(timeout.values[0] ?? "", "--timeout");
}

/**
 * Looks again and again until `look` says it is over (undefined: not yet) or the time has passed. A node that does not
 * answer for a moment ends nothing.
 */
export async function pollUntil<T>(
  look: () => Promise<T | undefined>,
  { withinMs, everyMs }: { readonly withinMs: number; readonly everyMs: number },
): Promise<T | undefined> {
  const end = performance.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    const left = end - performance.now();
    if (left <= 0) return undefined;
    await new Promise((resolve) => setTimeout(resolve, Math.min(everyMs, left)));
  }
}

/** Shows it now and every second (or as told) until the user has seen enough (exit 130). */
export async function watching(look: () => Promise<unknown>, pauseMs: number = WATCH_MS): Promise<never> {
  for (;;) {
    await look();
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

function reach({ host, port }: { readonly host: string; readonly port: number }, withinMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket({ host, port });
    const end = (error: Error | undefined, why: string): void => {
      socket.destroy();
      if (error === undefined) resolve();
      else reject(unreachable(showHostPort({ host, port }), why));
    };
    socket.setTimeout(withinMs, () => end(new Error("late"), `nothing answered within ${withinMs / 1_000} s`));
    socket.once("connect", () => end(undefined, ""));
    socket.once("error", (error: NodeJS.ErrnoException) => end(error, REASONS.get(error.code ?? "") ?? error.message));
  });
}

function unreachable(address: string, why: string): CliError {
  return new CliError("UNREACHABLE", `no node at ${address}: ${why}`, {
    exit: EXIT.unreachable,
    hint: "`ringctl dev` starts a ring on this machine; --address or TASKRING_ADDRESS names a node elsewhere",
    retryable: true,
  });
}

function tokenOf(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    throw usage(`--token-file ${file} cannot be read: ${(error as Error).message}`);
  }
}

const REASONS: ReadonlyMap<string, string> = new Map([
  ["ECONNREFUSED", "nothing listens there"],
  ["ENOTFOUND", "the name does not resolve"],
  ["EHOSTUNREACH", "no way to that host"],
  ["ENETUNREACH", "no way to that network"],
]);
const REACH_MS = 5_000;
const WAIT_MS = 600_000;
const WATCH_MS = 1_000;
