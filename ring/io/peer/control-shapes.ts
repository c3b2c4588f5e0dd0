/**
 * The shapes of control messages: what a peer sent is one of `NodeMessage`, or it is dropped.
 *
 * Unknown fields are left out, unknown types are garbage, and numbers are range-checked here, once (reliability rule 16).
 */

import * as v from "valibot";
import type { RingDocument } from "../../document.ts";
import { validateDocument } from "../../document-check.ts";
import { isErrorCode, RingError } from "../../errors.ts";
import { type Brand, isAppName } from "../../ids.ts";
import type { NodeMessage } from "../../node/messages.ts";

/** `undefined`: no known message. */
export function checkControl(value: unknown): NodeMessage | undefined {
  const result = v.safeParse(message, value);
  // That the output has the type is checked below, by the compiler (_SchemaFits).
  return result.success ? (result.output as unknown as NodeMessage) : undefined;
}

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const amount = v.pipe(v.number(), v.finite(), v.minValue(0));
const anyNumber = v.pipe(v.number(), v.finite());
const text = v.pipe(v.string(), v.maxLength(65_536));
const word = v.pipe(v.string(), v.minLength(1), v.maxLength(256));
const nodeName = v.pipe(v.string(), v.regex(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,62})?$/));
const appName = v.pipe(v.string(), v.check(isAppName));
const bytes = v.pipe(
  v.instance(Uint8Array),
  v.check((value) => value.length <= 4 * 1024 * 1024),
);
const partition = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(4_095));
const errorCode = v.pipe(
  v.string(),
  v.transform((code) => (isErrorCode(code) ? code : "INTERNAL")),
);

/** At most `most` items. */
function list<const T extends v.GenericSchema>(item: T, most: number) {
  return v.pipe(v.array(item), v.maxLength(most));
}

const memberFields = {
  name: nodeName,
  id: word,
  weight: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(1_000)),
  zone: v.optional(word),
  machine: text,
  directory: text,
  unwell: v.optional(v.literal(true)),
};
const stranded = v.object({
  partition,
  member: nodeName,
  memberId: word,
  generation: count,
  byForce: v.optional(v.literal(true)),
  where: v.variant("type", [
    v.object({ type: v.literal("adopter"), adopter: nodeName }),
    v.object({ type: v.literal("away") }),
  ]),
});
const stagedChange = v.variant("type", [
  v.object({ type: v.literal("join"), member: v.object(memberFields) }),
  v.object({ type: v.picklist(["leave", "force-remove", "down"]), name: nodeName }),
  v.object({ type: v.literal("replace"), name: nodeName, by: nodeName }),
  v.object({ type: v.literal("set-weight"), name: nodeName, weight: count }),
  v.object({ type: v.literal("set-zone"), name: nodeName, zone: v.optional(word) }),
]);
/** Whole or not at all: what a node learns it keeps, and reads again at its next start. */
const document = v.pipe(
  v.unknown(),
  v.rawTransform<unknown, RingDocument>(({ dataset, addIssue, NEVER }) => {
    try {
      return validateDocument(dataset.value);
    } catch (error) {
      if (!(error instanceof RingError)) throw error;
      addIssue({ message: error.message });
      return NEVER;
    }
  }),
);

