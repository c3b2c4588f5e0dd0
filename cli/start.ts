/**
 * `ringctl start`: one node in this process, from its settings to its end.
 *
 * stdout gets one line, once the node answers; logs and remarks go to stderr.
 */

import { hostname } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { RingError } from "../ring/errors.ts";
import { isRedisAddress, parseRedisAddress, showRedisAddress } from "../ring/io/store/redis/address.ts";
import { isRingSize, isZone } from "../ring/limits.ts";
import type { Host, HostOptions } from "../services/host/node-host.ts";
import { type HostPort, isLoopback, parseHostPort, showHostPort } from "./address.ts";
import { compileLaterWhileMoving } from "./compiling.ts";
import { parseDuration } from "./duration.ts";
import { CliError, cliErrorOf, EXIT, usage } from "./exit-codes.ts";
import type { Settings } from "./settings.ts";
import { tell } from "./tell.ts";

export interface StartRun {
  readonly settings: Settings;
  readonly readyJson: boolean;
  /** Stop in order when stdin ends: with the process that holds its other end. */
  readonly stopWithStdin: boolean;
  /** Takes the log; absent: JSON lines on stderr. */
  readonly log?: (line: string) => void;
  readonly say: (line: string) => void;
  readonly remark: (line: string) => void;
}

/** Resolves with the exit code when the node has ended. */
export async function start(run: StartRun): Promise<number> {
  const { settings } = run;
  const plan = planStart(settings);
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWING_PERCENT}`);
  const signals = watchSignals();
  process.env.TASKRING_NAME ??= plan.name;
  const [{ loadApps }, { startHost }] = await Promise.all([
    import("../services/apps/load.ts"),
    import("../services/host/node-host.ts"),
  ]);
  const apps = await loadApps(settings.list("app"), {
    onSlow: (path, deadlineMs) =>
      run.remark(`${path}: its top level has not come to its end; it is refused after ${deadlineMs / 1_000} s`),
    onExit: (refusal, code) => {
      if (code === EXIT.interrupted) return; // A signal
      const json = settings.oneOf("output", ["table", "json", "jsonl"]) !== "table";
      process.exitCode = tell(cliErrorOf(refusal), { json });
    },
  });
  const waiting = setTimeout(() => void explainWait(plan.data, run.remark), LOCK_REMARK_MS);
  let host: Host;
  try {
    host = await startHost({ ...plan, apps, ...(run.log === undefined ? {} : { logTo: run.log }) });
  } catch (error) {
    throw refusalOf(error, plan) ?? error;
  } finally {
    clearTimeout(waiting);
  }
  signals.serve(host);
  compileLaterWhileMoving(host.node);
  warnOfOpenBinds(plan, host);
  if (run.stopWithStdin)
    process.stdin
      .on("end", () => void host.stop())
      .on("error", () => void host.stop())
      .resume();
  const gaveUp = await Promise.race([host.ended.then(() => undefined), serve(host, plan, run)]);
  if (gaveUp === undefined) return host.ended;
  await host.stop();
  throw gaveUp;
}

interface StartPlan extends Omit<HostOptions, "apps"> {
  readonly joinMs: number;
}

/** Everything that can be refused before anything is opened. */
export function planStart(settings: Settings): StartPlan {
  const name = settings.text("name") ?? hostname().slice(0, 63);
  const store = settings.required("store");
  if (store !== "embedded" && !isRedisAddress(store))
    throw usage(`--store ${store}: expected embedded or redis://HOST:PORT`);
  if (store !== "embedded") parseRedisAddress(store);
  const binds = { grpc: bindOf(settings, "grpc"), http: bindOf(settings, "http"), gossip: bindOf(settings, "gossip") };
  refuseOpenBinds(binds, settings.toggle("insecure-bind"));
  const ringSize = settings.integer("ring-size", { least: 8, most: 4_096 })!;
  if (!isRingSize(ringSize)) throw usage(`--ring-size ${ringSize}: expected a power of two from 8 to 4096`);
  const data = settings.text("data") ?? join(".taskring", name);
  if (data === "") throw usage("--data is empty: expected a directory");
  const zone = settings.text("zone");
  if (zone !== undefined && !isZone(zone)) throw usage(`--zone ${zone}: expected 1 to 63 of A-Z a-z 0-9 . _ -`);
  const machine = settings.text("machine");
  const advertise = advertised(settings.list("advertise"));
  const timeout = settings.find("timeout");
  const gossipKeys = settings.text("gossip-keys");
  const gossipLabel = settings.text("gossip-label");
  return {
    name,
    data,
    ...(store === "embedded" ? {} : { store }),
    join: settings.list("join").map((text) => parseHostPort(text, { flag: "--join", fallback: defaultOf("gossip") })),
    ...binds,
    ...(advertise === undefined ? {} : { advertise }),
    ...(gossipKeys === undefined ? {} : { gossipKeys }),
    ...(gossipLabel === undefined ? {} : { gossipLabel }),
    ringSize,
    weight: settings.integer("weight", { least: 0, most: 1_000 })!,
    ...(zone === undefined ? {} : { zone }),
    ...(machine === undefined ? {} : { machine }),
    autoJoin: settings.toggle("auto-join"),
    profile: settings.oneOf("profile", ["lan", "wan", "fast"])!,
    logLevel: settings.oneOf("log-level", ["trace", "debug", "info", "warn", "error", "fatal", "silent"])!,
    graceMs: parseDuration(settings.required("grace"), "--grace"),
    joinMs:
      timeout === undefined || timeout.source === "default"
        ? JOIN_MS
        : parseDuration(timeout.values[0] ?? "", "--timeout"),
  };
}

