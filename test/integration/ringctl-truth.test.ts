/** Commands that say something was done which was not, against scripted nodes over real sockets. */

import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { run } from "../../cli/run.ts";
import type { NodeName } from "../../ring/ids.ts";
import type { NodeAnswer, NodeRequest } from "../../ring/node/requests.ts";
import { hotKeysOf } from "../../services/host/hot-keys.ts";
import { documentOf } from "./api/fake-node.ts";
import { closeAll, cluster } from "./client/scripted-cluster.ts";

let stdout = "";
let stderr = "";

beforeEach(() => {
  stdout = "";
  stderr = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    stdout += String(text);
    return true;
  });
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    stderr += String(text);
    return true;
  });
});

afterEach(async () => {
  vi.restoreAllMocks();
  await closeAll();
});

const ok: NodeAnswer = { type: "ok" };
const idle: NodeAnswer = { type: "transfers", transfers: [], limit: 2, paused: false };

test("P8: drain --wait does not say that a node has no partitions left while it owns all of them", async () => {
  const [n1] = await cluster(["n1", "n2"]);
  const document = documentOf(["n1", "n2"]);
  n1!.node.answer = (request) => {
    if (request.type === "drain") return { type: "document", document };
    if (request.type === "transfers") return idle;
    return { type: "refused", code: "UNIMPLEMENTED", detail: request.type };
  };
  const port = n1!.api.address.split(":").at(-1);
  const exit = await run(["drain", "--wait", "--timeout", "1s", "--address", `localhost:${port}`]);
  expect({ failed: exit > 0, stdout }).toEqual({ failed: true, stdout: "" }); // it owns 32 of 64 partitions all the time
});

test("P8: drain --undo --wait does not say that it is over while partitions are on their way back", async () => {
  const [n1] = await cluster(["n1", "n2"]);
  const document = documentOf(["n1", "n2"]);
  const next = document.next.map((_, partition) => (partition === 3 ? document.members[1]!.name : undefined));
  n1!.node.document_ = { ...document, next };
  n1!.node.answer = (request) => {
    if (request.type === "drain") return { type: "document", document };
    if (request.type === "transfers") return idle; // none has begun
    return { type: "refused", code: "UNIMPLEMENTED", detail: request.type };
  };
  const exit = await run(["drain", "n2", "--undo", "--wait", "--timeout", "1s", "--address", n1!.api.address]);
  expect({ exit, stdout }).toEqual({ exit: 4, stdout: "" });
  n1!.node.document_ = document;
  expect(await run(["drain", "n2", "--undo", "--wait", "--address", n1!.api.address])).toBe(0);
});

test("P8: transfers pause does not exit 0 when a member refused to pause", async () => {
  const [n1] = await cluster(["n1", "n2"]);
  n1!.node.answer = (request: NodeRequest, to) => {
    if (request.type === "transfer-limit")
      return to === "n2" ? { type: "refused", code: "QUEUE_FULL", detail: "the link to n2 takes no more now" } : ok;
    if (request.type === "transfers") return { ...idle, paused: to === "n1" } as NodeAnswer;
    return { type: "refused", code: "UNIMPLEMENTED", detail: request.type };
  };
  const exit = await run(["transfers", "pause", "--address", n1!.api.address, "-o", "json"]);
  expect({ exit, unreachable: JSON.parse(stdout).unreachable }).toEqual({ exit: 8, unreachable: ["n2"] });
});

test("a schedule on a member that does not answer is not said to be unknown", async () => {
  const [n1] = await cluster(["n1", "n2"]);
  n1!.node.answer = (request: NodeRequest, to) => {
    if (to === "n2") return { type: "refused", code: "NO_OWNER", detail: "n2 cannot be reached" };
    if (request.type === "local-tasks") return { type: "task", answer: { type: "schedules", schedules: [] } };
    return { type: "refused", code: "UNIMPLEMENTED", detail: request.type };
  };
  const exit = await run(["cron", "run", "acme", "nightly", "--address", n1!.api.address]);
  expect({ exit, stderr }).toMatchObject({ exit: 4 });
});