const ballot = v.object({ round: count, member: nodeName, starts: count });
const consent = v.object({ member: nodeName, epoch: count, partitions: list(partition, 4_096) });
const vote = v.object({ ballot, document, consents: list(consent, 4_096) });
const envelope = { ringId: word, history: count, memberId: word, starts: count, run: count };
const registerMessage = v.variant("type", [
  v.object({ ...envelope, type: v.literal("inquire"), epoch: count, request: count, members: list(nodeName, 1_024) }),
  v.object({ ...envelope, type: v.literal("inquired"), epoch: count, request: count, waitsMs: list(amount, 1_024) }),
  v.object({ ...envelope, type: v.literal("prepare"), epoch: count, ballot }),
  v.object({ ...envelope, type: v.literal("promise"), epoch: count, ballot, accepted: v.optional(vote) }),
  v.object({ ...envelope, type: v.literal("accept"), epoch: count, vote }),
  v.object({ ...envelope, type: v.literal("accepted"), epoch: count, ballot }),
  v.object({ ...envelope, type: v.literal("refused"), epoch: count, ballot, promised: ballot }),
  v.object({ ...envelope, type: v.literal("leased"), epoch: count, ballot, waitMs: amount }),
  v.object({ ...envelope, type: v.literal("decided"), epoch: count, ballot }),
  v.object({ ...envelope, type: v.literal("document"), document }),
  v.object({ ...envelope, type: v.literal("pull"), epoch: count }),
  v.object({ ...envelope, type: v.literal("ask"), epoch: count, request: count }),
  v.object({ ...envelope, type: v.literal("grant"), epoch: count, request: count }),
  v.object({ ...envelope, type: v.literal("stale"), seen: v.object({ memberId: word, starts: count, run: count }) }),
]);

const limits = v.object({ queued: amount, running: amount, perSecond: amount, weight: amount });
const partialLimits = v.partial(limits);
const existence = v.picklist(["implied", "created", "deleted"]);
const scheduleSpec = v.object({
  name: word,
  every: v.variant("type", [
    v.object({ type: v.literal("interval"), everyMs: amount }),
    v.object({ type: v.literal("cron"), expression: word, timeZone: v.optional(word) }),
  ]),
  taskType: word,
  key: text,
  payload: bytes,
  misfire: v.picklist(["once", "skip"]),
});
const limit = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(100_000));
const id = word;
const action = v.picklist(["pause", "resume", "run", "delete"]);
const taskState = v.picklist(["queued", "delayed", "running", "retrying", "done", "dead", "cancelled"]);
const taskRequest = v.variant("type", [
  v.object({ type: v.literal("get"), id }),
  v.object({
    type: v.literal("wait"),
    id,
    timeoutMs: amount,
    since: v.optional(v.object({ state: taskState, attempts: count })),
  }),
  v.object({ type: v.literal("cancel"), id }),
  v.object({ type: v.literal("list"), app: v.optional(text), key: v.optional(text), state: v.optional(word), limit }),
  v.object({ type: v.literal("list-dead"), app: v.optional(text), after: v.optional(text), limit }),
  v.object({ type: v.picklist(["retry-dead", "drop-dead"]), ids: list(id, 10_000) }),
  v.object({ type: v.literal("key"), app: appName, key: text, action: v.picklist(["describe", "pause", "resume"]) }),
  v.object({ type: v.literal("put-schedule"), app: appName, spec: scheduleSpec }),
  v.object({ type: v.literal("schedule"), app: appName, key: text, name: word, action, taskId: v.optional(id) }),
  v.object({ type: v.literal("list-schedules"), app: v.optional(text), name: v.optional(text), limit }),
  v.object({ type: v.literal("read-state"), app: appName, key: text }),
  v.object({ type: v.literal("read-aside"), app: appName, key: text, drop: v.boolean() }),
]);
const nodeRequest = v.variant("type", [
  v.object({ type: v.literal("task"), partition, request: taskRequest }),
  v.object({ type: v.literal("local-tasks"), request: taskRequest }),
  v.object({ type: v.picklist(["node-status", "clear", "transfers"]) }),
  v.object({ type: v.literal("stage"), change: stagedChange }),
  v.object({ type: v.literal("commit"), planId: v.optional(word) }),
  v.object({ type: v.literal("admit"), member: v.object(memberFields) }),
  v.object({
    type: v.literal("transfer-limit"),
    limit: v.optional(count),
    paused: v.optional(v.boolean()),
    force: v.optional(partition),
  }),
  v.object({ type: v.literal("drain"), name: nodeName, drain: v.boolean() }),
  v.object({
    type: v.literal("app"),
    app: appName,
    action: v.union([v.picklist(["create", "delete", "pause", "resume"]), v.object({ limits: partialLimits })]),
  }),
  v.object({ type: v.literal("list-apps"), limit, app: v.optional(appName) }),
]);

