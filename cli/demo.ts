/**
 * `ringctl demo`: real processes, real work, a joined node and a killed node, and a verdict from a history that only
 * clients and handlers wrote. Exit 0 only if every promise held.
 *
 * Everything lives in one temporary folder and in child processes; both are gone at the end, however it ends.
 */

import { execFile } from "node:child_process";
import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { RingError } from "../ring/errors.ts";
import { isRedisAddress } from "../ring/io/store/redis/address.ts";
import { connect } from "../services/client/ring-client.ts";
import type { Verdict } from "../services/history/check.ts";
import { HistoryWriter } from "../services/history/writer.ts";
import { Lab } from "../services/lab/lab.ts";
import type { CommandRun } from "./ask-node.ts";
import { openPublisher } from "./demo-feeds.ts";
import { Narrator } from "./demo-narrator.ts";
import { play, type StoryFacts, untilSettled } from "./demo-story.ts";
import { judgeDemo, verdictSheet } from "./demo-verdict.ts";
import { CliError, EXIT, usage } from "./exit-codes.ts";
import { count } from "./table.ts";

export async function demo({ flags, output }: CommandRun): Promise<number> {
  const tasks = taskCount(String(flags.tasks ?? TASKS));
  const store = flags.store === undefined ? "embedded" : String(flags.store);
  if (store !== "embedded" && store !== "redis" && !isRedisAddress(store))
    throw usage(`--store ${store}: expected embedded, redis or redis://HOST:PORT`);
  const source = flags.feeds === undefined ? undefined : String(flags.feeds);
  const narrator = new Narrator(output);
  const folder = await mkdtemp(join(tmpdir(), FOLDER));
  const interrupt = interrupting(folder);
  const story = rehearsed({ folder, store, source, tasks, narrator, interrupt });
  try {
    const facts = await Promise.race([story, interrupt.happened]);
    narrator.say("the nodes are stopped; another program judges the history");
    const history = await Promise.race([judged(join(folder, "history")), interrupt.happened]);
    const whole = { ...facts, history, seconds: narrator.seconds };
    const checks = judgeDemo(whole);
    output.show(verdictSheet(whole, checks));
    if (checks.every((each) => each.ok)) return EXIT.ok;
    if (flags.keep !== true) narrator.say(KEEP_HINT, "dim");
    return EXIT.failure;
  } catch (error) {
    if (interrupt.signal.aborted) {
      narrator.say("interrupted; killing the nodes");
      await interrupt.cleaned();
      return EXIT.interrupted;
    }
    if (flags.keep !== true && !(error instanceof CliError)) narrator.say(KEEP_HINT, "dim");
    throw error;
  } finally {
    if (flags.keep === true) narrator.say(`data, logs and history are in ${folder}`, "dim");
    else await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    interrupt.end();
  }
}

/** All of it but the judgement. When it resolves or throws, no process is left. */
async function rehearsed(options: {
  readonly folder: string;
  readonly store: string;
  readonly source: string | undefined;
  readonly tasks: number;
  readonly narrator: Narrator;
  readonly interrupt: Interrupt;
}): Promise<StoryFacts> {
  const { folder, narrator, interrupt } = options;
  const { signal } = interrupt;
  const history = join(folder, "history");
  await using publisher = await openPublisher(options);
  await using redis =
    options.store === "embedded" ? undefined : await (await import("./demo-redis.ts")).openDemoRedis(options.store);
  await using lab = await Lab.open({
    folder,
    ...(redis === undefined ? {} : { flags: ["--store", redis.url] }),
    apps: [APPS, PIPELINES],
    env: {
      TASKRING_HISTORY_DIR: history,
      TASKRING_DEMO_FEEDS: publisher.feeds.map(({ url }) => url).join(" "),
      TASKRING_DEMO_POLL_MS: String(POLL_MS),
    },
  });
  interrupt.undo(() => lab[Symbol.asyncDispose]());
  narrator.say(
    `starting n1, n2 and n3: three processes, four apps (auth, feeds, notifier, pipelines), ${count(publisher.feeds.length)} feeds`,
  );
  await lab.start("n1");
  await Promise.all([lab.start("n2"), lab.start("n3")]);
  using writer = new HistoryWriter({ directory: history, role: "client" });
  await using client = connect({ addresses: lab.addresses, clientId: "demo" });
  const stage = { lab, client, writer, publisher, narrator, signal, redis };
  const shares = await untilSettled(stage, ["n1", "n2", "n3"]);
  narrator.say(
    `one ring: ${[...shares].map(([name, partitions]) => `${name} ${partitions}`).join(", ")} partitions`,
    "good",
  );
  return await play(stage, options.tasks);
}

/** A program of its own reads the files. */
async function judged(directory: string): Promise<Verdict> {
  const text = await new Promise<string>((resolve, reject) => {
    // Exit 1 means broken promises: the verdict says which.
    execFile(
      process.execPath,
      [CHECKER, directory, "--json"],
      { maxBuffer: VERDICT_BYTES },
      (error, stdout, stderr) => {
        if (stdout.startsWith("{")) resolve(stdout);
        else reject(new RingError("INTERNAL", `the history could not be judged: ${error?.message ?? ""} ${stderr}`));
      },
    );
  });
  return JSON.parse(text) as Verdict;
}

interface Interrupt {
  readonly signal: AbortSignal;
  /** Rejects at the first Ctrl-C; the second ends the process. */
  readonly happened: Promise<never>;
  /** Done at the first Ctrl-C, whatever else is being waited for. Throws if that has been. */
  undo(what: () => Promise<void>): void;
  /** Resolves when all that is undone. */
  cleaned(): Promise<void>;
  end(): void;
}

function interrupting(folder: string): Interrupt {
  const controller = new AbortController();
  const undone: (() => Promise<void>)[] = [];
  let cleaned: Promise<unknown> = Promise.resolve();
  let reject: (error: unknown) => void = () => {};
  const happened = new Promise<never>((_, no) => {
    reject = no;
  });
  happened.catch(() => {});
  const onSignal = (): void => {
    if (controller.signal.aborted) {
      rmSync(folder, { recursive: true, force: true });
      process.exit(EXIT.interrupted);
    }
    const error = new CliError("CANCELLED", "interrupted", { exit: EXIT.interrupted });
    controller.abort(error);
    cleaned = Promise.allSettled(undone.map((what) => what()));
    reject(error);
  };
  for (const name of SIGNALS) process.on(name, onSignal);
  return {
    signal: controller.signal,
    happened,
    undo: (what) => {
      controller.signal.throwIfAborted();
      undone.push(what);
    },
    cleaned: async () => void (await cleaned),
    end: () => {
      for (const name of SIGNALS) process.off(name, onSignal);
    },
  };
}

function taskCount(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < TASKS_LEAST || value > TASKS_MOST)
    throw usage(`--tasks ${text}: expected ${count(TASKS_LEAST)} to ${count(TASKS_MOST)}`);
  return value;
}

const FOLDER = "taskring-demo-";
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const APPS = fileURLToPath(new URL("../examples/demo-apps.js", import.meta.url));
const PIPELINES = fileURLToPath(new URL("../examples/pipelines.js", import.meta.url));
const CHECKER = fileURLToPath(new URL("../services/history/check.js", import.meta.url));
const POLL_MS = 1_500;
const TASKS = 40_000;
const TASKS_LEAST = 10_000;
const TASKS_MOST = 200_000;
const KEEP_HINT = "run it with --keep to look at data, logs and history";
const VERDICT_BYTES = 64 * 1024 * 1024;