/** Says that the node answers, and gives up a join that finds nobody: then it resolves with the error. */
async function serve(host: Host, plan: StartPlan, { readyJson, say, remark }: StartRun): Promise<CliError | undefined> {
  const begun = performance.now();
  const state = (): ReadyState => {
    if (host.node.document()?.members.some((member) => member.name === host.name) !== true)
      return host.node.members().length > 1 ? "waiting-to-join" : "joining";
    return host.node.holdsLease() ? "serving" : "waiting-for-lease";
  };
  await until(() => state() === "serving", READY_MS);
  say(readyLine(host, state(), readyJson));
  if (state() === "waiting-to-join")
    remark(`${host.name} waits to be let in: ringctl stage join ${host.name} && ringctl plan && ringctl commit`);
  if (state() === "joining") {
    remark(`${host.name} looks for ${plan.join.map(showHostPort).join(", ")}`);
    await until(() => state() !== "joining", plan.joinMs - (performance.now() - begun));
    if (state() === "joining") {
      return new CliError(
        "UNREACHABLE",
        `no member answered at ${plan.join.map(showHostPort).join(", ")} within ${plan.joinMs / 1_000} s`,
        {
          exit: EXIT.unreachable,
          hint: "check --join: it takes gossip addresses (port 7946 unless set otherwise), --gossip-keys, and the firewall for UDP and TCP",
          retryable: true,
        },
      );
    }
  }
  await until(() => state() !== "waiting-for-lease", LEASE_REMARK_MS);
  if (state() === "waiting-for-lease") remark(`${host.name} waits for its lease: ${leaseGiver(plan.store)}`);
  return undefined;
}

/** Who has to answer before a node may start tasks. `store`: a Redis, or absent. */
export function leaseGiver(store: string | undefined): string {
  return store === undefined
    ? "a majority of voters has to answer"
    : `${showRedisAddress(parseRedisAddress(store))} has to answer, and to take writes (a replica takes none); the log says what it answers`;
}

type ReadyState = "serving" | "waiting-for-lease" | "waiting-to-join" | "joining";

function readyLine(host: Host, state: ReadyState, json: boolean): string {
  const { name, grpc, http, gossip } = host;
  if (json) return JSON.stringify({ ready: true, name, grpc, http, gossip, pid: process.pid, state });
  return `ready name=${name} grpc=${grpc} http=${http} gossip=${gossip} pid=${process.pid} state=${state}`;
}

