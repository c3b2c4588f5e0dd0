/** The gRPC edge against a fake node, over real sockets: each wrong input is one clear, typed error. */

import { Client, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DETAILS_KEY, parseErrorDetails } from "../../../proto/error-details.ts";
import { serviceDefinition } from "../../../proto/load.ts";
import { ERRORS, type ErrorCode } from "../../../ring/errors.ts";
import type { NodeRequest } from "../../../ring/node/requests.ts";
import { encodeRecord } from "../../../ring/tasks/record-encode.ts";
import type { TaskStatus } from "../../../ring/tasks/task.ts";
import { mintId } from "../../../ring/tasks/task-id.ts";
import { type Api, startApi } from "../../../services/api/server.ts";
import { documentOf, FakeNode, quiet, until } from "./fake-node.ts";

let node: FakeNode;
let api: Api;
let client: Client;

beforeEach(async () => {
  node = new FakeNode();
  api = await startApi({ node, bind: { host: "127.0.0.1", port: 0 }, log: quiet });
  client = new Client(api.address, credentials.createInsecure());
});

afterEach(async () => {
  client.close();
  await api.close({ graceMs: 0 });
});

interface Failure {
  readonly status: number;
  readonly reason: string;
  readonly retryAfterMs: number | undefined;
}

function call(service: string, name: string, request: object): Promise<Record<string, unknown>> {
  const method = serviceDefinition(service)[name]!;
  return bytesCall(method.path, method.requestSerialize(request as never)).then(
    (bytes) => method.responseDeserialize(bytes) as never,
  );
}

function bytesCall(path: string, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      (b: Buffer) => b,
      (b: Buffer) => b,
      bytes,
      new Metadata(),
      { deadline: Date.now() + 5_000 },
      (error, reply) => (error === null ? resolve(reply!) : reject(error)),
    );
  });
}

async function failure(promise: Promise<unknown>): Promise<Failure> {
  const error = await promise.then(
    () => undefined,
    (thrown: ServiceError) => thrown,
  );
  if (error === undefined) throw new Error("the call succeeded");
  const [bytes] = error.metadata.get(DETAILS_KEY) as Buffer[];
  const details = parseErrorDetails(bytes!);
  expect(details.status).toBe(error.code);
  expect(details.domain).toBe("taskring");
  return { status: error.code, reason: details.reason, retryAfterMs: details.retryAfterMs };
}

const submit = (request: object) => call("taskring.v1.Tasks", "Submit", request);

test("a task state that does not exist is the caller's mistake, not a bug of the node", async () => {
  const found = await failure(call("taskring.v1.Tasks", "List", { state: 99 }));
  expect(found.reason).toBe("INVALID_ARGUMENT");
});

