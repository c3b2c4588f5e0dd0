/** `taskring/testing`: an app's own handlers in a cluster on virtual time, under what a test does to its nodes. */

import { expect, test } from "vitest";
import { partitionOf } from "../../ring/hash.ts";
import { parseAppName } from "../../ring/ids.ts";
import { defineApp, resident, type TaskHandler, task } from "../../services/app.ts";
import { startCluster } from "../../services/testing/cluster.ts";
import { TestWorld } from "../../services/testing/world.ts";

const count: TaskHandler = (_task, { state }) => {
  const orders = (state.get<number>("orders") ?? 0) + 1;
  state.put("orders", orders);
  return { orders };
};

function shop(more: Record<string, TaskHandler> = {}) {
  const tasks = Object.fromEntries(Object.entries({ count, ...more }).map(([name, code]) => [name, task(code)]));
  return defineApp("shop", { tasks });
}

test("a task runs at its owner, and its state and result are there", async () => {
  await using cluster = await startCluster({ apps: [shop()] });
  expect(cluster.nodes).toEqual(["n1", "n2", "n3"]);
  for (const orders of [1, 2, 3]) {
    const id = await cluster.submit({ app: "shop", type: "count", key: "alice" });
    expect(await cluster.wait(id)).toMatchObject({ id, key: "alice", state: "done", attempts: 1, result: { orders } });
  }
  expect(await cluster.state("shop", "alice")).toEqual(new Map([["orders", 3]]));
  expect(cluster.nodes).toContain(cluster.owner("shop", "alice"));
});

test("P1: what was accepted is done although its owner is killed, and children of it come once", async () => {
  const ran: string[] = [];
  const parent: TaskHandler = async ({ key }, { submit }) => {
    await submit("child", { key: `of-${key}` });
  };
  const child: TaskHandler = ({ key, id }) => void ran.push(`${key} ${id}`);
  await using cluster = await startCluster({ apps: [shop({ parent, child })] });
  const ids = await Promise.all(
    Array.from({ length: 60 }, (_, at) => cluster.submit({ app: "shop", type: "parent", key: `k${at}` })),
  );
  cluster.crash(cluster.owner("shop", "k0") as string);
  for (const id of ids) expect(await cluster.wait(id)).toMatchObject({ state: "done" });
  await cluster.until(() => new Set(ran).size === 60);
});

test("P3: tasks of a key run one at a time and in order, also when its owner is paused past its lease", async () => {
  const order: number[] = [];
  let inside = 0;
  const slow: TaskHandler = async (one, { signal }) => {
    inside++;
    const mine = inside;
    await cluster.sleep(200, signal).catch(() => undefined);
    inside--;
    if (!signal.aborted) order.push(one.json<number>() * mine);
  };
  await using cluster = await startCluster({ apps: [shop({ slow })], apart: true });
  for (let number = 1; number <= 20; number++)
    await cluster.submit({ app: "shop", type: "slow", key: "one", payload: number });
  cluster.pause(cluster.owner("shop", "one") as string, 8_000);
  await cluster.settle({ timeoutMs: 120_000 });
  expect([...new Set(order)]).toEqual(Array.from({ length: 20 }, (_, at) => at + 1));
});

test("minutes of virtual time take little, and the same seed gives the same run", async () => {
  const run = async (seed: number): Promise<string> => {
    const log: string[] = [];
    const write: TaskHandler = async ({ key }, { submit }) => {
      await cluster.sleep(700);
      log.push(`${cluster.now.toFixed(3)} ${key}`);
      if (key === "k1") await submit("count", { key });
    };
    const cluster = await startCluster({ apps: [shop({ write })], seed });
    for (let at = 0; at < 20; at++) await cluster.submit({ app: "shop", type: "write", key: `k${at % 3}` });
    cluster.crash("n2");
    await cluster.run(120_000);
    cluster.start("n2");
    await cluster.settle({ timeoutMs: 180_000 });
    await cluster.close();
    return log.join("\n");
  };
  const first = await run(7);
  expect(first.split("\n").length).toBeGreaterThanOrEqual(20);
  expect(await run(7)).toBe(first);
  expect(await run(8)).not.toBe(first);
});

test("a rolling restart: what is started while it stops comes back when it has ended", async () => {
  const held: TaskHandler = async () => {
    await cluster.sleep(4_000);
    return "once"; // of a task without a result only the id survives a restart
  };
  await using cluster = await startCluster({ apps: [shop({ held })] });
  const owners = (): (string | undefined)[] => Array.from({ length: 30 }, (_, at) => cluster.owner("shop", `k${at}`));
  const before = owners();
  for (const node of cluster.nodes) {
    const id = await cluster.submit({ app: "shop", type: "held", key: `k${before.indexOf(node)}` });
    cluster.stop(node);
    cluster.start(node);
    await cluster.settle();
    expect(await cluster.wait(id)).toMatchObject({ state: "done", attempts: 1 });
  }
  expect(owners()).toEqual(before);
  cluster.stop("n1");
  cluster.start("n1");
  cluster.crash("n1");
  await cluster.run(40_000); // it said that it comes back: nobody takes over for 30 s
  expect(owners()).not.toContain("n1");
});

