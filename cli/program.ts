/**
 * The command tree: names, arguments, options and texts. What a command does is imported only when it runs, so that
 * `start` is quick and the tree is readable as the reference that it is.
 */

import { Command, InvalidArgumentError, Option } from "commander";
import {
  CLIENT_SETTINGS,
  type Declare,
  declarer,
  exitWith,
  flagsOf,
  remark,
  say,
  settingsOf,
  withSettings,
} from "./declare.ts";
import { declarePipes } from "./program-pipes.ts";
import { declareRing } from "./program-ring.ts";
import { declareStore } from "./program-store.ts";
import { declareTasks } from "./program-tasks.ts";
import { outliveReaders } from "./readers.ts";
import type { Flags, SettingName } from "./settings.ts";

/** `silent`: errors of the command line are not printed here, since the caller does it in its own way. */
export function buildProgram(exit: (code: number) => void, { silent }: { readonly silent: boolean }): Command {
  const program = new Command("ringctl")
    .description("one ring over Node processes: every (app, key) has one owner that runs its tasks in order, durably")
    .exitOverride()
    .configureOutput(silent ? { writeErr: () => undefined } : {})
    .showHelpAfterError("(ringctl help COMMAND says more)")
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false });
  withSettings(program, CLIENT_SETTINGS);
  const declare: Declare = declarer(exit);

  program.commandsGroup("Run:");
  declareRunning(program, declare, exit);
  program.commandsGroup("Look:");
  declareRing(program, declare);
  declareTasks(program, declare);
  declarePipes(program, declare);
  program.commandsGroup("More:");
  declareMore(program, declare);
  return program;
}

function declareRunning(program: Command, declare: Declare, exit: (code: number) => void): void {
  const dev = program
    .command("dev")
    .description("a working ring on this machine; Ctrl-C stops it")
    .option("--nodes <number>", "how many nodes (default: 3); node i adds i to each port")
    .option("--verbose", "show each ring change and each transfer as well")
    .option("--ephemeral", "in a temporary folder that is removed at the end")
    .addOption(new Option("--ready-json", "when all serve, one line of JSON on stdout"));
  withSettings(dev, [
    "data",
    "app",
    "grpc",
    "http",
    "gossip",
    "ring-size",
    "profile",
    "log-level",
    "grace",
    "machine",
    "insecure-bind",
  ]);
  declare(dev, async () => (await import("./dev.ts")).dev);

  const demo = program
    .command("demo")
    .description("dev, real work and a killed node, in under a minute, with a verdict")
    .option("--keep", "keep the folder with data, logs and histories")
    .option("--tasks <number>", "how many tasks (default: 40000)")
    .option("--store <store>", "embedded; redis: one of its own, killed once; or redis://HOST:PORT (default: embedded)")
    .option("--feeds <source>", "read the feeds in this folder, or at these addresses, instead of the packaged ones");
  declare(demo, async () => (await import("./demo.ts")).demo);

  const starting = program
    .command("start")
    .description("one node in this process; founds a ring unless --join is given")
    .addOption(new Option("--ready-json", "the ready line on stdout is JSON"))
    .addOption(new Option("--stop-with-stdin", "stop when stdin ends").hideHelp());
  withSettings(starting, START_SETTINGS);
  starting.action(async (_flags: Flags, command: Command) => {
    outliveReaders();
    const flags = flagsOf(command);
    const [{ start }, { readableLog }, { tinted }] = await Promise.all([
      import("./start.ts"),
      import("./log-line.ts"),
      import("./tint.ts"),
    ]);
    const plain = (process.env.NO_COLOR ?? "") !== "" || process.env.TERM === "dumb";
    const print = (text: string): void => void process.stderr.write(text);
    exitWith(
      exit,
      await start({
        settings: settingsOf(flags),
        readyJson: flags.readyJson === true,
        stopWithStdin: flags.stopWithStdin === true,
        ...(process.stderr.isTTY === true ? { log: readableLog(print, plain ? (text) => text : tinted) } : {}),
        say,
        remark,
      }),
    );
  });

  const recovering = program
    .command("recover")
    .description("offline, when the quorum is lost for good: a new history with the named voters")
    .requiredOption("--voters <names>", "members that survive, separated by commas")
    .option("--yes", "do it");
  withSettings(recovering, ["data", "name"]);
  declare(recovering, async () => (await import("./recover.ts")).recover);
}

function declareMore(program: Command, declare: Declare): void {
  declareStore(program, declare);
  const configuring = program.command("config").description("settings that would be used here");
  withSettings(configuring, START_SETTINGS);
  declare(configuring, async () => (await import("./config.ts")).config({ explain: false }));
  const explaining = configuring.command("explain").description("and where each value comes from");
  declare(explaining, async () => (await import("./config.ts")).config({ explain: true }));

  program
    .command("completion")
    .description('a completion script; eval "$(ringctl completion bash)"')
    .argument("<shell>", "bash, zsh or fish", (shell: string) => {
      if (["bash", "zsh", "fish"].includes(shell)) return shell;
      throw new InvalidArgumentError("expected bash, zsh or fish");
    })
    .action(async (shell: string) => {
      const { completionScript } = await import("./completion.ts");
      say(completionScript(shell, program));
    });

  declare(program.command("version").description("versions of this program and of Node"), async () => {
    const { packageVersion } = await import("./version.ts");
    return async ({ output }) => {
      const item = { version: packageVersion(), node: process.versions.node };
      output.show({ kind: "Version", items: [item], lines: () => [`taskring ${item.version} on Node ${item.node}`] });
      return undefined;
    };
  });
}

const START_SETTINGS: readonly SettingName[] = [
  "name",
  "join",
  "app",
  "store",
  "data",
  "grpc",
  "http",
  "gossip",
  "gossip-keys",
  "gossip-label",
  "advertise",
  "weight",
  "zone",
  "machine",
  "auto-join",
  "ring-size",
  "profile",
  "log-level",
  "grace",
  "insecure-bind",
];
