/** Commands that look at the ring and change it. */

import type { Command } from "commander";
import type { Declare } from "./declare.ts";
import { declareKeys } from "./keys.ts";
import type { StageKind } from "./stage.ts";

export function declareRing(program: Command, declare: Declare): void {
  declareLooking(program, declare);
  program.commandsGroup("Change the ring:");
  declareChanging(program, declare);
}

function declareLooking(program: Command, declare: Declare): void {
  declare(
    program
      .command("status")
      .description("each node: state, lease, partitions, tasks; and what is wrong")
      .option("--watch", "again every second"),
    async () => (await import("./status.ts")).status,
  );
  declare(
    program.command("health").description("healthy or not (exit 7)").option("--wait", "until it is, at most --timeout"),
    async () => (await import("./status.ts")).health,
  );
  declare(
    program.command("doctor").description("everything that is wrong or waits for you, with advice"),
    async () => (await import("./status.ts")).doctor,
  );
  declare(
    program
      .command("members")
      .description("who is in the ring, who is alive, where")
      .option("--watch", "again every second"),
    async () => (await import("./members.ts")).members,
  );
  declare(
    program.command("ring").description("who owns how much").option("--partitions", "each partition with its owner"),
    async () => (await import("./members.ts")).ring,
  );
  declare(
    program.command("owner").description("who owns a key").argument("<app>").argument("<key>"),
    async () => (await import("./members.ts")).owner,
  );
  declare(
    program
      .command("events")
      .description("what happened to the ring")
      .option("-f, --follow", "and what happens from now on")
      .option("--recent <number>", "at most this many old ones (default: 100)"),
    async () => (await import("./events.ts")).events,
  );

  declare(
    program
      .command("top")
      .description("what the nodes and the busiest apps do, in tasks a second")
      .option("--every <time>", "how long each look lasts (default: 1s)")
      .option("--once", "one look, also on a terminal"),
    async () => (await import("./top.ts")).top,
  );

  declareKeys(program, declare);

  const moving = program
    .command("transfers")
    .description("what moves, how far it is, and why it waits")
    .option("--watch", "again every second")
    .option("--wait", "until nothing moves any more, at most --timeout");
  declare(moving, async () => (await import("./transfers.ts")).transfers);
  declare(
    moving.command("limit").description("at most this many at once on a node").argument("<number>"),
    async () => (await import("./transfers.ts")).limitTransfers,
  );
  declare(
    moving.command("pause").description("start no more transfers"),
    async () => (await import("./transfers.ts")).pauseTransfers,
  );
  declare(moving.command("resume").description("go on"), async () => (await import("./transfers.ts")).resumeTransfers);
  declare(
    moving
      .command("force")
      .description("hand a partition over although a handler still runs there; it may overlap with the next attempt")
      .argument("<partition>"),
    async () => (await import("./transfers.ts")).forceTransfer,
  );
}

function declareChanging(program: Command, declare: Declare): void {
  const staging = program.command("stage").description("stage a change; nothing moves before commit");
  const staged = (kind: StageKind, command: Command): void =>
    declare(command, async () => (await import("./stage.ts")).stage(kind));
  staged(
    "join",
    staging
      .command("join")
      .description("let a node in that gossips already")
      .argument("<name>")
      .option("--weight <number>", "default: what the node says of itself")
      .option("--zone <zone>", "default: what the node says of itself"),
  );
  staged(
    "leave",
    staging.command("leave").description("a member gives its partitions away and leaves for good").argument("<name>"),
  );
  staged(
    "replace",
    staging
      .command("replace")
      .description("a newcomer whose join is staged takes the place of a member")
      .argument("<name>")
      .argument("<by>"),
  );
  staged(
    "force-remove",
    staging
      .command("force-remove")
      .description("a member is removed without its consent; what is on its disk is lost")
      .argument("<name>")
      .option("--yes", "do it"),
  );
  staged(
    "down",
    staging
      .command("down")
      .description("a member's partitions go to others until it returns")
      .argument("<name>")
      .option("--yes", "do it"),
  );
  staged(
    "weight",
    staging
      .command("weight")
      .description("a member's share relative to others, 0 to 1000")
      .argument("<name>")
      .argument("<weight>"),
  );
  staged(
    "zone",
    staging
      .command("zone")
      .description("a member's failure zone; none without ZONE")
      .argument("<name>")
      .argument("[zone]"),
  );

  declare(
    program
      .command("plan")
      .description("what a commit would do: shares, moves, warnings")
      .option("--moves", "each move"),
    async () => (await import("./plan.ts")).plan,
  );
  declare(
    program
      .command("commit")
      .description("do exactly the plan that was shown")
      .argument("[plan-id]", "as shown by plan; default: the plan as it is now")
      .option("--wait", "until all transfers are over, at most --timeout"),
    async () => (await import("./plan.ts")).commit,
  );
  declare(program.command("clear").description("drop what is staged"), async () => (await import("./plan.ts")).clear);
  declare(
    program
      .command("drain")
      .description("move all partitions of a member away; it stays a member")
      .argument("[node]", "default: the node that is asked")
      .option("--undo", "give them back, as many as the weight it was started with is worth")
      .option("--wait", "until it has none left, or has its share back, at most --timeout"),
    async () => (await import("./plan.ts")).drain,
  );
}
