/** Commands for apps, keys, tasks, dead letters and schedules. */

import type { Command } from "commander";
import type { Declare } from "./declare.ts";

export function declareTasks(program: Command, declare: Declare): void {
  program.commandsGroup("Apps and tasks:");
  declareApps(program, declare);
  declareTaskCommands(program, declare);
  declareDead(program, declare);
  declareCron(program, declare);
}

function declareApps(program: Command, declare: Declare): void {
  const app = program.command("app").description("apps (tenants) at run time");
  const changes = {
    create: "make an app of a template known by name: its residents and schedules start",
    delete: "refuse its tasks from now on; its residents and schedules stop",
    pause: "start no more of its tasks; they are still accepted",
    resume: "start its tasks again",
  } as const;
  for (const action of ["create", "delete", "pause", "resume"] as const)
    declare(app.command(action).description(changes[action]).argument("<app>"), async () =>
      (await import("./apps.ts")).changeApp(action),
    );
  declare(
    app.command("list").description("busiest first").option("--limit <number>", "at most this many (default: 1000)"),
    async () => (await import("./apps.ts")).listApps,
  );
  declare(
    app.command("describe").description("one app").argument("<app>"),
    async () => (await import("./apps.ts")).describeApp,
  );
  declare(
    app
      .command("limit")
      .description("what it may use; what is not named stays")
      .argument("<app>")
      .option("--queued <number>", "tasks waiting or running in the whole ring")
      .option("--running <number>", "attempts at once on one node")
      .option("--per-second <number>", "task starts a second on one node; 0: no limit")
      .option("--weight <number>", "share relative to other apps"),
    async () => (await import("./apps.ts")).limitApp,
  );

  const key = program.command("key").description("one key of an app");
  declare(
    key
      .command("describe")
      .description("its lane: what runs, what waits and why")
      .argument("<app>")
      .argument("<key>")
      .option("--state", "and its durable state"),
    async () => (await import("./apps.ts")).describeKey,
  );
  declare(
    key
      .command("aside")
      .description("its state that came back too late from a machine that was away: newer state won")
      .argument("<app>")
      .argument("<key>")
      .option("--drop", "forget it"),
    async () => (await import("./apps.ts")).showAside,
  );
  declare(
    key
      .command("hot")
      .description("those that have the most to do, counted for a while on every node")
      .argument("[app]", "of this app alone")
      .option("--for <duration>", "count this long (default: 5s)")
      .option("--limit <number>", "at most this many (default: 20)"),
    async () => (await import("./hot-keys.ts")).hotKeys,
  );
  for (const action of ["pause", "resume"] as const)
    declare(
      key
        .command(action)
        .description(action === "pause" ? "start no more of its tasks" : "start its tasks again")
        .argument("<app>")
        .argument("<key>"),
      async () => (await import("./apps.ts")).changeKey(action),
    );
}

function declareTaskCommands(program: Command, declare: Declare): void {
  const task = program.command("task").description("units of work");
  declare(
    task
      .command("submit")
      .description("submit one; prints its id when it is on disk")
      .argument("<app>")
      .argument("<type>")
      .option("--key <key>", "tasks of one key run in order, one at a time")
      .option("--data <data>", "payload: text, @FILE, or - for stdin")
      .option("--delay <duration>", "runnable after this long")
      .option("--deadline <duration>", "given up after this long")
      .option("--attempts <number>", "at most this many")
      .option("--priority <number>", "-100 to 100, among the app's keys")
      .option("--idempotency-key <key>", "submits with the same one within 24 h are one task")
      .option("--header <name=value>", "again for more", (text: string, before: readonly string[] | undefined) => [
        ...(before ?? []),
        text,
      ])
      .option("--id <id>", "of an earlier submit of the same task")
      .option("--wait", "until it has ended, at most --timeout; exit 0 only if it is done"),
    async () => (await import("./tasks.ts")).submitTask,
  );
  declare(
    task.command("get").description("how it is").argument("<id>"),
    async () => (await import("./tasks.ts")).getTask,
  );
  declare(
    task.command("watch").description("each state until its end; exit 0 only if it is done").argument("<id>"),
    async () => (await import("./tasks.ts")).watchTask,
  );
  declare(
    task.command("cancel").description("a waiting one ends; a running one gets its signal").argument("<id>"),
    async () => (await import("./tasks.ts")).cancelTask,
  );
  declare(
    task
      .command("list")
      .description("tasks that wait, run or ended lately")
      .option("--app <app>", "of this app")
      .option("--key <key>", "of this key")
      .option("--state <state>", "queued, delayed, running, retrying, done, dead or cancelled")
      .option("--limit <number>", "at most this many (default: 100)"),
    async () => (await import("./tasks.ts")).listTasks,
  );
}

function declareDead(program: Command, declare: Declare): void {
  const dead = program.command("dead").description("tasks that failed for good and are kept");
  declare(
    dead
      .command("list")
      .description("one by one")
      .option("--app <app>", "of this app")
      .option("--limit <number>", "at most this many (default: 100)"),
    async () => (await import("./dead-letters.ts")).listDead,
  );
  declare(
    dead.command("groups").description("by app, type and error").option("--app <app>", "of this app"),
    async () => (await import("./dead-letters.ts")).groupDead,
  );
  declare(
    dead.command("show").description("one, with its error").argument("<id>"),
    async () => (await import("./dead-letters.ts")).showDead,
  );
  for (const action of ["retry", "drop"] as const)
    declare(
      dead
        .command(action)
        .description(action === "retry" ? "run again, at the end of their lanes" : "forget for good")
        .argument("[ids...]")
        .option("--all", "all of them")
        .option("--group <group>", "those of one group, as shown by dead groups")
        .option("--app <app>", "with --all or --group: of this app")
        .option("--rate <number>", "at most this many a second")
        .option("--yes", "do not ask"),
      async () => (await import("./dead-letters.ts"))[action === "retry" ? "retryDead" : "dropDead"],
    );
}

function declareCron(program: Command, declare: Declare): void {
  const cron = program.command("cron").description("schedules");
  declare(
    cron
      .command("list")
      .description("what fires when")
      .argument("[app]")
      .option("--limit <number>", "at most this many (default: 1000)"),
    async () => (await import("./apps.ts")).listSchedules,
  );
  const texts = {
    pause: "let it not fire",
    resume: "let it fire again, from now on if it waits for a clock",
    run: "fire now",
  } as const;
  for (const action of ["pause", "resume", "run"] as const)
    declare(
      cron
        .command(action)
        .description(texts[action])
        .argument("<app>")
        .argument("<name>")
        .option("--key <key>", "where several have the name"),
      async () => (await import("./apps.ts")).changeSchedule(action),
    );
}
