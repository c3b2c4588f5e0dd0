/**
 * Starts one whole node in this process: directory, store, register, gossip, peers, API, HTTP, handlers, and the machine
 * that decides. The one place where all parts meet.
 *
 * A start that fails halfway closes what it has opened. A stop lets attempts end, marks the directory as stopped on
 * purpose, and only then closes (a peer would adopt it otherwise).
 */

import { randomBytes } from "node:crypto";
import type { PipeEngine } from "../../pipe/io/engine.ts";
import { errorTextOf } from "../../pipe/token.ts";
import { findMember } from "../../ring/draft.ts";
import { foundRing } from "../../ring/founding.ts";
import { type NodeName, parseNodeName, type RingId } from "../../ring/ids.ts";
import { AdoptedDirectories, PARTITION_MOST } from "../../ring/io/adopted.ts";
import { giveBack, waitForLock } from "../../ring/io/directory.ts";
import { openGossip } from "../../ring/io/gossip.ts";
import { KeyFile } from "../../ring/io/gossip-keys.ts";
import { NodeDriver } from "../../ring/io/node.ts";
import { openPeers } from "../../ring/io/peer/peers.ts";
import { decodeRegisterState } from "../../ring/io/register-codec.ts";
import { openRegisterFile, type RegisterFile } from "../../ring/io/register-file.ts";
import { type EmbeddedStore, openEmbeddedStore } from "../../ring/io/store/embedded.ts";
import type { NodeStore } from "../../ring/io/store/node-store.ts";
import { RING_SIZE_DEFAULT, WEIGHT_DEFAULT } from "../../ring/limits.ts";
import { PROFILES } from "../../ring/membership/profile.ts";
import { Swim } from "../../ring/membership/swim.ts";
import { idTag } from "../../ring/node/neighbours.ts";
import { NodeMachine } from "../../ring/node/node.ts";
import type { RegisterState } from "../../ring/register/messages.ts";
import { TaskEngine } from "../../ring/tasks/engine.ts";
import { type Api, SHARED_STORE_LIMITS, startApi } from "../api/server.ts";
import type { App } from "../app.ts";
import { Catalogue } from "../apps/catalogue.ts";
import { type HttpServer, startHttp } from "../http/server.ts";
import { createNodeMetrics } from "../metrics/node-metrics.ts";
import { createRunner } from "../runner/runner.ts";
import { BlockedLoops } from "./blocked-loops.ts";
import { type Endpoint, portOf, resolveEndpoints } from "./endpoint.ts";
import { health } from "./health.ts";
import { tellHealth } from "./health-tag.ts";
import { hotKeysOf } from "./hot-keys.ts";
import { httpApi } from "./http-api.ts";
import { joinRing } from "./joining.ts";
import { type HostLog, openLog } from "./log.ts";
import { machineId } from "./machine-id.ts";
import { feedMetrics } from "./metrics-feed.ts";
import { Opened } from "./opened.ts";
import { openPipes } from "./pipes.ts";
import { submitOfResident } from "./resident-submit.ts";
import { openSpans, type SpanOptions } from "./span-export.ts";

export interface HostOptions extends SpanOptions {
  readonly name: string;
  readonly apps: readonly App[];
  /** Data directory; made when missing. */
  readonly data: string;
  /** `embedded` (default), or the address of a Redis that all nodes of the ring share. */
  readonly store?: string;
  /** Gossip addresses of members. Empty: this node founds a ring if its directory is empty. */
  readonly join: readonly Endpoint[];
  readonly grpc: Endpoint;
  readonly gossip: Endpoint;
  readonly http: Endpoint;
  /** File of gossip keys, in serf's format. Absent: gossip in clear. */
  readonly gossipKeys?: string;
  /** Keeps rings on one network apart. */
  readonly gossipLabel?: string;
  /** What others are told to connect to, where that is not what is bound. */
  readonly advertise?: {
    readonly host?: string;
    readonly grpcPort?: number;
    readonly httpPort?: number;
    readonly gossipPort?: number;
  };
  readonly ringSize?: number;
  readonly weight?: number;
  readonly zone?: string;
  readonly machine?: string;
  readonly autoJoin?: boolean;
  readonly leaseMs?: number;
  readonly profile?: "lan" | "wan" | "fast";
  readonly logLevel?: string;
  /** Takes each line of the log (JSON) in place of stderr. */
  readonly logTo?: (line: string) => void;
  readonly graceMs?: number;
  /** Called once when the node ends by itself or after `stop`. Default: nothing. */
  readonly onExit?: (code: number, reason: string) => void;
}

export interface Host {
  readonly node: NodeDriver;
  readonly name: NodeName;
  readonly grpc: string;
  readonly http: string;
  readonly gossip: string;
  readonly log: HostLog;
  /** Runs pipelines, with this node as their coordinator. */
  readonly pipes: PipeEngine;
  /** Lets attempts end, then closes everything. Resolves when the node has ended, with its exit code. */
  stop(): Promise<number>;
  /** Resolves when the node has ended, for whatever reason. */
  readonly ended: Promise<number>;
}

