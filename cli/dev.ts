/**
 * `ringctl dev`: a ring of real processes on this machine, kept running until Ctrl-C.
 *
 * The first node founds, the others join it at once; when the data is from an earlier run, all find each other again.
 * stdout gets the addresses once all serve; the nodes' logs go to stderr, each line with its node's name.
 */

import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type HostPort, parseHostPort, showHostPort } from "./address.ts";
import type { CommandRun } from "./ask-node.ts";
import { ChildNode, type ReadyNode } from "./child-node.ts";
import { EXIT, usage } from "./exit-codes.ts";
import { readLogLine } from "./log-line.ts";
import { tableLines } from "./table.ts";
import type { Paint } from "./tint.ts";
import { type Tint, tinted } from "./tint.ts";

export async function dev({ flags, settings, output }: CommandRun): Promise<number> {
  const size = nodeCount(String(flags.nodes ?? "3"));
  const ephemeral = flags.ephemeral === true;
  const folder = ephemeral
    ? await mkdtemp(join(tmpdir(), "taskring-dev-"))
    : (settings.text("data") ?? join(".taskring", "dev"));
  const ready = new Map<string, ReadyNode>();
  const colour = process.stderr.isTTY === true && (process.env.NO_COLOR ?? "") === "";
  const paint: Paint = colour ? tinted : (text) => text;
  const say = (name: string, text: string, tint: Tint): void => {
    process.stderr.write(`${paint(name.padEnd(4), tintOfNode(name))} ${paint(text, tint)}\n`);
  };
  const names = Array.from({ length: size }, (_, at) => `n${at}`);
  let end: (code: number) => void = () => {};
  const ended = new Promise<number>((resolve) => {
    end = resolve;
  });
  const nodes = names.map((name, at) => {
    const data = join(folder, name);
    const known = existsSync(join(data, "register"));
    const binds = (["grpc", "http", "gossip"] as const).map(
      (kind) => [`--${kind}`, showHostPort(placed(baseOf(settings.text(kind), kind), at))] as const,
    );
    return new ChildNode({
      name,
      args: (starts) => [
        "--data",
        data,
        ...binds.flat(),
        ...joins({
          at,
          names,
          ready,
          binds: settings.text("gossip"),
          founds: at === 0 && !known && starts === 0,
        }).flatMap((address) => ["--join", address]),
        "--auto-join",
        ...appFiles(settings.list("app")).flatMap((file) => ["--app", file]),
        ...passedOn(settings),
      ],
      onLog: (line) => {
        const { text, tint, routine } = readLogLine(line);
        if (!routine || flags.verbose === true) say(name, text, tint);
      },
      onReady: (node) => {
        const before = ready.get(name);
        ready.set(name, node);
        if (before !== undefined) say(name, `is back, process ${node.pid}`, "good");
        if (at === 0 && starting.length > 0) for (const other of starting.splice(0)) other.start();
        if (before === undefined && ready.size === size) announce();
      },
      onCrash: (how, againInMs) => say(name, `${how}; starts again in ${againInMs / 1_000} s`, "bad"),
      onFailed: (code) => {
        say(name, `could not be started (exit ${code}); stopping the others`, "bad");
        end(code);
      },
    });
  });
  // Wait for the first, which founds the ring.
  const starting = nodes.slice(1);

  const announce = (): void => {
    const rows = names.map((name) => ready.get(name)).filter((node) => node !== undefined);
    if (flags.readyJson === true || output.format !== "table") {
      process.stdout.write(`${JSON.stringify({ ready: true, data: folder, nodes: rows })}\n`);
      return;
    }
    const first = rows[0]?.grpc ?? "";
    const address = first === "127.0.0.1:7400" ? "" : ` --address ${first}`;
    const app = settings.list("app").length === 0 ? "hello greet --key you --wait" : "APP TYPE";
    output.show({
      kind: "DevRing",
      items: rows,
      lines: (tint) => [
        "",
        ...tableLines<ReadyNode>(
          [
            { title: "NODE", text: (node) => node.name, tint: () => "strong" },
            { title: "GRPC", text: (node) => node.grpc },
            { title: "HTTP", text: (node) => `http://${node.http}/` },
            { title: "GOSSIP", text: (node) => node.gossip },
            { title: "PID", text: (node) => String(node.pid), right: true },
          ],
          rows,
          tint,
        ),
        "",
        `${tint("data", "dim")}  ${folder}${ephemeral ? " (removed at the end)" : ""}`,
        `${tint("next", "dim")}  ringctl status${address}`,
        `      ringctl task submit ${app}${address}`,
        `${tint("stop", "dim")}  Ctrl-C`,
        "",
      ],
    });
  };

  let interrupts = 0;
  const onSignal = (): void => {
    interrupts += 1;
    if (interrupts === 1) {
      process.stderr.write(`${paint("stopping; running attempts may end (Ctrl-C again: at once)", "dim")}\n`);
      end(EXIT.ok);
      return;
    }
    for (const node of nodes) node.kill();
    process.exit(EXIT.interrupted);
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  process.on("SIGHUP", onSignal);
  process.on("exit", () => {
    for (const node of nodes) node.kill();
  });
  // A new ring has to be founded before it can be joined.
  if (existsSync(join(folder, "n0", "register"))) for (const node of starting.splice(0)) node.start();
  nodes[0]?.start();
  const code = await ended;
  await Promise.all(nodes.map((node) => node.stop()));
  if (ephemeral) await rm(folder, { recursive: true, force: true });
  return code;
}

function nodeCount(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > NODES_MOST)
    throw usage(`--nodes ${text}: expected 1 to ${NODES_MOST}`);
  return value;
}

