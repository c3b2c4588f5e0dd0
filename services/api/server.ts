/**
 * The node's gRPC server: Tasks, Apps, Cluster, whatever service the host adds (Peer), health and reflection.
 *
 * The listener is ours (`listener.ts`) and hands sockets to grpc-js, so that connections are counted and capped.
 *
 * A1  While draining: new submits are refused with DRAINING and a delay, health says NOT_SERVING, everything accepted is
 *     answered, all else goes on.
 * A2  `close` ends streams when nothing on them waits for an outcome, and cuts what is left after its grace.
 */

import { Server, ServerCredentials, type ServerDuplexStream, type UntypedServiceImplementation } from "@grpc/grpc-js";
import type { PipeEngine } from "../../pipe/io/engine.ts";
import { LINK_PATH, STREAM_PATH } from "../../proto/load.ts";
import { widenWindows } from "../../proto/window.ts";
import { RingError } from "../../ring/errors.ts";
import type { RingNode } from "../../ring/node/port.ts";
import { type AskHotKeys, appsHandlers } from "./apps-service.ts";
import { bindService, type CallOptions, type Identify } from "./calls.ts";
import { clusterHandlers } from "./cluster-service.ts";
import type { GossipKeys } from "./gossip-keys.ts";
import { addHealth } from "./health.ts";
import { Intake } from "./intake.ts";
import { API_LIMITS, type ApiLimits } from "./limits.ts";
import { Listener } from "./listener.ts";
import { PipeSession } from "./pipe-session.ts";
import { pipesHandlers } from "./pipes-service.ts";
import { addReflection } from "./reflection.ts";
import { statusOf } from "./status.ts";
import { StreamSession } from "./stream-session.ts";
import { tasksHandlers } from "./tasks-service.ts";
import { waitForEnd } from "./waiting.ts";

export { SHARED_STORE_LIMITS } from "./limits.ts";

export interface ApiOptions {
  readonly node: RingNode;
  /** Host and port to listen on; port 0 lets the system choose. */
  readonly bind: { readonly host: string; readonly port: number };
  readonly limits?: Partial<ApiLimits>;
  readonly log: ApiLog;
  /** The node's gossip keys. Absent: calls about them are refused. */
  readonly keys?: GossipKeys;
  /** Who calls; throws UNAUTHENTICATED. Default: everybody is `local`. */
  readonly identify?: Identify;
  /** Default: no TLS. */
  readonly credentials?: ServerCredentials;
  /** Further services on the same port. */
  readonly services?: readonly ExtraService[];
  /** Absent: keys are not counted. */
  readonly hotKeys?: AskHotKeys;
  /** Absent: `taskring.v1.Pipes` is not served. */
  readonly pipes?: PipeEngine;
}

export interface ExtraService {
  readonly definition: Parameters<Server["addService"]>[0];
  readonly implementation: UntypedServiceImplementation;
}