describe("submit", () => {
  test("a task without an id gets one, and the reply names its owner and partition", async () => {
    const reply = await submit({ app: "acme", type: "mail.send", key: "k", payload: Buffer.from("hello") });
    expect(reply).toMatchObject({ owner: "n1", epoch: 7, duplicate: false, state: "QUEUED" });
    expect(reply.taskId).toMatch(/^[0-9a-f]{32}$/);
    expect(node.accepted[0]?.id).toBe(reply.taskId);
  });

  test("the same id again is answered as a duplicate with the first one's state", async () => {
    const taskId = mintId({ wallMs: 1, random: () => 0.5, app: "acme", key: "k" });
    await submit({ app: "acme", type: "t", key: "k", taskId });
    expect(await submit({ app: "acme", type: "t", key: "k", taskId })).toMatchObject({ taskId, duplicate: true });
    expect(node.accepted.length).toBe(1);
  });

  test.each([
    ["a bad app name", { app: "Bad_Name", type: "t" }, "APP_NAME_INVALID"],
    ["no type", { app: "acme" }, "INVALID_ARGUMENT"],
    ["an oversize payload", { app: "acme", type: "t", payload: Buffer.alloc(1024 * 1024 + 1) }, "PAYLOAD_TOO_LARGE"],
    ["a priority out of range", { app: "acme", type: "t", priority: 101 }, "INVALID_ARGUMENT"],
    ["an id of another key", { app: "acme", type: "t", key: "k", taskId: "0".repeat(32) }, "INVALID_ARGUMENT"],
  ])("%s is a typed error and reaches no node", async (_title, request, reason) => {
    const found = await failure(submit(request));
    expect(found).toMatchObject({ reason, status: status.INVALID_ARGUMENT });
    expect(node.accepted).toEqual([]);
  });

  test("malformed protobuf is INVALID_ARGUMENT and the connection survives", async () => {
    const garbage = Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]);
    for (const path of [
      "/taskring.v1.Tasks/Submit",
      "/taskring.v1.Tasks/SubmitBatch",
      "/taskring.v1.Tasks/Get",
      "/taskring.v1.Apps/List",
    ]) {
      expect(await failure(bytesCall(path, garbage))).toMatchObject({
        reason: "INVALID_ARGUMENT",
        status: status.INVALID_ARGUMENT,
      });
    }
    expect(await submit({ app: "acme", type: "t" })).toMatchObject({ duplicate: false });
    expect(api.connections.open).toBe(1);
  });

  test("a message above the limit is refused and the connection survives", async () => {
    const error = await bytesCall("/taskring.v1.Tasks/Submit", Buffer.alloc(5 * 1024 * 1024)).catch(
      (thrown: ServiceError) => thrown,
    );
    expect((error as ServiceError).code).toBe(status.RESOURCE_EXHAUSTED);
    expect(await submit({ app: "acme", type: "t" })).toMatchObject({ duplicate: false });
  });

  test("each code of the catalogue reaches the caller with its status, and a delay where a retry makes sense", async () => {
    for (const code of Object.keys(ERRORS) as ErrorCode[]) {
      node.judge = () => ({ type: "refused", code, detail: "because" });
      const found = await failure(submit({ app: "acme", type: "t" }));
      expect(found.reason).toBe(code);
      expect(found.status).toBe(status[ERRORS[code].status]);
      expect(found.retryAfterMs !== undefined).toBe(ERRORS[code].retryable);
    }
  });

  test("P5: a full queue is RESOURCE_EXHAUSTED with the node's retry delay", async () => {
    node.judge = () => ({ type: "refused", code: "QUEUE_FULL", detail: "acme has 100,000 tasks", retryAfterMs: 1_750 });
    expect(await failure(submit({ app: "acme", type: "t" }))).toEqual({
      reason: "QUEUE_FULL",
      status: status.RESOURCE_EXHAUSTED,
      retryAfterMs: 1_750,
    });
  });

  test("a node that is part of no ring says so", async () => {
    node.document_ = undefined;
    expect(await failure(submit({ app: "acme", type: "t" }))).toMatchObject({
      reason: "NO_OWNER",
      status: status.UNAVAILABLE,
    });
  });

  test("a batch has one result for each task, in order", async () => {
    node.judge = (record) =>
      record.type === "bad" ? { type: "refused", code: "TASK_TYPE_UNKNOWN", detail: "no" } : undefined;
    const tasks = [
      { app: "acme", type: "ok" },
      { app: "acme", type: "bad" },
      { app: "NO", type: "ok" },
      { app: "acme", type: "ok" },
    ];
    const { results } = (await call("taskring.v1.Tasks", "SubmitBatch", { tasks })) as {
      results: { accepted?: object; refused?: { code: string } }[];
    };
    expect(results.map((result) => result.refused?.code ?? "ok")).toEqual([
      "ok",
      "TASK_TYPE_UNKNOWN",
      "APP_NAME_INVALID",
      "ok",
    ]);
    const many = { tasks: new Array(1_001).fill({ app: "acme", type: "t" }) };
    expect(await failure(call("taskring.v1.Tasks", "SubmitBatch", many))).toMatchObject({ reason: "INVALID_ARGUMENT" });
  });

  test("a caller that gives up is forgotten; its task stays", async () => {
    node.holding = true;
    const method = serviceDefinition("taskring.v1.Tasks").Submit!;
    const given = client.makeUnaryRequest(
      method.path,
      (b: Buffer) => b,
      (b: Buffer) => b,
      Buffer.from(encodeRecord({ app: "acme", type: "t" })),
      () => undefined,
    );
    await until(() => node.held === 1);
    given.cancel();
    await until(() => node.forgotten.length === 1);
  });
});