/** Whom a node asks for the ring: nobody if it founds, else every other whose address is known. */
function joins(situation: {
  readonly at: number;
  readonly names: readonly string[];
  readonly ready: ReadonlyMap<string, ReadyNode>;
  readonly binds: string | undefined;
  readonly founds: boolean;
}): readonly string[] {
  const { at, names, ready, binds, founds } = situation;
  if (founds) return [];
  const base = baseOf(binds, "gossip");
  return names.flatMap((name, other) => {
    if (other === at) return [];
    const address = ready.get(name)?.gossip ?? (base.port === 0 ? undefined : showHostPort(placed(base, other)));
    return address === undefined ? [] : [address];
  });
}

/** What a node of the ring takes over from this program's own settings. */
function passedOn(settings: CommandRun["settings"]): readonly string[] {
  const names = ["ring-size", "profile", "log-level", "grace", "machine"] as const;
  const given = names.flatMap((name) => {
    const value = settings.find(name);
    return value === undefined || value.source === "default" ? [] : [`--${name}`, value.values[0] ?? ""];
  });
  return settings.toggle("insecure-bind") ? [...given, "--insecure-bind"] : given;
}

function appFiles(given: readonly string[]): readonly string[] {
  if (given.length > 0) return given;
  const file = fileURLToPath(new URL("./dev-app.ts", import.meta.url));
  return [import.meta.url.endsWith(".ts") ? file : file.replace(/\.ts$/, ".js")];
}

function baseOf(text: string | undefined, kind: "grpc" | "http" | "gossip"): HostPort {
  const fallback = { host: "127.0.0.1", port: { grpc: 7_400, http: 7_480, gossip: 7_946 }[kind] };
  return text === undefined ? fallback : parseHostPort(text, { flag: `--${kind}`, fallback });
}

/** Node i adds i to each port; the system chooses all or none. */
function placed({ host, port }: HostPort, at: number): HostPort {
  return { host, port: port === 0 ? 0 : port + at };
}

function tintOfNode(name: string): Tint {
  return (["accent", "good", "warn", "strong"] as const)[Number(name.slice(1)) % 4] ?? "accent";
}

const NODES_MOST = 64;