export interface ApiLog {
  error(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface Api extends AsyncDisposable {
  /** `host:port` as bound. */
  readonly address: string;
  /** Connections now, and how many were closed because of the cap. */
  readonly connections: { readonly open: number; readonly refused: number };
  /** A1. Cannot be undone. */
  drain(): void;
  /** A2. Drains first. */
  close(options: { readonly graceMs: number }): Promise<void>;
}

/** Rejects with the listener's error, such as EADDRINUSE. */
export async function startApi(options: ApiOptions): Promise<Api> {
  const limits: ApiLimits = { ...API_LIMITS, ...options.limits };
  const { node } = options;
  let draining = false;
  const sessions = new Set<StreamSession>();
  const intake = new Intake({ most: limits.turnTasks });
  const server = new Server(serverOptions(limits));
  widenWindows(server, { bytes: limits.windowBytes, peerPath: LINK_PATH });

  const callOptions: CallOptions = {
    identify: options.identify ?? (() => LOCAL),
    askMs: limits.askMs,
    onBug: (path, error) => options.log.error({ path, err: error }, "an API call failed unexpectedly"),
  };
  const admit = (): void => {
    if (draining) throw new RingError("DRAINING", "the node is stopping", { retryAfterMs: limits.drainRetryMs });
  };
  const openStream = (call: ServerDuplexStream<Buffer, Buffer>): void => {
    sessions.add(
      new StreamSession(call, {
        node,
        intake,
        ...limits,
        draining: () => draining,
        wait: (request, gone) => waitForEnd(node, request, { mostMs: limits.waitMs, gone }),
        onBug: (error) => callOptions.onBug(STREAM_PATH, error),
        onClosed: (session) => sessions.delete(session),
      }),
    );
  };
  const tasks = tasksHandlers({ node, limits, admit });
  const raw = { SubmitStream: guarded(openStream, callOptions) };
  for (const [name, handlers] of [
    ["taskring.v1.Tasks", { ...tasks, raw }],
    ["taskring.v1.Apps", appsHandlers({ node, hotKeys: options.hotKeys })],
    ["taskring.v1.Cluster", clusterHandlers({ node, limits, keys: options.keys })],
  ] as const) {
    const { definition, implementation } = bindService(name, handlers, callOptions);
    server.addService(definition, implementation);
  }
  const { pipes } = options;
  if (pipes !== undefined) {
    const openRun = (call: ServerDuplexStream<Buffer, Buffer>): void => {
      admit();
      new PipeSession(call, pipes);
    };
    const handlers = { ...pipesHandlers(pipes), raw: { Run: guarded(openRun, callOptions) } };
    const { definition, implementation } = bindService("taskring.v1.Pipes", handlers, callOptions);
    server.addService(definition, implementation);
  }
  for (const { definition, implementation } of options.services ?? []) server.addService(definition, implementation);
  const health = addHealth(server, ["", TASKS, LIVENESS]);
  addReflection(server);

  const stopListening = node.onDocument((document) => {
    for (const session of sessions) session.ringChanged(document.epoch);
  });
  const injector = server.createConnectionInjector(options.credentials ?? ServerCredentials.createInsecure());
  const listener = new Listener((socket) => injector.injectConnection(socket), limits, options.log);
  const address = await listener.listen(options.bind);

  const drain = (): void => {
    draining = true;
    health.setStatus("", "NOT_SERVING");
    health.setStatus(TASKS, "NOT_SERVING");
  };
  const close = async ({ graceMs }: { readonly graceMs: number }): Promise<void> => {
    drain();
    stopListening();
    for (const session of sessions) session.closeWhenIdle();
    await listener.close();
    await shutdown(server, graceMs);
    injector.destroy();
    listener.destroyAll();
  };
  return {
    address,
    connections: listener,
    drain,
    close,
    [Symbol.asyncDispose]: () => close({ graceMs: 0 }),
  };
}

/** Refuses a stream of somebody unknown, or that cannot be opened now, before anything is read from it. */
function guarded(
  open: (call: ServerDuplexStream<Buffer, Buffer>) => void,
  options: CallOptions,
): (call: ServerDuplexStream<Buffer, Buffer>) => void {
  return (call) => {
    try {
      options.identify(call.metadata);
      open(call);
    } catch (error) {
      call.emit("error", statusOf(error));
    }
  };
}

function serverOptions(limits: ApiLimits): ConstructorParameters<typeof Server>[0] {
  return {
    "grpc.max_receive_message_length": limits.messageBytes,
    "grpc.max_send_message_length": -1,
    "grpc.max_concurrent_streams": limits.streamsPerConnection,
    "grpc.keepalive_time_ms": limits.keepaliveMs,
    "grpc.keepalive_timeout_ms": limits.keepaliveTimeoutMs,
    ...(limits.connectionAgeMs === 0
      ? {}
      : {
          "grpc.max_connection_age_ms": limits.connectionAgeMs,
          "grpc.max_connection_age_grace_ms": limits.connectionGraceMs,
        }),
    "grpc.enable_channelz": 0,
  };
}

/** Waits for calls to end, at most `graceMs`, then cuts them. */
function shutdown(server: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      server.forceShutdown();
      resolve();
    }, graceMs);
    server.tryShutdown(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

const LOCAL = { name: "local" } as const;
const TASKS = "taskring.v1.Tasks";
const LIVENESS = "liveness";
