/**
 * Where a setting's value comes from: flag > `TASKRING_*` > `taskring.json` > default. An unknown key is an error, with the
 * nearest known one named.
 *
 * Everything is text until it is used: the command that uses a setting parses it, and names the source when it cannot.
 */

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { usage } from "./exit-codes.ts";

export interface Setting {
  /** As in taskring.json; the flag is `--name`, the variable `TASKRING_NAME`. */
  readonly name: SettingName;
  readonly flag: string;
  readonly about: string;
  /** Shown by `config explain`; undefined for none. */
  readonly fallback?: string;
  /** May be given many times; a list in taskring.json, separated by commas in the environment. */
  readonly many?: boolean;
  /** No value: `true` or `false`. */
  readonly toggle?: boolean;
}

export type SettingName =
  | "address"
  | "timeout"
  | "output"
  | "token-file"
  | "config"
  | "name"
  | "join"
  | "app"
  | "store"
  | "data"
  | "grpc"
  | "http"
  | "gossip"
  | "gossip-keys"
  | "gossip-label"
  | "advertise"
  | "weight"
  | "zone"
  | "machine"
  | "auto-join"
  | "ring-size"
  | "profile"
  | "log-level"
  | "grace"
  | "insecure-bind";

export interface Value {
  readonly values: readonly string[];
  readonly source: "flag" | "environment" | "file" | "default";
  /** In words: `--grpc`, `TASKRING_GRPC`, `/etc/taskring.json`, `default`. */
  readonly where: string;
}

/** Values by camelCase option name, as commander gives them. */
export type Flags = Readonly<Record<string, unknown>>;

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

export class Settings {
  readonly #flags: Flags;
  readonly #env: Surroundings["env"];
  readonly #file: ConfigFile | undefined;

  /** Reads and checks environment and file. Throws a usage error for an unknown key. */
  constructor(flags: Flags, { env, cwd }: Surroundings) {
    this.#flags = flags;
    this.#env = env;
    checkEnvironment(env);
    this.#file = readConfigFile(flags.config === undefined ? (env.TASKRING_CONFIG ?? "") : String(flags.config), cwd);
  }

