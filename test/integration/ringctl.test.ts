/**
 * `ringctl` as a stranger uses it: real processes of the built program, on ports that the system chooses, told apart by
 * nothing but exit codes, stdout and stderr.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const BIN = join(import.meta.dirname, "../../dist/cli/ringctl");

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** The first line of stdout that is JSON and says `ready`. */
  readonly ready: Promise<Ready>;
}

/** Whatever the items of some command hold. */
interface Item {
  readonly name: string;
  readonly status: string;
  readonly alive: string;
  readonly partitions: number;
  readonly paused: boolean;
  readonly taskId: string;
  readonly planId: string;
  readonly partition: number;
  readonly owner: string;
  readonly moves: readonly object[];
  readonly members: readonly object[];
}

interface Reply {
  readonly items: readonly Item[];
  readonly ring?: object;
  readonly findings?: readonly object[];
}

interface Ready {
  readonly grpc: string;
  readonly gossip: string;
  readonly http: string;
  readonly state: string;
  readonly nodes: readonly (Ready & { readonly name: string; readonly pid: number })[];
}

const folder = mkdtempSync(join(tmpdir(), "ringctl-"));
/** As npm installs it. */
const PROGRAM = join(folder, "ringctl");
symlinkSync(BIN, PROGRAM);
const running = new Set<ChildProcess>();

function launch(args: readonly string[], input?: string): Running {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("TASKRING_")));
  const child = spawn(PROGRAM, args, { cwd: folder, env, stdio: ["pipe", "pipe", "pipe"] });
  running.add(child);
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  if (input !== undefined) child.stdin.end(input);
  const ended = new Promise<Ended>((resolve) => {
    child.once("close", (code, signal) => {
      running.delete(child);
      resolve({ code, signal, stdout, stderr });
    });
  });
  const ready = new Promise<Ready>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (line.startsWith('{"ready":true')) resolve(JSON.parse(line) as Ready);
    });
    void ended.then(({ code }) => reject(new Error(`ended with ${code} before it was ready: ${stderr.slice(-2_000)}`)));
  });
  ready.catch(() => undefined);
  return { child, ended, ready };
}

const ringctl = (args: readonly string[], input = ""): Promise<Ended> => launch(args, input).ended;
const startNode = (name: string, ...more: string[]): Running =>
  launch([
    "start",
    "--name",
    name,
    "--data",
    join(folder, name),
    "--grpc",
    "0",
    "--http",
    "0",
    "--gossip",
    "0",
    "--log-level",
    "warn",
    "--ready-json",
    ...more,
  ]);