test("retries and dead letters come in virtual time, and a split ring starts nothing without a lease", async () => {
  let tries = 0;
  const fails: TaskHandler = () => {
    tries++;
    throw new Error("not today");
  };
  await using cluster = await startCluster({ apps: [shop({ fails })], apart: true });
  const id = await cluster.submit({ app: "shop", type: "fails", key: "k", maxAttempts: 3 });
  expect(await cluster.wait(id)).toMatchObject({ state: "dead", error: { message: "not today" } });
  expect(tries).toBe(3);
  const owner = cluster.owner("shop", "k") as string;
  cluster.isolate(owner);
  await cluster.until(() => cluster.owner("shop", "k") !== owner, { timeoutMs: 60_000 });
  const next = await cluster.submit({ app: "shop", type: "count", key: "other" });
  expect(await cluster.wait(next)).toMatchObject({ state: "done" });
  cluster.heal();
  await cluster.settle({ timeoutMs: 180_000 });
});

test("P5: a question with much time leaves nothing behind for long once it is answered", async () => {
  const world = new TestWorld({ apps: [shop()], seed: 1, nodes: 1, ringSize: 8, apart: false });
  const partition = partitionOf({ app: "shop", key: "k" }, 8);
  await world.pump.wait<void>((done) => world.agenda.after(2_000, done));
  for (let count = 0; count < 50; count++)
    await world.ask(partition, { type: "read-state", app: parseAppName("shop"), key: "k" }, 86_400_000);
  world.host("n1").crash();
  await world.pump.wait<void>((done) => world.agenda.after(10_000, done));
  expect(world.agenda.nextAt).toBeUndefined();
  world.close();
});

test("bad calls say what is wrong", async () => {
  await using cluster = await startCluster({ apps: [shop()], nodes: 1 });
  await expect(cluster.submit({ app: "nobody", type: "count" })).rejects.toMatchObject({ code: "APP_UNKNOWN" });
  await expect(cluster.submit({ app: "shop", type: "none" })).rejects.toMatchObject({ code: "TASK_TYPE_UNKNOWN" });
  await expect(cluster.get("f".repeat(32))).rejects.toMatchObject({ code: "TASK_NOT_FOUND" });
  expect(() => cluster.crash("n9")).toThrow("there is no node n9");
  const noNumber = Number.NaN;
  for (const call of [
    cluster.sleep(noNumber),
    cluster.run(noNumber),
    cluster.run(Number.POSITIVE_INFINITY),
    cluster.until(() => true, { timeoutMs: noNumber }),
  ])
    await expect(call).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(() => cluster.pause("n1", noNumber)).toThrow("ms must be a finite number");
  expect(() => cluster.lose(7)).toThrow("share must be 0 to 1");
  await expect(startCluster({ apps: [], nodes: 0 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  cluster.crash("n1");
  await expect(cluster.submit({ app: "shop", type: "count" }, { timeoutMs: 5_000 })).rejects.toMatchObject({
    code: "DEADLINE",
  });
  const never = cluster.until(() => false, { timeoutMs: 1e9 });
  const told = expect(never).rejects.toMatchObject({ code: "CANCELLED" });
  await cluster.close();
  await told;
});

test("P2: what a handler of a killed process comes to is not taken for what the next process runs", async () => {
  let runs = 0;
  const slow: TaskHandler = async () => {
    const run = ++runs;
    await cluster.sleep(run === 1 ? 10_000 : 20_000); // no signal: it goes on
    return { run };
  };
  await using cluster = await startCluster({ apps: [shop({ slow })], nodes: 1 });
  const id = await cluster.submit({ app: "shop", type: "slow", key: "one" });
  await cluster.until(() => runs === 1);
  cluster.crash("n1");
  cluster.start("n1");
  await cluster.until(() => runs === 2);
  await cluster.run(12_000); // the first has come to its end
  expect(await cluster.get(id)).toMatchObject({ state: "running" });
  await cluster.run(10_000);
  expect((await cluster.get(id)).state).toBe("done");
});

test("time stands still while the test does not wait, whatever residents wait for", async () => {
  let submitted = 0;
  let open = (): void => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const app = defineApp("shop", {
    tasks: { count: task(count) },
    residents: {
      feeder: resident(async ({ signal, submit }) => {
        await gate;
        for (; !signal.aborted; submitted++) await submit("count", { key: "alice" });
      }),
    },
  });
  await using cluster = await startCluster({ apps: [app], nodes: 1 });
  open();
  await cluster.until(() => submitted > 3);
  const { now } = cluster;
  const before = submitted;
  for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect([cluster.now, submitted - before]).toEqual([now, 0]);
});