/** The first signal stops in order, the second at once. */
function watchSignals(): { serve(host: Host): void } {
  let host: Host | undefined;
  let asked = false;
  const onSignal = (): void => {
    if (asked || host === undefined) process.exit(EXIT.interrupted);
    asked = true;
    void host.stop();
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  return {
    serve: (started) => {
      host = started;
    },
  };
}

async function explainWait(data: string, remark: (line: string) => void): Promise<void> {
  const { lockHolder } = await import("../ring/io/directory.ts");
  const pid = await lockHolder(data).catch(() => undefined);
  if (pid !== undefined && pid !== process.pid)
    remark(
      `waiting for ${data}: process ${pid} has it (a peer hands over its tasks, or the node already runs; --data chooses another)`,
    );
}

/** What a start ran into outside of this program, with its remedy. */
export function refusalOf(error: unknown, plan: Pick<StartPlan, "data" | BindKind>): CliError | undefined {
  const { code, port, path, syscall, cause } = error as NodeJS.ErrnoException & { port?: number };
  // What names a file says already which it is.
  if (error instanceof RingError)
    return cause === undefined || (cause as NodeJS.ErrnoException).path !== undefined
      ? undefined
      : refusalOf(cause, plan);
  if (path !== undefined && UNUSABLE.has(code ?? "")) {
    return new CliError(
      "INVALID_ARGUMENT",
      `the data directory ${plan.data} cannot be used: ${(error as Error).message}`,
      {
        exit: EXIT.usage,
        hint: "--data names a directory that this user may write to, or the place of a new one",
        cause: error,
      },
    );
  }
  if (code === "EADDRNOTAVAIL" || code === "EACCES") {
    return new CliError("INVALID_ARGUMENT", `cannot listen: ${(error as Error).message}`, {
      exit: EXIT.usage,
      hint: "bind to an address of this machine, and to a port above 1023",
      cause: error,
    });
  }
  if (code !== "EADDRINUSE" || syscall === undefined) return undefined;
  const flag = (["grpc", "http", "gossip"] as const).find((kind) => plan[kind].port === port) ?? "grpc";
  const bind = showHostPort({ host: plan[flag].host, port: port ?? plan[flag].port });
  return new CliError("PORT_TAKEN", `${bind} (${flag}) is taken by another process`, {
    exit: EXIT.failure,
    hint: `stop that process, or pass --${flag} HOST:PORT with a free port (port 0: the system chooses)`,
    cause: error,
  });
}

function bindOf(settings: Settings, kind: BindKind): HostPort {
  return parseHostPort(settings.required(kind), { flag: `--${kind}`, fallback: defaultOf(kind) });
}

function defaultOf(kind: BindKind): HostPort {
  return { host: "127.0.0.1", port: { grpc: 7_400, http: 7_480, gossip: 7_946 }[kind] };
}

function refuseOpenBinds(binds: Readonly<Record<string, HostPort>>, insecure: boolean): void {
  if (insecure) return;
  for (const [kind, { host }] of Object.entries(binds)) {
    if (!isLoopback(host))
      throw usage(
        `--${kind} ${host}: refused, because anybody who reaches this address could run tasks and change the ring`,
        "bind to 127.0.0.1, or pass --insecure-bind in a network that you trust",
      );
  }
}

/** What others reach without encryption and tokens. */
export function openBindsOf(plan: Pick<StartPlan, "grpc" | "http" | "gossip" | "gossipKeys">): readonly BindKind[] {
  return BINDS.filter((kind) => !isLoopback(plan[kind].host) && !(kind === "gossip" && plan.gossipKeys !== undefined));
}

/** Let through by `--insecure-bind`; `status` and `doctor` of the whole ring say it too. */
function warnOfOpenBinds(plan: StartPlan, host: Host): void {
  for (const kind of openBindsOf(plan))
    host.log.warn(
      { code: "INSECURE_BIND", bind: kind, address: host[kind] },
      "anybody who reaches this address can run tasks and change the ring: it has neither encryption nor tokens",
    );
}

function advertised(list: readonly string[]): HostOptions["advertise"] {
  if (list.length === 0) return undefined;
  const ports: { grpcPort?: number; httpPort?: number; gossipPort?: number } = {};
  const hosts = new Set<string>();
  for (const item of list) {
    const [, kind, address = ""] = /^(?:(grpc|http|gossip)=)?(.*)$/.exec(item) ?? [];
    const { host, port } = parseHostPort(address, { flag: "--advertise", fallback: { host: "", port: 0 } });
    if (host !== "") hosts.add(host);
    if (port === 0) continue;
    if (kind === undefined) throw usage(`--advertise ${item}: say which port it is, such as grpc=${address}`);
    ports[`${kind as "grpc" | "http" | "gossip"}Port`] = port;
  }
  if (hosts.size > 1) throw usage(`--advertise names ${hosts.size} hosts (${[...hosts].join(", ")}): a node has one`);
  const [host] = hosts;
  return { ...ports, ...(host === undefined ? {} : { host }) };
}

/** Resolves when it holds, or after the time. */
async function until(holds: () => boolean, withinMs: number): Promise<void> {
  const end = performance.now() + withinMs;
  while (!holds() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
}

type BindKind = "grpc" | "http" | "gossip";
const BINDS: readonly BindKind[] = ["grpc", "http", "gossip"];
/** Of a path that leads to no directory, to nowhere (a link to what is not mounted), or to one of somebody else. */
const UNUSABLE: ReadonlySet<string> = new Set("EACCES EPERM EROFS EEXIST ENOENT ENOTDIR EISDIR ELOOP".split(" "));
const LOOK_MS = 5;
/** The ready line comes after this time even if the node cannot serve yet: it says what it waits for. */
const READY_MS = 2_000;
const LEASE_REMARK_MS = 10_000;
/**
 * How far the heap may grow over what was live before it is swept. Most of what a node allocates dies within a commit or two;
 * V8's own choice lets it become a third of the process, for no speed: 100 MB more under full load.
 */
const HEAP_GROWING_PERCENT = 60;
const LOCK_REMARK_MS = 1_000;
const JOIN_MS = 60_000;