describe("draining", () => {
  test("new submits are refused with a delay, health turns, what was accepted is answered", async () => {
    node.holding = true;
    const early = submit({ app: "acme", type: "t" });
    await until(() => node.held === 1);
    api.drain();
    expect(await failure(submit({ app: "acme", type: "t" }))).toMatchObject({
      reason: "DRAINING",
      status: status.UNAVAILABLE,
      retryAfterMs: 250,
    });
    expect(await healthOf("taskring.v1.Tasks")).toBe("NOT_SERVING");
    expect(await healthOf("liveness")).toBe("SERVING");
    node.release();
    expect(await early).toMatchObject({ duplicate: false });
  });

  async function healthOf(service: string): Promise<string> {
    const { loadSync } = await import("@grpc/proto-loader");
    const { protoPath } = await import("grpc-health-check");
    const definition = loadSync(protoPath, { enums: String })["grpc.health.v1.Health"] as never as Record<
      string,
      { path: string; requestSerialize(o: object): Buffer; responseDeserialize(b: Buffer): { status: string } }
    >;
    const method = definition.Check!;
    return method.responseDeserialize(await bytesCall(method.path, method.requestSerialize({ service }))).status;
  }
});

describe("questions", () => {
  const STATUS: TaskStatus = {
    id: mintId({ wallMs: 1, random: () => 0.5, app: "acme", key: "k" }),
    app: "acme",
    type: "t",
    key: "k",
    state: "retrying",
    attempts: 2,
    partition: 3 as never,
    acceptedAtMs: 1_700_000_000_000,
    error: { name: "Error", message: "no" },
    result: new Uint8Array([0, 49]),
    waits: "back-off",
  };

  test("Get goes to the owner of the id's partition and shows everything", async () => {
    const asked: NodeRequest[] = [];
    node.answer = (request) => {
      asked.push(request);
      return { type: "task", answer: { type: "task", status: STATUS } };
    };
    const task = await call("taskring.v1.Tasks", "Get", { taskId: STATUS.id });
    expect(task).toMatchObject({
      taskId: STATUS.id,
      state: "RETRYING",
      attempts: 2,
      error: { name: "Error" },
      waits: "back-off",
      acceptedAtMs: 1_700_000_000_000,
    });
    expect(Buffer.from(task.result as Uint8Array)).toEqual(Buffer.from([0, 49]));
    expect(asked[0]).toMatchObject({
      type: "task",
      partition: Number.parseInt(STATUS.id.slice(28), 16) >>> 10,
      request: { type: "get" },
    });
  });

  test("a wrong id, an unknown task and a vnode's refusal are typed", async () => {
    expect(await failure(call("taskring.v1.Tasks", "Get", { taskId: "xyz" }))).toMatchObject({
      reason: "INVALID_ARGUMENT",
    });
    node.answer = () => ({ type: "task", answer: { type: "refused", code: "TASK_NOT_FOUND", detail: "gone" } });
    expect(await failure(call("taskring.v1.Tasks", "Get", { taskId: STATUS.id }))).toMatchObject({
      reason: "TASK_NOT_FOUND",
      status: status.NOT_FOUND,
    });
  });

  test("an unexpected error is INTERNAL without its text, and is logged", async () => {
    node.answer = () => {
      throw new TypeError("secret");
    };
    const error = await call("taskring.v1.Tasks", "Get", { taskId: STATUS.id }).catch((thrown: ServiceError) => thrown);
    expect((error as ServiceError).code).toBe(status.INTERNAL);
    expect(String(error)).not.toContain("secret");
  });

  test("Watch shows each state until the task ends", async () => {
    const states: TaskStatus[] = [
      STATUS,
      STATUS,
      { ...STATUS, state: "running", attempts: 3 },
      { ...STATUS, state: "done", attempts: 3 },
    ];
    node.answer = () => ({ type: "task", answer: { type: "task", status: states.shift()! } });
    const method = serviceDefinition("taskring.v1.Tasks").Watch!;
    const stream = client.makeServerStreamRequest(
      method.path,
      method.requestSerialize as (v: object) => Buffer,
      method.responseDeserialize as (b: Buffer) => { state: string },
      { taskId: STATUS.id },
    );
    const seen: string[] = [];
    for await (const task of stream) seen.push((task as { state: string }).state);
    expect(seen).toEqual(["RETRYING", "RUNNING", "DONE"]);
  });

  test("lists ask every member, and name those that did not answer", async () => {
    node.document_ = documentOf(["n1", "n2", "n3"]);
    node.answer = (_request, to) =>
      to === "n3"
        ? { type: "refused", code: "DEADLINE", detail: "no answer" }
        : {
            type: "task",
            answer: {
              type: "tasks",
              statuses: [{ ...STATUS, key: String(to) }],
              ...(to === "n2" ? { next: "cursor" } : {}),
            },
          };
    const page = (await call("taskring.v1.Tasks", "ListDead", { app: "acme", limit: 10 })) as {
      tasks: { key: string }[];
      unreachable: string[];
      nextPageToken: string;
    };
    expect(page.tasks.map((task) => task.key)).toEqual(["n1", "n2"]);
    expect(page.unreachable).toEqual(["n3"]);
    const asked: unknown[] = [];
    node.answer = (request, to) => {
      asked.push([to, request]);
      return { type: "task", answer: { type: "tasks", statuses: [] } };
    };
    const rest = await call("taskring.v1.Tasks", "ListDead", { app: "acme", limit: 10, pageToken: page.nextPageToken });
    expect(asked).toEqual([
      ["n2", { type: "local-tasks", request: { type: "list-dead", app: "acme", limit: 10, after: "cursor" } }],
    ]);
    expect(rest.nextPageToken).toBe("");
    expect(await failure(call("taskring.v1.Tasks", "ListDead", { pageToken: "rubbish" }))).toMatchObject({
      reason: "INVALID_ARGUMENT",
    });
  });

  test("P1: a dead letter of a child, which lies with its parent and not where its id leads, is retried and dropped", async () => {
    node.document_ = documentOf(["n1", "n2", "n3"]);
    const letters = new Set(["0".repeat(32)]);
    node.answer = (request, to) => {
      if (request.type === "task") return { type: "task", answer: { type: "count", count: 0 } };
      if (to === "n3") return { type: "refused", code: "DEADLINE", detail: "no answer" };
      if (request.type !== "local-tasks" || !("ids" in request.request)) throw new Error(request.type);
      const count = to === "n2" ? request.request.ids.filter((id) => letters.delete(id)).length : 0;
      return { type: "task", answer: { type: "count", count } };
    };
    for (const name of ["RetryDead", "DropDead"] as const) {
      letters.add("0".repeat(32));
      expect(await call("taskring.v1.Tasks", name, { taskIds: ["0".repeat(32)] })).toMatchObject({ count: 1 });
      const other = call("taskring.v1.Tasks", name, { taskIds: ["1".repeat(32)] });
      expect(await failure(other)).toMatchObject({ reason: "DEADLINE" }); // it may be on the one that did not answer
    }
  });

  test("a page of dead letters has at most as many as asked for, from however many members, and all pages have all", async () => {
    node.document_ = documentOf(["n1", "n2", "n3"]);
    const idsOf = (name: string): string[] => [1, 2, 3].map((at) => `${name.slice(1)}${at}`.padStart(32, "0"));
    node.answer = (request, to) => {
      const { after = "", limit } = (request as unknown as { request: { after?: string; limit: number } }).request;
      const ids = idsOf(String(to)).filter((id) => id > after);
      const statuses = ids.slice(0, limit).map((id) => ({ ...STATUS, id }));
      const next = ids.length > limit ? { next: statuses.at(-1)!.id } : {};
      return { type: "task", answer: { type: "tasks", statuses, ...next } };
    };
    const pages: string[][] = [];
    let pageToken = "";
    do {
      const page = (await call("taskring.v1.Tasks", "ListDead", { limit: 2, pageToken })) as {
        tasks: { taskId: string }[];
        nextPageToken: string;
      };
      pages.push(page.tasks.map(({ taskId }) => taskId));
      pageToken = page.nextPageToken;
    } while (pageToken !== "" && pages.length < 10);
    expect(Math.max(...pages.map((page) => page.length))).toBe(2);
    expect(pages.flat()).toEqual(["n1", "n2", "n3"].flatMap(idsOf));
  });

  test("P5: a page of dead letters fits into a message, however many members fill theirs, and all pages have all", async () => {
    node.document_ = documentOf(["n1", "n2", "n3"]);
    const error = { name: "Error", message: "x".repeat(1_000), stack: "y".repeat(4_000) };
    const idsOf = (name: string): string[] =>
      Array.from({ length: 400 }, (_, at) => `${name.slice(1)}${String(at).padStart(3, "0")}`.padStart(32, "0"));
    node.answer = (request, to) => {
      const { after = "" } = (request as unknown as { request: { after?: string } }).request;
      const ids = idsOf(String(to)).filter((id) => id > after);
      return {
        type: "task",
        answer: { type: "tasks", statuses: ids.map((id) => ({ ...STATUS, id, state: "dead", error })) },
      };
    };
    const seen: string[] = [];
    let pageToken = "";
    for (let pages = 0; (pages === 0 || pageToken !== "") && pages < 20; pages++) {
      const page = (await call("taskring.v1.Tasks", "ListDead", { limit: 1_000, pageToken })) as {
        tasks: { taskId: string }[];
        nextPageToken: string;
      };
      seen.push(...page.tasks.map(({ taskId }) => taskId));
      pageToken = page.nextPageToken;
    }
    expect(seen).toEqual(["n1", "n2", "n3"].flatMap(idsOf));
  });

  test("Ring, Members, Plan and Locate come from the document", async () => {
    node.document_ = documentOf(["n1", "n2"], { staged: [{ type: "leave", name: "n2" as never }] });
    node.addresses.set("n2" as never, { grpc: "127.0.0.1:9", http: "127.0.0.1:10" });
    const ring = (await call("taskring.v1.Cluster", "Ring", {})) as {
      owners: number[];
      nodes: { name: string; grpcAddress: string }[];
    };
    expect(ring.owners.slice(0, 4)).toEqual([0, 1, 0, 1]);
    expect(ring.nodes).toEqual([
      { name: "n1", grpcAddress: "" },
      { name: "n2", grpcAddress: "127.0.0.1:9" },
    ]);
    const { members } = (await call("taskring.v1.Cluster", "Members", {})) as { members: object[] };
    expect(members).toMatchObject([
      { name: "n1", alive: "alive", partitions: 32, voter: true },
      { name: "n2", alive: "unknown" },
    ]);
    const plan = (await call("taskring.v1.Cluster", "Plan", {})) as {
      planId: string;
      staged: string[];
      moves: object[];
    };
    expect(plan.staged).toEqual(["leave n2"]);
    expect(plan.moves.length).toBe(32);
    expect(await call("taskring.v1.Cluster", "Locate", { app: "acme", key: "k" })).toMatchObject({ epoch: 7 });
  });

  test("a stage request names one change", async () => {
    const asked: NodeRequest[] = [];
    node.answer = (request) => {
      asked.push(request);
      return { type: "ok" };
    };
    await call("taskring.v1.Cluster", "Stage", { setWeight: { name: "n1", weight: 0 } });
    await call("taskring.v1.Cluster", "Stage", { leave: "n1" });
    expect(asked).toEqual([
      { type: "stage", change: { type: "set-weight", name: "n1", weight: 0 } },
      { type: "stage", change: { type: "leave", name: "n1" } },
    ]);
    expect(await failure(call("taskring.v1.Cluster", "Stage", {}))).toMatchObject({ reason: "INVALID_ARGUMENT" });
    node.answer = () => ({ type: "refused", code: "MEMBER_UNKNOWN", detail: "n9 has not been heard of" });
    expect(await failure(call("taskring.v1.Cluster", "Stage", { join: { name: "n9" } }))).toMatchObject({
      reason: "MEMBER_UNKNOWN",
    });
  });

  test("Events gives the recent ones, then each new one", async () => {
    node.events.push({ atMs: 1, type: "old", detail: "", node: node.name });
    const method = serviceDefinition("taskring.v1.Cluster").Events!;
    const stream = client.makeServerStreamRequest(
      method.path,
      method.requestSerialize as (v: object) => Buffer,
      method.responseDeserialize as (b: Buffer) => { type: string },
      { recent: 10 },
    );
    const seen: string[] = [];
    stream.on("data", (event: { type: string }) => seen.push(event.type));
    stream.on("error", () => undefined);
    await until(() => seen.length === 1);
    node.emit({ atMs: 2, type: "new", detail: "", node: node.name });
    await until(() => seen.length === 2);
    expect(seen).toEqual(["old", "new"]);
    stream.cancel();
  });

  test("apps are summed over members, and limits are checked", async () => {
    node.document_ = documentOf(["n1", "n2"]);
    const app = {
      app: "acme",
      match: "acme",
      version: "1",
      existence: "implied" as const,
      paused: false,
      limits: { queued: 1, running: 2, perSecond: 0, weight: 1 },
      queued: 5,
      running: 1,
      dead: 0,
      children: 3,
      oldestWaitMs: 10,
    };
    node.answer = () => ({ type: "apps", apps: [app] });
    expect(await call("taskring.v1.Apps", "Describe", { app: "acme" })).toMatchObject({
      queued: 10,
      running: 2,
      children: 6,
    });
    expect(await failure(call("taskring.v1.Apps", "Describe", { app: "other" }))).toMatchObject({
      reason: "APP_UNKNOWN",
    });
    const wrong = [
      { weight: 0 },
      { weight: 10_001 },
      { running: -1 },
      { running: 0 },
      { queued: 1e9 },
      { perSecond: 1e10 },
    ];
    for (const limits of wrong)
      expect(await failure(call("taskring.v1.Apps", "SetLimits", { app: "acme", limits }))).toMatchObject({
        reason: "INVALID_ARGUMENT",
      });
    node.answer = () => ({ type: "ok" });
    const right = { queued: 0, running: 100_000, perSecond: 0.5, weight: 10_000 };
    expect(await call("taskring.v1.Apps", "SetLimits", { app: "acme", limits: right })).toEqual({});
  });
});