afterAll(() => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

describe("a ring of three nodes on this machine", () => {
  let dev: Running;
  let nodes: Ready["nodes"];
  let address = "";

  /** The parsed JSON of a command that is expected to end with `code`. */
  async function json(args: readonly string[], code = 0): Promise<Reply> {
    const ended = await ringctl([...args, "--address", address, "-o", "json"]);
    expect({ code: ended.code, stderr: ended.stderr }).toMatchObject({ code });
    const { apiVersion, ...rest } = JSON.parse(ended.stdout);
    expect(apiVersion).toBe("ringctl/v1");
    return rest;
  }

  /** The error that a command printed, with its exit code. */
  async function refusal(args: readonly string[]): Promise<unknown> {
    const { code, stderr, stdout } = await ringctl([...args, "--address", address, "-o", "json"]);
    return { exit: code, stdout, ...(JSON.parse(stderr) as object) };
  }

  async function until(what: string, holds: () => Promise<boolean>, withinMs = 30_000): Promise<void> {
    const end = performance.now() + withinMs;
    while (!(await holds())) {
      if (performance.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`);
    }
  }

  beforeAll(async () => {
    dev = launch(["dev", "--nodes", "3", "--ephemeral", "--grpc", "0", "--http", "0", "--gossip", "0", "--ready-json"]);
    ({ nodes } = await dev.ready);
    address = nodes[0]!.grpc;
    await until("the ring is healthy and at rest", async () => {
      const { code } = await ringctl(["health", "--address", address]);
      const { items } = await json(["members"]);
      return code === 0 && items.every(({ partitions }) => partitions > 0);
    });
    await json(["transfers", "--wait"]);
  }, 60_000);

  test("P9: one command starts it, and every node says so", async () => {
    expect(nodes.map(({ name }) => name)).toEqual(["n0", "n1", "n2"]);
    const { items, ring, findings } = await json(["status"]);
    expect(items).toMatchObject([
      { name: "n0", state: "serving" },
      { name: "n1", state: "serving" },
      { name: "n2", state: "serving" },
    ]);
    expect(ring).toMatchObject({ ringSize: 64 });
    expect(findings).toEqual([]);
  });

  test("the read commands agree with each other", async () => {
    const members = await json(["members"]);
    const shares = await json(["ring"]);
    const partitions = await json(["ring", "--partitions"]);
    const owner = await json(["owner", "hello", "you"]);
    expect(members.items.map(({ partitions }) => partitions)).toEqual(shares.items.map(({ partitions }) => partitions));
    expect(partitions.items).toHaveLength(64);
    const { partition, owner: name } = owner.items[0]!;
    expect(partitions.items[partition]).toMatchObject({ partition, owner: name });
    const lines = (await ringctl(["ring", "--partitions", "--address", address, "-o", "jsonl"])).stdout
      .trimEnd()
      .split("\n");
    expect(lines).toHaveLength(65);
  });

  test("top shows what each node does, and ends off a terminal", async () => {
    const { items } = await json(["top", "--every", "100ms"]);
    expect(items).toHaveLength(3);
    for (const item of items) expect(item).toMatchObject({ state: "serving", acceptedPerSecond: expect.any(Number) });
  });

  test("a task is submitted, waited for and looked up", async () => {
    const { items } = await json(["task", "submit", "hello", "greet", "--key", "you", "--wait"]);
    expect(items).toMatchObject([{ state: "done", result: { hello: "you", greetings: 1 } }]);
    const { taskId } = items[0] as Item;
    expect((await json(["task", "get", taskId])).items).toMatchObject([{ taskId, state: "done", key: "you" }]);
    const watched = await ringctl(["task", "watch", taskId, "--address", address, "-o", "jsonl"]);
    expect([watched.code, JSON.parse(watched.stdout)]).toMatchObject([0, { taskId, state: "done" }]);
    expect((await json(["key", "describe", "hello", "you", "--state"])).items).toMatchObject([
      { state: [{ name: "greetings", value: 1 }] },
    ]);
    const twice = ["task", "submit", "hello", "greet", "--key", "me", "--idempotency-key", "once"];
    expect((await json(twice)).items).toMatchObject([{ duplicate: false }]);
    expect((await json(twice)).items).toMatchObject([{ duplicate: true }]);
  });

  test("a dead letter is found, grouped, shown, run again and dropped", async () => {
    const submitted = await json(["task", "submit", "hello", "fail", "--key", "broken", "--wait"], 1);
    expect(submitted.items).toMatchObject([{ state: "dead", error: { message: "this task always fails" } }]);
    const { taskId } = submitted.items[0] as Item;
    expect((await json(["dead", "list", "--app", "hello"])).items).toMatchObject([{ taskId }]);
    expect((await json(["dead", "groups"])).items).toMatchObject([
      { count: 1, app: "hello", type: "fail", example: taskId },
    ]);
    expect((await json(["dead", "show", taskId])).items).toMatchObject([{ taskId, state: "dead" }]);
    expect((await json(["dead", "retry", taskId])).items).toMatchObject([{ changed: 1 }]);
    await until("it is dead again", async () => (await json(["dead", "list"])).items.length === 1);
    expect(await refusal(["dead", "drop", "--all"])).toMatchObject({
      exit: 2,
      error: { code: "CONFIRMATION_MISSING" },
    });
    expect((await json(["dead", "drop", "--all", "--yes"])).items).toMatchObject([{ changed: 1 }]);
    expect((await json(["dead", "list"])).items).toEqual([]);
  });

  test("apps and keys are paused, resumed and limited", async () => {
    await json(["app", "pause", "hello"]);
    await until("the pause is known", async () => (await json(["app", "describe", "hello"])).items[0]?.paused === true);
    const { items } = await json(["task", "submit", "hello", "greet", "--key", "paused"]);
    const { taskId } = items[0] as Item;
    expect(
      await refusal(["task", "submit", "hello", "greet", "--key", "paused", "--wait", "--timeout", "1s"]),
    ).toMatchObject({ exit: 4, error: { code: "DEADLINE", retryable: true } });
    const givenUp = ["task", "submit", "hello", "greet", "--key", "paused", "--wait", "--timeout", "500ms"];
    expect((await ringctl([...givenUp, "--address", address])).stderr).toMatch(/^accepted as [0-9a-f]{32}$/m);
    expect((await json(["task", "cancel", taskId])).items).toMatchObject([{ state: "cancelled" }]);
    await json(["app", "resume", "hello"]);
    expect((await json(["app", "limit", "hello", "--running", "7"])).items).toMatchObject([{ app: "hello" }]);
    await json(["key", "pause", "hello", "held"]);
    expect((await json(["key", "describe", "hello", "held"])).items).toMatchObject([{ paused: true }]);
    await json(["key", "resume", "hello", "held"]);
  });

  test("the key that has most to do is named, with what waits for it", async () => {
    const counted = json(["key", "hot", "--for", "3s"]);
    let over = false;
    void counted.finally(() => {
      over = true;
    });
    while (!over) await json(["task", "submit", "hello", "greet", "--key", "busy"]);
    const { items } = await counted;
    expect(items[0]).toMatchObject({ app: "hello", key: "busy", queued: expect.any(Number), paused: false });
    expect(items[0]).toMatchObject({ attemptsPerSecond: expect.any(Number), busy: expect.any(Number) });
    expect((await json(["key", "hot", "nobody", "--for", "100ms"])).items).toEqual([]);
    expect(await refusal(["key", "hot", "--for", "1h"])).toMatchObject({ exit: 2 });
  });

  test.each([
    [["task", "get", "f".repeat(32)], 3, "TASK_NOT_FOUND"],
    [["task", "get", "nonsense"], 2, "INVALID_ARGUMENT"],
    [["task", "submit", "nobody", "x"], 3, "APP_UNKNOWN"],
    [["task", "submit", "hello", "nothing"], 3, "TASK_TYPE_UNKNOWN"],
    [["task", "submit", "Bad_Name", "x"], 2, "APP_NAME_INVALID"],
    [["stage", "leave", "nobody"], 3, "MEMBER_UNKNOWN"],
    [["stage", "force-remove", "n1"], 2, "CONFIRMATION_MISSING"],
    [["stage", "down", "n1"], 2, "CONFIRMATION_MISSING"],
    [["commit"], 6, "NOTHING_STAGED"],
    [["commit", "0123456789abcdef"], 6, "PLAN_CHANGED"],
    [["members", "--timeout", "soon"], 2, "USAGE"],
    [["status", "extra"], 2, "USAGE"],
    [["nonsense"], 2, "USAGE"],
    [["dead", "retry"], 2, "USAGE"],
  ] as const)("%j is refused with exit %i and %s", async (args, exit, code) => {
    expect(await refusal(args)).toMatchObject({
      exit,
      stdout: "",
      error: { code, message: expect.any(String), hint: expect.any(String), retryable: expect.any(Boolean) },
    });
  });

  test("P8: a fourth node joins by the plan that was shown, and an older plan is refused", async () => {
    const fourth = startNode(
      "n3",
      "--join",
      nodes[0]!.gossip,
      "--join",
      nodes[1]!.gossip,
      "--app",
      join(BIN, "../dev-app.js"),
    );
    expect((await fourth.ready).state).toBe("waiting-to-join");
    await until("it is seen", async () =>
      (await json(["members"])).items.some(({ name, status }) => name === "n3" && status === "none"),
    );
    expect((await json(["doctor"])).items).toMatchObject([{ severity: "note", code: "WAITS_TO_JOIN", subject: "n3" }]);
    await json(["stage", "weight", "n2", "50"]);
    const older = (await json(["plan"])).items[0] as Item;
    await json(["clear"]);
    await json(["stage", "join", "n3"]);
    const plan = (await json(["plan"])).items[0] as Item;
    expect(plan.moves).toHaveLength(16);
    expect(plan.members).toContainEqual(
      expect.objectContaining({ name: "n3", partitionsBefore: 0, partitionsAfter: 16, shareAfter: 0.25 }),
    );
    expect(await refusal(["commit", older.planId])).toMatchObject({ exit: 6, error: { code: "PLAN_CHANGED" } });
    expect((await json(["commit", plan.planId, "--wait", "--timeout", "60s"])).items).toMatchObject([
      { planId: plan.planId, settled: true },
    ]);
    expect((await json(["members"])).items).toMatchObject([
      {},
      {},
      {},
      { name: "n3", status: "valid", partitions: 16 },
    ]);
    await json(["stage", "leave", "n3"]);
    await json(["commit", "--wait", "--timeout", "60s"]);
    expect((await json(["members"])).items.filter(({ name, partitions }) => name === "n3" && partitions > 0)).toEqual(
      [],
    );
    fourth.child.kill("SIGTERM");
    await fourth.ended;
  });

  test("P1: a killed node is taken over at once and started again", async () => {
    process.kill(nodes[1]!.pid, "SIGKILL");
    await until("a peer has adopted its directory", async () => {
      const told = await Promise.all([nodes[0]!, nodes[2]!].map(({ grpc }) => ringctl(["events", "--address", grpc])));
      return told.some(({ stdout }) => stdout.includes("adoption-done"));
    });
    await until("it is back", async () => {
      const { items } = await json(["members"]);
      return items.filter(({ alive, status }) => alive === "alive" && status === "valid").length === 3;
    });
    const health = await ringctl(["health", "--wait", "--timeout", "30s", "--address", address]);
    expect([health.code, health.stdout]).toEqual([0, "healthy\n"]);
    expect((await json(["task", "submit", "hello", "greet", "--key", "after", "--wait"])).items).toMatchObject([
      { state: "done" },
    ]);
  });

  test("Ctrl-C stops all and leaves nothing behind", async () => {
    const pids = nodes.map(({ pid }) => pid);
    dev.child.kill("SIGINT");
    const { code, stdout } = await dev.ended;
    expect(code).toBe(0);
    const { data } = JSON.parse(stdout.split("\n")[0] ?? "") as { data: string };
    expect(existsSync(data)).toBe(false);
    expect(pids.filter(isAlive)).toEqual([]);
    expect(await refusal(["status"])).toMatchObject({ exit: 4, error: { code: "UNREACHABLE", retryable: true } });
  });
});

describe("one node", () => {
  test("starts, prints one ready line, stops in order at SIGTERM, and comes back with its ring", async () => {
    const first = startNode("solo");
    expect(await first.ready).toMatchObject({ state: "serving" });
    first.child.kill("SIGTERM");
    const { code, stdout } = await first.ended;
    expect([code, stdout.trimEnd().split("\n").length]).toEqual([0, 1]);
    const again = startNode("solo");
    const { grpc } = await again.ready;
    const { items } = JSON.parse((await ringctl(["members", "--address", grpc, "-o", "json"])).stdout) as {
      items: object[];
    };
    expect(items).toMatchObject([{ name: "solo", status: "valid", partitions: 64 }]);
    again.child.kill("SIGTERM");
    expect((await again.ended).code).toBe(0);
  });

  test("ends at once, with 130, at the second signal", async () => {
    const node = startNode("hasty", "--app", join(BIN, "../dev-app.js"));
    const { grpc } = await node.ready;
    await ringctl(["task", "submit", "hello", "slow", "--key", "k", "--address", grpc]);
    // Two of one kind could be told as one.
    node.child.kill("SIGINT");
    node.child.kill("SIGTERM");
    expect((await node.ended).code).toBe(130);
  });

  test("names a taken port and what to do about it", async () => {
    const holder = createServer();
    const port = await new Promise<number>((resolve) => {
      holder.listen(0, "127.0.0.1", () => resolve((holder.address() as { port: number }).port));
    });
    for (const kind of ["grpc", "http", "gossip"]) {
      const { code, stderr } = await ringctl([
        "start",
        "--name",
        `taken-${kind}`,
        "--grpc",
        "0",
        "--http",
        "0",
        "--gossip",
        "0",
        `--${kind}`,
        String(port),
        "--log-level",
        "silent",
      ]);
      expect([kind, code, stderr]).toEqual([kind, 1, expect.stringContaining(`127.0.0.1:${port} (${kind}) is taken`)]);
      expect(stderr).toContain(`--${kind}`);
    }
    holder.close();
  });

  test("refuses an app that cannot be imported, with file and line", async () => {
    writeFileSync(join(folder, "bad-app.mjs"), "export const apps = [];\nthrow new Error('not today');\n");
    const { code, stderr } = await ringctl([
      "start",
      "--name",
      "bad",
      "--app",
      "bad-app.mjs",
      "--grpc",
      "0",
      "--http",
      "0",
      "--gossip",
      "0",
    ]);
    expect([code, stderr]).toEqual([2, expect.stringContaining("bad-app.mjs:2")]);
    const missing = await ringctl([
      "start",
      "--name",
      "bad",
      "--app",
      "nowhere.mjs",
      "--grpc",
      "0",
      "--http",
      "0",
      "--gossip",
      "0",
    ]);
    expect([missing.code, missing.stderr]).toEqual([2, expect.stringContaining("nowhere.mjs: no such file")]);
    for (const [text, told] of [
      ["process.exit(0);", "odd-app.mjs: its top level ended the process with exit code 0"],
      ["await new Promise(() => process.exit(0));", "odd-app.mjs: its top level ended the process with exit code 0"],
      ["export const apps = new Proxy({}, { get() { throw new Error('trap'); } });", "trap"],
    ] as const) {
      writeFileSync(join(folder, "odd-app.mjs"), text);
      const odd = await ringctl(["start", "--name", "bad", "--app", "odd-app.mjs"]);
      expect([odd.code, odd.stderr]).toEqual([2, expect.stringContaining(told)]);
    }
  });

  test("gives up a join that finds nobody, after its time", async () => {
    const { code, stderr } = await ringctl([
      "start",
      "--name",
      "lonely",
      "--join",
      "127.0.0.1:1",
      "--timeout",
      "3s",
      "--grpc",
      "0",
      "--http",
      "0",
      "--gossip",
      "0",
      "--log-level",
      "silent",
      "-o",
      "json",
    ]);
    const last = stderr.trimEnd().split("\n").at(-1) ?? "";
    expect([code, JSON.parse(last)]).toMatchObject([4, { error: { code: "UNREACHABLE", retryable: true } }]);
  });

  test("P7: recover shows what may be lost, asks for --yes, and starts a new history", async () => {
    const node = startNode("last");
    await node.ready;
    const busy = await ringctl(["recover", "--voters", "last", "--data", join(folder, "last"), "--yes"]);
    expect([busy.code, busy.stderr]).toEqual([6, expect.stringContaining("in use by process")]);
    node.child.kill("SIGTERM");
    await node.ended;
    const asked = await ringctl(["recover", "--voters", "last", "--data", join(folder, "last")]);
    expect([asked.code, asked.stdout]).toEqual([2, expect.stringContaining("what may be lost")]);
    const done = await ringctl(["recover", "--voters", "last", "--data", join(folder, "last"), "--yes", "-o", "json"]);
    expect([done.code, JSON.parse(done.stdout).items]).toMatchObject([
      0,
      [{ historyBefore: 1, history: 2, voters: ["last"], written: true }],
    ]);
    const again = startNode("last");
    const { grpc } = await again.ready;
    expect(JSON.parse((await ringctl(["ring", "--address", grpc, "-o", "json"])).stdout)).toMatchObject({ history: 2 });
    again.child.kill("SIGTERM");
    await again.ended;
  });
});

describe("without a ring", () => {
  test("version, help, config and completion answer", async () => {
    expect((await ringctl(["version"])).stdout).toMatch(/^taskring \d+\.\d+\.\d+ on Node /);
    expect(await ringctl(["help"])).toMatchObject({ code: 0, stdout: expect.stringContaining("Change the ring:") });
    expect(await ringctl(["stage"])).toMatchObject({ code: 2, stdout: "" });
    const { items } = JSON.parse((await ringctl(["config", "explain", "--zone", "z1", "-o", "json"])).stdout) as {
      items: { name: string; values: string[]; where: string }[];
    };
    expect(items.find(({ name }) => name === "zone")).toMatchObject({ values: ["z1"], where: "--zone" });
    for (const shell of ["bash", "zsh", "fish"])
      expect(await ringctl(["completion", shell])).toMatchObject({
        code: 0,
        stdout: expect.stringContaining("transfers"),
      });
    expect(await ringctl(["completion", "csh"])).toMatchObject({ code: 2 });
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
