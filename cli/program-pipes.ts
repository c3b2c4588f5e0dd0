/** Commands for pipelines and their runs. */

import type { Command } from "commander";
import type { Declare } from "./declare.ts";

export function declarePipes(program: Command, declare: Declare): void {
  const pipe = program.command("pipe").description("pipelines: staged work over the ring");
  declare(
    pipe.command("list").description("pipelines that are loaded, and runs under way"),
    async () => (await import("./pipe.ts")).listPipes,
  );
  declare(
    pipe
      .command("run")
      .description("stream inputs through a pipeline; results on stdout, one JSON value a line")
      .argument("<name>")
      .option("--input <file>", "@FILE with one JSON value a line, or - for stdin (default: stdin)")
      .option("--drain", "count the results instead of printing them"),
    async () => (await import("./pipe.ts")).runPipe,
  );
  declare(
    pipe.command("status").description("workers, queues, what is blocked, and the bottleneck").argument("<run>"),
    async () => (await import("./pipe.ts")).pipeStatus,
  );
  declare(
    pipe
      .command("trace")
      .description("what its workers do, live; stops by itself")
      .argument("<run>")
      .option("--fitting <name>", "only this one; again for more", again)
      .option("--type <type>", "only blocked, failed, done, archived or log; again for more", again)
      .option("--for <duration>", "stop after this long (default: 30s)"),
    async () => (await import("./pipe.ts")).tracePipe,
  );
  declare(
    pipe.command("cancel").description("end a run; nothing of it remains").argument("<run>"),
    async () => (await import("./pipe.ts")).cancelPipe,
  );
}

function again(text: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), text];
}