test("connections above the cap are closed at once", async () => {
  await api.close({ graceMs: 0 });
  api = await startApi({ node, bind: { host: "127.0.0.1", port: 0 }, log: quiet, limits: { connections: 2 } });
  const { connect } = await import("node:net");
  const port = Number(api.address.split(":")[1]);
  const sockets = [1, 2, 3].map(() => connect(port, "127.0.0.1").on("error", () => undefined));
  await until(() => api.connections.refused === 1);
  expect(api.connections.open).toBe(2);
  for (const socket of sockets) socket.destroy();
});

test("P5: connections without a preface are cut off, and give way to others before", async () => {
  await api.close({ graceMs: 0 });
  const limits = { connections: 3, prefaceMs: 300 };
  api = await startApi({ node, bind: { host: "127.0.0.1", port: 0 }, log: quiet, limits });
  const { connect } = await import("node:net");
  const { connect: speak } = await import("node:http2");
  const port = Number(api.address.split(":")[1]);
  const closed: number[] = [];
  const speaking = speak(`http://${api.address}`);
  await new Promise<void>((resolve) => void speaking.once("remoteSettings", () => resolve()));
  const silent = [1, 2, 3].map((number) =>
    connect(port, "127.0.0.1", function (this: { write(text: string): void }) {
      this.write("PRI * HTTP/2.0\r\n");
    })
      .resume()
      .on("error", () => undefined)
      .on("close", () => void closed.push(number)),
  );
  await until(() => closed.length === 1);
  expect(api.connections.open).toBe(3);
  await until(() => closed.length === 3, 2_000);
  expect(closed[0]).toBe(1);
  expect(api.connections.open).toBe(1);
  expect(speaking.closed).toBe(false);
  speaking.destroy();
  for (const socket of silent) socket.destroy();
});

test.each(["v1", "v1alpha"])("reflection %s lists the services", async (version) => {
  const pass = (bytes: Buffer): Buffer => bytes;
  const path = `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`;
  const stream = client.makeBidiStreamRequest(path, pass, pass);
  const reply = new Promise<Buffer>((resolve, reject) => {
    stream.on("data", resolve);
    stream.on("error", reject);
  });
  stream.write(Buffer.from([0x3a, 1, 0x2a])); // list_services: "*"
  const text = (await reply).toString("latin1");
  for (const service of ["Tasks", "Apps", "Cluster"]) expect(text).toContain(`taskring.v1.${service}`);
  stream.end();
});