  find(name: SettingName): Value | undefined {
    const setting = SETTINGS.find((known) => known.name === name)!;
    const flag = this.#flags[camelCase(name)];
    if (flag !== undefined) return { values: listOf(flag), source: "flag", where: `--${name}` };
    const variable = variableOf(name);
    const text = this.#env[variable];
    if (text !== undefined && text !== "") {
      const values =
        setting.many === true
          ? text
              .split(",")
              .map((part) => part.trim())
              .filter((part) => part !== "")
          : [text];
      return { values, source: "environment", where: variable };
    }
    const inFile = this.#file?.values.get(name);
    if (inFile !== undefined) return { values: inFile, source: "file", where: this.#file!.path };
    return setting.fallback === undefined
      ? undefined
      : { values: [setting.fallback], source: "default", where: "default" };
  }

  text(name: SettingName): string | undefined {
    return this.find(name)?.values[0];
  }

  /** Throws for a setting without a default. */
  required(name: SettingName): string {
    const text = this.text(name);
    if (text === undefined) throw usage(`--${name} is missing`);
    return text;
  }

  list(name: SettingName): readonly string[] {
    return this.find(name)?.values ?? [];
  }

  toggle(name: SettingName): boolean {
    const value = this.find(name);
    if (value === undefined) return false;
    const text = value.values[0];
    if (text === "true" || text === "1") return true;
    if (text === "false" || text === "0") return false;
    throw usage(`${value.where}: expected true or false, not ${text}`);
  }

  integer(name: SettingName, range: { readonly least: number; readonly most: number }): number | undefined {
    const value = this.find(name);
    if (value === undefined) return undefined;
    const text = value.values[0] ?? "";
    const number = Number(text);
    if (!/^\d{1,15}$/.test(text) || number < range.least || number > range.most)
      throw usage(`${value.where} ${text}: expected a whole number from ${range.least} to ${range.most}`);
    return number;
  }

  oneOf<const Choice extends string>(name: SettingName, choices: readonly Choice[]): Choice | undefined {
    const value = this.find(name);
    if (value === undefined) return undefined;
    const choice = choices.find((known) => known === value.values[0]);
    if (choice === undefined) throw usage(`${value.where} ${value.values[0]}: expected one of ${choices.join(", ")}`);
    return choice;
  }
}

export function variableOf(name: string): string {
  return `TASKRING_${name.toUpperCase().replaceAll("-", "_")}`;
}

function camelCase(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

interface ConfigFile {
  readonly path: string;
  readonly values: ReadonlyMap<string, readonly string[]>;
}

function checkEnvironment(env: Surroundings["env"]): void {
  const known = new Set([...SETTINGS.map(({ name }) => variableOf(name)), "TASKRING_CONFIG"]);
  for (const name of Object.keys(env)) {
    if (!name.startsWith("TASKRING_") || known.has(name) || FOR_OTHERS.some((prefix) => name.startsWith(prefix)))
      continue;
    throw usage(
      `${name} is not a setting${nearest(name, known)}`,
      "see `ringctl config explain`; variables of your own apps may begin with TASKRING_APP_",
    );
  }
}

function readConfigFile(named: string, cwd: string): ConfigFile | undefined {
  const path = resolve(cwd, named === "" ? "taskring.json" : named);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (named === "" && (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw usage(`${path} cannot be read: ${(error as Error).message}`);
  }
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw usage(`${path} is not JSON: ${(error as Error).message}`);
  }
  if (typeof content !== "object" || content === null || Array.isArray(content))
    throw usage(`${path}: expected an object`);
  const values = new Map<string, readonly string[]>();
  const known = new Set(SETTINGS.map(({ name }): string => name).filter((name) => name !== "config"));
  for (const [key, value] of Object.entries(content)) {
    if (!known.has(key))
      throw usage(`${path}: ${key} is not a setting${nearest(key, known)}`, "see `ringctl config explain`");
    const list = Array.isArray(value) ? value : [value];
    if (!list.every((item) => ["string", "number", "boolean"].includes(typeof item)))
      throw usage(`${path}: ${key} must be text, a number, true or false, or a list of such`);
    values.set(key, list.map(String));
  }
  return { path, values };
}

/** `; did you mean X?` if some known name is at most two letters away. */
function nearest(name: string, known: Iterable<string>): string {
  let best: string | undefined;
  let least = 3;
  for (const candidate of known) {
    const distance = editDistance(name, candidate);
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return best === undefined ? "" : `; did you mean ${best}?`;
}

function editDistance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, at) => at);
  for (let at = 1; at <= left.length; at++) {
    const next = [at];
    for (let to = 1; to <= right.length; to++) {
      const change = (row[to - 1] ?? 0) + (left[at - 1] === right[to - 1] ? 0 : 1);
      next.push(Math.min(change, (row[to] ?? 0) + 1, (next[to - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[right.length] ?? 0;
}

function listOf(flag: unknown): readonly string[] {
  return Array.isArray(flag) ? flag.map(String) : [String(flag)];
}

/** Variables that are not settings of this program. */
const FOR_OTHERS = [
  "TASKRING_APP_",
  "TASKRING_HISTORY_",
  "TASKRING_DEMO_",
  "TASKRING_BENCH_",
  "TASKRING_TEST_",
  "TASKRING_SIM_",
  "TASKRING_CHAOS_",
  "TASKRING_NODE",
];

export const SETTINGS: readonly Setting[] = [
  { name: "address", flag: "--address <host:port>", about: "node to ask (gRPC)", fallback: "127.0.0.1:7400" },
  {
    name: "timeout",
    flag: "--timeout <duration>",
    about: "give up after this long; start --join: 60s, --wait: 10m",
    fallback: "10s",
  },
  { name: "output", flag: "-o, --output <format>", about: "table, json or jsonl", fallback: "table" },
  { name: "token-file", flag: "--token-file <file>", about: "file that holds the token to send" },
  { name: "config", flag: "--config <file>", about: "configuration file (default: taskring.json, if there is one)" },
  {
    name: "name",
    flag: "--name <name>",
    about: "name of the node, unique in the ring (default: this machine's host name)",
  },
  {
    name: "join",
    flag: "--join <host:port>",
    about: "gossip address of a member; again for more (default: found a ring)",
    many: true,
  },
  { name: "app", flag: "--app <file>", about: "file that exports apps; again for more", many: true },
  {
    name: "store",
    flag: "--store <store>",
    about: "embedded, or a Redis that all nodes share: redis://HOST:PORT",
    fallback: "embedded",
  },
  { name: "data", flag: "--data <dir>", about: "data directory (default: .taskring/<name>)" },
  {
    name: "grpc",
    flag: "--grpc <host:port>",
    about: "where gRPC listens; port 0: the system chooses",
    fallback: "127.0.0.1:7400",
  },
  { name: "http", flag: "--http <host:port>", about: "where metrics and probes listen", fallback: "127.0.0.1:7480" },
  { name: "gossip", flag: "--gossip <host:port>", about: "where gossip listens", fallback: "127.0.0.1:7946" },
  {
    name: "gossip-keys",
    flag: "--gossip-keys <file>",
    about: "encrypt gossip: JSON list of keys in base64, as serf's keyring file (default: gossip in clear)",
  },
  {
    name: "gossip-label",
    flag: "--gossip-label <label>",
    about: "keeps rings on one network apart; serf agents before memberlist 0.3 do not know it",
  },
  {
    name: "advertise",
    flag: "--advertise <address>",
    about: "what others connect to: HOST, grpc=HOST:PORT, http=… or gossip=…; again for more",
    many: true,
  },
  {
    name: "weight",
    flag: "--weight <number>",
    about: "share of partitions relative to other nodes, 0 to 1000",
    fallback: "100",
  },
  { name: "zone", flag: "--zone <zone>", about: "failure zone" },
  {
    name: "machine",
    flag: "--machine <id>",
    about: "machine id; nodes with the same one adopt each other's directories (default: the machine's)",
  },
  { name: "auto-join", flag: "--auto-join", about: "become a member at once, without stage and commit", toggle: true },
  {
    name: "ring-size",
    flag: "--ring-size <number>",
    about: "partitions of a ring that is founded: a power of two, 8 to 4096",
    fallback: "64",
  },
  {
    name: "profile",
    flag: "--profile <profile>",
    about: "timing of failure detection: lan, wan or fast",
    fallback: "lan",
  },
  {
    name: "log-level",
    flag: "--log-level <level>",
    about: "trace, debug, info, warn, error, fatal or silent",
    fallback: "info",
  },
  { name: "grace", flag: "--grace <duration>", about: "how long running attempts may take at a stop", fallback: "25s" },
  {
    name: "insecure-bind",
    flag: "--insecure-bind",
    about: "listen on other addresses than loopback although nothing is encrypted",
    toggle: true,
  },
];
