/**
 * `startNode`: one node inside your own process, with the defaults of `ringctl start`.
 *
 * The node ends with the process that holds it, so nothing here listens to signals: call `stop()` when yours comes.
 */

import { hostname } from "node:os";
import { join } from "node:path";
import type { Pipeline } from "../pipe/fitting.ts";
import type { PipeRun, RunOptions } from "../pipe/io/run.ts";
import type { PipeSpan } from "../pipe/span.ts";
import { RingError } from "../ring/errors.ts";
import { isRingSize, isWeight, isZone } from "../ring/limits.ts";
import type { App } from "./app.ts";
import type { Endpoint } from "./host/endpoint.ts";
import { type HostOptions, startHost } from "./host/node-host.ts";

export interface NodeOptions {
  readonly apps: readonly App[];
  /** Unique in the ring. Default: this machine's host name. */
  readonly name?: string;
  /** Data directory, made when missing. Default `.taskring/<name>`. */
  readonly data?: string;
  /** Gossip addresses of members, `host:port`. Empty (default): found a ring if the directory is empty. */
  readonly join?: readonly string[];
  /** `host:port` to bind; port 0 lets the system choose. Defaults 127.0.0.1 with 7400, 7480 and 7946. */
  readonly grpc?: string;
  readonly http?: string;
  readonly gossip?: string;
  /** Must be true for any bind that is not loopback: nothing is encrypted and anybody may call. */
  readonly insecureBind?: boolean;
  /** What others connect to where that is not what is bound (containers, NAT). */
  readonly advertise?: NonNullable<HostOptions["advertise"]>;
  /** Partitions of a ring that is founded here: a power of two from 8 to 4096. Default 64. */
  readonly ringSize?: number;
  /** Share of partitions relative to other nodes, 0 to 1,000. Default 100. */
  readonly weight?: number;
  readonly zone?: string;
  /** Nodes with the same one adopt each other's directories. Default: the machine's id. */
  readonly machine?: string;
  /** Become a member at once, without stage and commit. */
  readonly autoJoin?: boolean;
  /** `embedded` (default), or a Redis that all nodes of the ring share: `redis://HOST:6379`. */
  readonly store?: string;
  /** Timing of failure detection. Default `lan`. */
  readonly profile?: "lan" | "wan" | "fast";
  /** The node logs JSON lines to stderr. Default `info`. */
  readonly logLevel?: "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";
  /** How long running attempts may take when the node stops. Default 25,000. */
  readonly graceMs?: number;
  /** Takes the spans of sampled pipeline inputs, as they end on this node. */
  readonly onSpan?: (span: PipeSpan) => void;
  /** OpenTelemetry collector that they go to, as OTLP over HTTP. Default: from `OTEL_EXPORTER_OTLP_ENDPOINT`, if that is set. */
  readonly tracesUrl?: string;
}

export interface RunningNode extends AsyncDisposable {
  readonly name: string;
  /** Where it listens, as `host:port`. */
  readonly grpc: string;
  readonly http: string;
  readonly gossip: string;
  /** True while it may start tasks: it is a member of a ring and holds a lease. */
  readonly serving: boolean;
  /** Resolves when it serves. Rejects with `DEADLINE`, or with `CANCELLED` if it ended first. */
  whenServing(options?: { readonly timeoutMs?: number }): Promise<void>;
  /** Runs a pipeline with this node as its coordinator; on other nodes it is found by its name among their apps'. */
  run<In, Out>(pipeline: Pipeline<In, Out> | string, options?: RunOptions<Out>): PipeRun<In, Out>;
  /** Lets attempts end, closes everything, and resolves with the exit code. */
  stop(): Promise<number>;
  /** Resolves when the node has ended, for whatever reason, with its exit code: 0 in order, 74 for a broken store. */
  readonly ended: Promise<number>;
}

/** Resolves once the node listens. Throws `INVALID_ARGUMENT`, or the system's error for a taken port. */
export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const { apps, insecureBind = false, join: joins = [], ...rest } = options;
  const name = options.name ?? hostname().slice(0, 63);
  const binds = {
    grpc: parseEndpoint("grpc", options.grpc ?? "127.0.0.1:7400"),
    http: parseEndpoint("http", options.http ?? "127.0.0.1:7480"),
    gossip: parseEndpoint("gossip", options.gossip ?? "127.0.0.1:7946"),
  };
  for (const [field, { host }] of Object.entries(binds)) {
    if (!insecureBind && !isLoopback(host))
      throw new RingError("INVALID_ARGUMENT", `${field}: ${host} is not loopback; set insecureBind to allow it`);
  }
  checkPlace(options);
  const host = await startHost({
    ...rest,
    ...binds,
    apps,
    name,
    data: options.data ?? join(".taskring", name),
    join: joins.map((address) => parseEndpoint("join", address)),
  });
  let over = false;
  const ended = host.ended.then((code) => {
    over = true;
    return code;
  });
  const serving = (): boolean => !over && host.node.holdsLease();
  return {
    name: host.name,
    grpc: host.grpc,
    http: host.http,
    gossip: host.gossip,
    get serving() {
      return serving();
    },
    whenServing: async ({ timeoutMs = SERVING_MS } = {}) => {
      const until = performance.now() + timeoutMs;
      while (!serving()) {
        if (over) throw new RingError("CANCELLED", `${name} has ended`);
        if (performance.now() >= until)
          throw new RingError("DEADLINE", `${name} does not serve after ${timeoutMs} ms: it has no lease yet`);
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      }
    },
    run: (pipeline, runOptions) => host.pipes.run(pipeline, runOptions),
    stop: () => host.stop(),
    ended,
    [Symbol.asyncDispose]: async () => {
      await host.stop();
    },
  };
}

function checkPlace({ ringSize, weight, zone }: NodeOptions): void {
  if (ringSize !== undefined && !isRingSize(ringSize))
    throw new RingError("INVALID_ARGUMENT", "ringSize must be a power of two from 8 to 4096");
  if (weight !== undefined && !isWeight(weight))
    throw new RingError("INVALID_ARGUMENT", "weight must be a whole number from 0 to 1000");
  if (zone !== undefined && !isZone(zone))
    throw new RingError("INVALID_ARGUMENT", "zone must be 1 to 63 of A-Z a-z 0-9 . _ -");
}

function parseEndpoint(field: string, text: string): Endpoint {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535)
    throw new RingError("INVALID_ARGUMENT", `${field}: ${JSON.stringify(text.slice(0, 80))} is not HOST:PORT`);
  return { host, port };
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** A restarted voter waits one lease before it grants any; an adoption of its directory comes first. */
const SERVING_MS = 60_000;
const LOOK_MS = 5;