test("a schedule behind a thousand others is found by its name, and a list that was cut says so", async () => {
  const [n1] = await cluster(["n1"]);
  const names = [...Array.from({ length: 1_500 }, (_, index) => `poll-${index}`), "nightly"];
  const schedules = names.map((name) => {
    const ended = { spec: "every 1000 ms", taskType: "t", paused: false, declared: true };
    return { app: "acme", key: `k-${name}`, name, ...ended };
  });
  const fired: string[] = [];
  n1!.node.answer = (request: NodeRequest) => {
    if (request.type === "local-tasks" && request.request.type === "list-schedules") {
      const { name, limit } = request.request;
      const found = schedules.filter((schedule) => name === undefined || schedule.name === name).slice(0, limit);
      return { type: "task", answer: { type: "schedules", schedules: found } };
    }
    if (request.type === "task" && request.request.type === "schedule") {
      fired.push(request.request.key);
      return { type: "task", answer: ok };
    }
    return { type: "refused", code: "UNIMPLEMENTED", detail: request.type };
  };
  const to = ["--address", n1!.api.address];
  expect({ exit: await run(["cron", "run", "acme", "nightly", ...to]), stderr, fired }).toEqual({
    exit: 0,
    stderr: "",
    fired: ["k-nightly"],
  });
  expect(await run(["cron", "list", "acme", ...to])).toBe(0);
  expect(stderr).toMatch(/^the first 1000; there may be more$/m);
});

test("the dead letter of a child, which lies with its parent and not where its id leads, is shown", async () => {
  const [n1] = await cluster(["n1"]);
  const [id, other] = ["0".repeat(32), "1".repeat(32)];
  const letter = { id, app: "acme", type: "t", key: "k", state: "dead", attempts: 0, partition: 3, acceptedAtMs: 1 };
  n1!.node.answer = (request: NodeRequest) => {
    if (request.type === "task") return { type: "refused", code: "TASK_NOT_FOUND", detail: "no task" };
    if (request.type === "local-tasks" && request.request.type === "list-dead")
      return { type: "task", answer: { type: "tasks", statuses: [letter] } } as unknown as NodeAnswer;
    return { type: "refused", code: "UNIMPLEMENTED", detail: request.type };
  };
  const to = ["--address", n1!.api.address, "-o", "json"];
  expect({ exit: await run(["dead", "show", id as string, ...to]), stderr }).toMatchObject({ exit: 0 });
  expect(JSON.parse(stdout).items).toMatchObject([{ taskId: id, state: "dead" }]);
  expect(await run(["dead", "show", other as string, ...to])).toBe(3);
});

test("an app whose members did not all answer is not described as if they had", async () => {
  const [n1] = await cluster(["n1", "n2"]);
  const view = { app: "acme", match: "acme", version: "1", existence: "implied", paused: false, limits: {} };
  n1!.node.answer = (request: NodeRequest, to) => {
    if (to === "n2") return { type: "refused", code: "NO_OWNER", detail: "n2 cannot be reached" };
    if (request.type === "list-apps")
      return {
        type: "apps",
        apps: [{ ...view, queued: 0, running: 0, dead: 0, children: 0, oldestWaitMs: 0 }],
      } as unknown as NodeAnswer;
    return { type: "refused", code: "UNIMPLEMENTED", detail: request.type };
  };
  const exit = await run(["app", "describe", "acme", "--address", n1!.api.address]);
  expect({ exit, stdout }).toMatchObject({ exit: 8 });
});

test("keys are counted without a node that is frozen, soon after the rest, and it is named", async () => {
  const frozen = createServer(() => undefined).listen(0, "127.0.0.1");
  await once(frozen, "listening");
  const hotKeys = async () => ({ node: "n1", forMs: 100, attempts: 0, keys: [] });
  const [n1] = await cluster(["n1", "n2"], {}, { hotKeys });
  const address = { host: "127.0.0.1", port: (frozen.address() as AddressInfo).port };
  n1!.node.addresses.set("n2" as NodeName, { grpc: `${address.host}:${address.port}`, http: "" });
  n1!.node.members = () => [{ name: "n2", address, state: "suspect", incarnation: 1, tags: new Map() }] as never;
  try {
    const begun = performance.now();
    const exit = await run(["key", "hot", "--for", "100ms", "--timeout", "1m", "--address", n1!.api.address]);
    expect({ exit, stderr }).toEqual({ exit: 8, stderr: expect.stringMatching(/^n2 is missing: /m) });
    expect(performance.now() - begun).toBeLessThan(20_000);
  } finally {
    frozen.close();
  }
});