const failure = v.object({ name: text, message: text, stack: v.optional(text) });
const taskStatus = v.object({
  id,
  app: text,
  type: text,
  key: text,
  state: taskState,
  attempts: count,
  partition,
  acceptedAtMs: anyNumber,
  dueAtMs: v.optional(anyNumber),
  endedAtMs: v.optional(anyNumber),
  error: v.optional(failure),
  result: v.optional(bytes),
  waits: v.optional(text),
});
const refused = v.object({
  type: v.literal("refused"),
  code: errorCode,
  detail: text,
  retryAfterMs: v.optional(amount),
});
const ok = v.object({ type: v.literal("ok") });
/** A Map travels as an object. Names are the app's own: a record would leave out `constructor` and its like. */
const stateValues = v.pipe(
  v.custom<object>((values) => typeof values === "object" && values !== null),
  v.transform((values): unknown[] => Object.entries(values)),
  v.array(v.tuple([v.string(), bytes])),
  v.transform((entries) => new Map(entries)),
);
const taskAnswer = v.variant("type", [
  v.object({ type: v.literal("task"), status: taskStatus }),
  v.object({ type: v.literal("tasks"), statuses: list(taskStatus, 100_000), next: v.optional(text) }),
  v.object({ type: v.literal("count"), count }),
  v.object({
    type: v.literal("key"),
    key: v.object({
      app: text,
      key: text,
      partition,
      paused: v.boolean(),
      queued: count,
      running: v.boolean(),
      head: v.optional(taskStatus),
      waits: v.optional(text),
    }),
  }),
  v.object({
    type: v.literal("schedules"),
    schedules: list(
      v.object({
        app: text,
        key: text,
        name: text,
        spec: text,
        taskType: text,
        paused: v.boolean(),
        declared: v.boolean(),
        lastFireAtMs: v.optional(anyNumber),
        nextFireAtMs: v.optional(anyNumber),
        waits: v.optional(text),
      }),
      100_000,
    ),
  }),
  v.object({ type: v.literal("state"), values: stateValues }),
  v.object({ type: v.literal("aside"), values: list(v.object({ origin: word, name: text, value: bytes }), 10_000) }),
  ok,
  v.object({ type: v.literal("refused"), code: errorCode, detail: text }),
]);
const partitionView = v.object({
  partition,
  queued: count,
  delayed: count,
  running: count,
  dead: count,
  schedules: count,
  lastCompletion: anyNumber,
  runnable: v.boolean(),
  oldestWaitMs: anyNumber,
});
const codeAndDetail = v.object({ code: word, detail: text });
const matchAndVersion = v.object({ match: text, version: text });
const nodeStatus = v.object({
  name: nodeName,
  version: text,
  state: v.picklist(["starting", "waiting-to-join", "serving", "draining", "stopping", "broken"]),
  epoch: count,
  history: count,
  leaseMs: v.optional(anyNumber),
  partitions: list(partitionView, 4_096),
  queued: count,
  running: count,
  dead: count,
  children: v.optional(count, 0),
  stranded: list(
    v.object({ member: nodeName, partition, rows: v.optional(count), where: v.picklist(["adopter", "away"]) }),
    65_536,
  ),
  apps: list(matchAndVersion, 100_000),
  warnings: list(codeAndDetail, 1_000),
  store: v.object({
    rows: count,
    bytes: amount,
    commits: count,
    syncs: count,
    quarantined: count,
    broken: v.optional(text),
  }),
  adopting: list(nodeName, 4_096),
});
const nodeAnswer = v.variant("type", [
  v.object({ type: v.literal("task"), answer: taskAnswer, missing: v.optional(count) }),
  v.object({ type: v.literal("node-status"), status: nodeStatus }),
  v.object({ type: v.literal("document"), document }),
  v.object({
    type: v.literal("transfers"),
    transfers: list(
      v.object({
        partition,
        kind: v.picklist(["handoff", "stranded"]),
        from: nodeName,
        to: nodeName,
        phase: v.picklist(["waiting", "offered", "snapshot", "catch-up", "cut-over", "done"]),
        reason: text,
        rows: count,
        bytes: amount,
        sinceMs: anyNumber,
      }),
      65_536,
    ),
    limit: count,
    paused: v.boolean(),
  }),
  v.object({
    type: v.literal("apps"),
    apps: list(
      v.object({
        app: text,
        match: text,
        version: text,
        existence,
        paused: v.boolean(),
        limits,
        queued: count,
        running: count,
        dead: count,
        children: v.optional(count, 0),
        oldestWaitMs: anyNumber,
      }),
      100_000,
    ),
  }),
  ok,
  refused,
]);