export async function startHost(options: HostOptions): Promise<Host> {
  const name = parseNodeName(options.name);
  const log = openLog({
    level: options.logLevel ?? "info",
    node: name,
    ...(options.logTo === undefined ? {} : { write: options.logTo }),
  });
  // A node that runs already could not be closed by `opened`.
  const addresses = await resolveEndpoints(options.join, (host) =>
    log.warn({ host }, `--join ${host}: the name does not resolve, and is left out`),
  );
  await using opened = new Opened();
  const directory = await waitForLock(options.data, { name, deadlineMs: LOCK_DEADLINE_MS });
  let own: EmbeddedStore | undefined;
  let acceptor: RegisterFile | undefined;
  opened.defer(() => giveBack(directory, own, acceptor));
  await directory.clearMarker("stopping");
  const kept = (await directory.readMarker("peers"))?.detail;
  const registerFile = await openRegisterFile(directory.path, { memberId: directory.id, log });
  acceptor = registerFile;
  opened.defer(() => registerFile.close());
  const isShared = options.store !== undefined && options.store !== "embedded";
  const leaseMs = options.leaseMs ?? (isShared && options.profile === "fast" ? LEASE_FAST_MS : LEASE_MS);
  const shared = isShared
    ? opened.use(
        // Loaded only where it is used: it brings a client of its own.
        await (await import("./shared-store.ts")).openSharedStore({
          address: options.store ?? "",
          directory,
          log,
          leaseMs,
        }),
      )
    : undefined;
  if (shared === undefined)
    // A store is there before the register's first value: one that is gone since was lost, with what it had acknowledged.
    own = opened.use(
      await openEmbeddedStore({ directory: directory.storePath, log, mustExist: registerFile.read() !== undefined }),
    );
  const store: NodeStore = shared?.store ?? own!;
  const adopted = opened.use(new AdoptedDirectories(log, { shared: shared?.store }));
  const held = shared === undefined ? await store.partitions() : [];
  const copies = held.filter(({ partition }) => partition < PARTITION_MOST);

  const keys = await KeyFile.open(options.gossipKeys);
  let driver: NodeDriver | undefined;
  const gossip = opened.use(
    await openGossip({
      bind: options.gossip,
      keyring: keys.keyring,
      ...(options.gossipLabel === undefined ? {} : { label: options.gossipLabel }),
      ...(options.advertise?.host === undefined
        ? {}
        : {
            advertise: {
              host: options.advertise.host,
              ...(options.advertise.gossipPort === undefined ? {} : { port: options.advertise.gossipPort }),
            },
          }),
      onEvent: (event) => driver?.step({ type: "swim", event }),
    }),
  );
  const member = {
    name,
    id: directory.id,
    weight: options.weight ?? WEIGHT_DEFAULT,
    machine: options.machine ?? machineId(),
    directory: directory.path,
    ...(options.zone === undefined ? {} : { zone: options.zone }),
  };
  const bytes = registerFile.read();
  const register: RegisterState =
    bytes === undefined
      ? {
          version: 1,
          member: name,
          memberId: directory.id,
          starts: 0,
          promised: undefined,
          accepted: undefined,
          document:
            options.join.length > 0
              ? undefined
              : foundRing({
                  ringId: randomBytes(16).toString("hex") as RingId,
                  ringSize: options.ringSize ?? RING_SIZE_DEFAULT,
                  member,
                }),
        }
      : decodeRegisterState(bytes);
  const apps = new Catalogue(options.apps);
  const tags = new Map([
    ["role", "taskring"],
    ["id", idTag(directory.id)],
    ["starts", String(register.starts + 1)],
    ["v", VERSION],
    ["weight", String(member.weight)],
    ...(member.zone === undefined ? [] : [["zone", member.zone] as const]),
  ]);
  const engine = new TaskEngine({ apps, random: Math.random });
  const swim = new Swim({
    name,
    address: gossip.address,
    tags,
    profile: PROFILES[options.profile ?? "lan"],
    random: Math.random,
    supersedes: (known, claimed) =>
      known.get("id") === claimed.get("id") && Number(claimed.get("starts")) > Number(known.get("starts")),
  });
  const machine = new NodeMachine({
    member,
    version: VERSION,
    swim,
    register,
    copies,
    engine,
    apps,
    random: Math.random,
    leaseMs,
    autoJoin: options.autoJoin ?? false,
    ...(shared === undefined ? {} : { sharedStore: true }),
    ...(shared?.givenFor === undefined ? {} : { givenFor: shared.givenFor }),
  });

  const { promise: ended, resolve: end } = withResolvers();
  let closing: Promise<void> | undefined;
  const finish = (code: number, reason: string): void => {
    if (closing !== undefined) return;
    log[code === 0 ? "info" : "error"]({ code, reason }, "the node ends");
    closing = close().then(
      () => end(code),
      (error: unknown) => {
        log.error({ err: error }, "not everything could be closed");
        end(code === 0 ? 1 : code);
      },
    );
    void closing.then(() => options.onExit?.(code, reason));
  };
  const metrics = createNodeMetrics();
  const blockedLoops = new BlockedLoops(metrics);
  const node: NodeDriver = new NodeDriver({
    name,
    machine,
    store,
    directory,
    register: registerFile,
    adopted,
    gossip: () => gossip,
    peers: () => peers,
    runner: () => runner,
    log,
    ...(shared === undefined ? {} : { mayOpen: shared.granted, seats: shared.seats }),
    warnings: () => blockedLoops.warnings(),
    onCommit: (durationMs) => metrics.storeCommitSeconds.record(durationMs / 1_000),
    onExit: finish,
  });
  driver = node;
  const runner = opened.use(
    createRunner({
      apps,
      log,
      onEnds: (ends) => node.ended(ends),
      mayStart: () => node.holdsLease(),
      submit: (child) => submitOfResident(node, child),
      openRun: (pipeline, run) => pipes.engine.run(pipeline, run),
      keep: (attemptId, changes) => node.step({ type: "keep", attemptId, changes }),
      onBlocked: (blocked) => blockedLoops.note(blocked),
      onStray: ({ app }) => metrics.strayErrors.add(1, app),
    }),
  );
  runner.watchProcess((error) => {
    log.fatal({ err: error }, "an error outside of any handler stops the node");
    finish(1, errorTextOf(error));
  });
  const peers = opened.use(
    openPeers({
      self: () => {
        const document = machine.document ?? register.document;
        return {
          type: "hello",
          protocol: { lowest: 1, highest: 1 },
          ringId: document?.ringId,
          history: document?.history ?? 0,
          name,
          memberId: directory.id,
          store: store.shared ? "shared" : "own",
        };
      },
      onMessages: (from, messages) => {
        const others = pipes.sift(from, messages);
        if (others.length > 0) node.step({ type: "messages", from, messages: others });
      },
      onLink: (peer, state) => {
        node.step({ type: "link", peer, up: state === "up" });
        if (state === "up") pipes.linked(peer);
      },
      addressOf: (peer) => node.addressesOf(peer)?.grpc || undefined,
      memberId: (peer) => (machine.document === undefined ? undefined : findMember(machine.document, peer)?.id),
      log,
    }),
  );
  const spans = opened.use(openSpans(options, log));
  const pipes = opened.use(
    openPipes({ node, apps, metrics, spans, log, send: (to, message) => peers.send(to, message) }),
  );
  const api: Api = await startApi({
    node,
    bind: options.grpc,
    log,
    services: [peers.service],
    keys,
    hotKeys: hotKeysOf(node),
    pipes: pipes.engine,
    ...(shared !== undefined && { limits: SHARED_STORE_LIMITS }),
  });
  opened.defer(() => api.close({ graceMs: 200 }));
  const { stop: stopMetrics } = feedMetrics({
    metrics,
    node,
    store,
    runner,
    swim,
    gossip,
    appViews: (limit) => engine.appViews(limit),
  });
  opened.defer(stopMetrics);
  const { stop: stopHealth, known, ...checks } = health(node, store);
  opened.defer(stopHealth);
  opened.defer(tellHealth(node, known).stop);
  const http: HttpServer = opened.use(
    await startHttp({
      ...options.http,
      metrics: () => metrics.registry.render(),
      api: httpApi(node),
      ...checks,
    }),
  );
  const grpcPort = options.advertise?.grpcPort ?? portOf(api.address);
  node.step({
    type: "swim",
    event: {
      type: "set-tags",
      tags: new Map([...tags, ["grpc", String(grpcPort)], ["http", String(options.advertise?.httpPort ?? http.port)]]),
    },
  });
  node.start();
  shared?.serve(node, () => machine.document);
  const joining = joinRing({ node, given: addresses, kept, directory });

  const parts = opened.move();
  async function close(): Promise<void> {
    const joined = joining.stop();
    pipes[Symbol.dispose]();
    api.drain();
    await api.close({ graceMs: 200 });
    node.close();
    await joined;
    await parts[Symbol.asyncDispose]();
  }
  return {
    node,
    name,
    grpc: api.address,
    http: `${http.host}:${http.port}`,
    gossip: `${gossip.address.host}:${gossip.address.port}`,
    log,
    pipes: pipes.engine,
    ended,
    stop: () => {
      api.drain();
      node.stop(options.graceMs ?? GRACE_MS);
      return ended;
    },
  };
}

const VERSION = "0.1.0";
const LEASE_MS = 5_000;
const LEASE_FAST_MS = 1_500;
const GRACE_MS = 25_000;
/** An adoption of this directory may be under way. */
const LOCK_DEADLINE_MS = 120_000;

/** `Promise.withResolvers` came with Node 22. */
function withResolvers(): { readonly promise: Promise<number>; readonly resolve: (code: number) => void } {
  let resolve: (code: number) => void = () => {};
  const promise = new Promise<number>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