test("a node whose keys too many others count says what to do about that, not about apps", async () => {
  const hotKeys = hotKeysOf({ name: "n1" as NodeName, onTaskEvents: () => () => undefined });
  const gone: (() => void)[] = [];
  const others = [1, 2, 3, 4].map(() =>
    hotKeys({ app: undefined, forMs: 60_000, limit: 1 }, (tell) => void gone.push(tell)),
  );
  const [n1] = await cluster(["n1"], {}, { hotKeys });
  expect(await run(["key", "hot", "--for", "700ms", "--address", n1!.api.address])).toBe(1);
  expect(stderr).toMatch(/4 others have keys counted on n1 now \(RATE_LIMITED\)\n.* retry after 700 ms/);
  expect(stderr).not.toContain("app");
  for (const tell of gone) tell();
  await Promise.all(others);
});

test("dead letters that are cut at the limit are said to be cut", async () => {
  const [n1] = await cluster(["n1"]);
  const status = (index: number) => ({
    id: index.toString(16).padStart(32, "0"),
    app: "acme",
    type: "t",
    key: "k",
    state: "dead",
    attempts: 1,
    partition: 0,
    acceptedAtMs: 1,
    endedAtMs: 2,
  });
  n1!.node.answer = (request: NodeRequest) => {
    if (request.type !== "local-tasks" || request.request.type !== "list-dead")
      return { type: "refused", code: "UNIMPLEMENTED", detail: request.type };
    const statuses = Array.from({ length: request.request.limit }, (_, index) => status(index));
    return {
      type: "task",
      answer: { type: "tasks", statuses, next: statuses.at(-1)!.id },
    } as unknown as NodeAnswer;
  };
  await run(["dead", "list", "--address", n1!.api.address, "-o", "json"]);
  expect(JSON.parse(stdout).more).toBe(true);
});

test("P1: a submit whose outcome is not known names its task, so that it can be submitted again and runs once", async () => {
  const [n1] = await cluster(["n1"]);
  n1!.node.holding = true;
  const exit = await run(["task", "submit", "acme", "t", "--timeout", "1s", "--address", n1!.api.address]);
  expect(exit).toBe(4);
  expect(n1!.node.held).toBe(1); // the node has it, and may accept it yet
  expect(stderr).toMatch(/[0-9a-f]{32}/);
});

test.each([
  ["task", "watch", "0".repeat(32)],
  ["pipe", "trace", "run"],
  ["pipe", "run", "line"],
  ["events", "-f"],
])(
  "P8: %s %s of a frozen node ends after its time: its connections are taken by the kernel",
  async (...args) => {
    const frozen = createServer(() => undefined).listen(0, "127.0.0.1");
    await once(frozen, "listening");
    const { port } = frozen.address() as AddressInfo;
    try {
      const exit = await run([...args, "--timeout", "1s", "--address", `127.0.0.1:${port}`]);
      expect({ exit, stderr }).toMatchObject({ exit: 4, stderr: expect.stringContaining("does not answer") });
    } finally {
      frozen.close();
    }
  },
  10_000,
);

test("P8: what a node cannot do in time it says before its caller has given up", async () => {
  const [n1] = await cluster(["n1"]);
  let given = 0;
  n1!.node.ask = async (_request, { deadlineMs }) => {
    given = deadlineMs;
    return { type: "refused", code: "RING_BUSY", detail: "the voters did not decide in time" };
  };
  expect(await run(["stage", "leave", "n1", "--timeout", "2s", "--address", n1!.api.address])).toBe(6);
  expect(stderr).toContain("the voters did not decide in time (RING_BUSY)");
  expect(given).toBeGreaterThan(0);
  expect(given).toBeLessThanOrEqual(1_800);
});

test("P8: a node that does not answer at all is told in words of this program, not of its transport", async () => {
  const [n1] = await cluster(["n1"]);
  n1!.node.ask = () => new Promise(() => undefined);
  expect(await run(["stage", "leave", "n1", "--timeout", "200ms", "--address", n1!.api.address])).toBe(4);
  expect(stderr).toContain("ringctl: no answer in time (DEADLINE)");
});