const transfer = v.object({ partition, kind: v.picklist(["handoff", "stranded"]), generation: count, nonce: count });
const message = v.variant("type", [
  v.object({
    type: v.literal("hello"),
    protocol: v.object({ lowest: count, highest: count }),
    ringId: v.optional(word),
    history: count,
    name: nodeName,
    memberId: word,
    store: v.optional(v.picklist(["own", "shared"])),
  }),
  v.object({
    type: v.literal("apps"),
    loaded: list(matchAndVersion, 100_000),
    overrides: list(
      v.object({ app: appName, version: count, existence, paused: v.boolean(), limits: partialLimits }),
      100_000,
    ),
  }),
  v.object({ type: v.literal("ask"), askId: count, epoch: count, request: nodeRequest }),
  v.object({ type: v.literal("answer"), askId: count, answer: nodeAnswer }),
  v.object({ type: v.literal("transfer-offer"), transfer, epoch: count, stranded: v.optional(stranded) }),
  v.object({ type: v.literal("transfer-wait"), transfer, reason: text }),
  v.object({ type: v.literal("transfer-begin"), transfer }),
  v.object({ type: v.literal("transfer-ack"), transfer, sequence: count, complete: v.boolean() }),
  v.object({ type: v.literal("transfer-abort"), transfer, reason: text }),
  v.object({ type: v.literal("register"), for: nodeName, as: nodeName, message: registerMessage }),
  v.object({ type: v.literal("document"), document }),
  v.object({ type: v.literal("pull-document"), epoch: count }),
  v.object({ type: v.literal("speaking-for"), members: list(nodeName, 4_096) }),
  v.object({
    type: v.literal("consent"),
    member: nodeName,
    epoch: count,
    gives: v.variant("type", [
      v.object({ type: v.literal("moves"), moves: list(v.object({ partition, to: nodeName }), 4_096) }),
      v.object({ type: v.literal("all"), partitions: list(partition, 4_096), adopter: nodeName }),
    ]),
  }),
  v.object({ type: v.literal("candidate"), member: v.object(memberFields) }),
  v.object({
    type: v.literal("absorbed"),
    entries: list(stranded, 65_536),
    generations: v.optional(list(count, 65_536)),
  }),
  v.object({ type: v.literal("loads"), counts: list(v.object({ partition, tasks: count }), 4_096) }),
  v.object({ type: v.literal("restarting"), graceMs: amount }),
  v.object({ type: v.picklist(["store-lost", "store-kept"]), epoch: amount }),
  v.object({ type: v.literal("refused"), code: errorCode, detail: text }),
]);

/** What the compiler compares: brands, `readonly`, optionality and Maps aside. */
type Plain<T> =
  T extends Brand<string, string>
    ? string
    : T extends Brand<number, string>
      ? number
      : T extends string | number | boolean | undefined
        ? T
        : T extends Uint8Array
          ? Uint8Array
          : T extends ReadonlyMap<string, infer Value>
            ? Map<string, Plain<Value>>
            : T extends readonly (infer Item)[]
              ? Plain<Item>[]
              : { -readonly [Key in keyof T]-?: Plain<Exclude<T[Key], undefined>> };

type Control = Exclude<NodeMessage, { readonly type: "forward" | "forwarded" | "transfer-chunk" | "pipe" }>;
type Fits<Given extends Wanted, Wanted> = Given;
/** A message or a field that is missing on either side does not compile. */
type _SchemaFits = [
  Fits<Plain<Control>, Plain<v.InferOutput<typeof message>>>,
  Fits<Plain<v.InferOutput<typeof message>>, Plain<Control>>,
];
