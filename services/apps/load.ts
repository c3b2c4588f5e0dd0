/**
 * Loads app files: `.js` and `.mjs` everywhere, `.ts` where Node strips types. A file exports `apps` (an array) or has
 * an array or one app as its default export.
 *
 * Every failure is `INVALID_ARGUMENT` whose message begins with the file, and the line where the cause has one.
 */

import { execFile } from "node:child_process";
import { stat } from "node:fs/promises";
import { extname, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { RingError } from "../../ring/errors.ts";
import { describe } from "../runner/outcome.ts";
import { type App, isApp } from "./shapes.ts";

/** Gives the exports of a module by its `file:` address. */
export type ImportModule = (address: string) => Promise<unknown>;

export interface LoadOptions {
  readonly importModule?: ImportModule;
  /** For the top level of one file. */
  readonly deadlineMs?: number;
  /** A file takes long; it is waited for until the deadline. */
  readonly onSlow?: (path: string, deadlineMs: number) => void;
  /** A file ends the process, with this code, and nothing can be awaited any more. */
  readonly onExit?: (refusal: RingError, code: number) => void;
}

/** Paths are resolved from the working directory. A file named twice is loaded once. */
export async function loadApps(files: readonly string[], options: LoadOptions = {}): Promise<readonly App[]> {
  const paths = new Set(files.map((file) => resolve(file)));
  const apps: App[] = [];
  for (const path of paths) {
    const onExit = (code: number): void =>
      options.onExit?.(refuse(path, `its top level ended the process with exit code ${code}`), code);
    process.once("exit", onExit);
    try {
      apps.push(...(await loadFile(path, options)));
    } finally {
      process.off("exit", onExit);
    }
  }
  return apps;
}

async function loadFile(path: string, options: LoadOptions): Promise<readonly App[]> {
  const extension = extname(path);
  if (!EXTENSIONS.has(extension)) throw refuse(path, `an app file ends in ${[...EXTENSIONS].join(", ")}`);
  if (extension === ".ts" && !stripsTypes()) {
    throw refuse(path, `Node ${process.versions.node} does not strip types; compile it, or use Node >= 22.18`);
  }
  const file = await stat(path).catch(() => undefined);
  if (file === undefined) throw refuse(path, "no such file");
  if (!file.isFile()) throw refuse(path, "not a file");
  const { importModule = importHere } = options;
  let apps: readonly App[] | string;
  try {
    const module = await settled(importModule(pathToFileURL(path).href), path, options);
    apps = typeof module === "string" ? module : appsOf(module as Readonly<Record<string, unknown>>);
  } catch (error) {
    throw await explain(path, error);
  }
  if (typeof apps === "string") throw refuse(path, apps);
  return apps;
}

/** Or why not: too late, or when nothing is left that could settle it; then Node would end the process without a word. */
async function settled<T>(promise: Promise<T>, path: string, options: LoadOptions): Promise<T | string> {
  const { deadlineMs = DEADLINE_MS, onSlow } = options;
  let giveUp: (why: string) => void = () => undefined;
  const given = new Promise<string>((resolve) => {
    giveUp = resolve;
  });
  const onIdle = (): void => giveUp("its top level awaits something that never settles");
  const onLate = (): void => giveUp(`its top level has not come to its end within ${deadlineMs / 1_000} s`);
  const slow = setTimeout(() => onSlow?.(path, deadlineMs), SLOW_MS).unref();
  const late = setTimeout(onLate, deadlineMs).unref();
  process.once("beforeExit", onIdle);
  try {
    return await Promise.race([promise, given]);
  } finally {
    clearTimeout(slow);
    clearTimeout(late);
    process.off("beforeExit", onIdle);
  }
}

/** Or why there are none. Throws what the exports throw when they are looked at. */
function appsOf(module: Readonly<Record<string, unknown>>): readonly App[] | string {
  const exported = module.apps ?? module.default;
  const apps: readonly unknown[] = Array.isArray(exported) ? [...(exported as unknown[])] : [exported];
  if (exported === undefined) return "exports neither `apps` nor a default";
  const wrong = apps.findIndex((app) => !isApp(app));
  return wrong < 0 ? (apps as readonly App[]) : `export ${wrong} of ${apps.length} was not made by defineApp()`;
}

async function explain(path: string, error: unknown): Promise<RingError> {
  const isSyntax = readable(() => error instanceof SyntaxError) === true;
  const message =
    readable(() => (error instanceof Error ? `${error.name}: ${error.message}` : undefined)) ??
    `threw ${describe(error).message}`;
  const place = readable(() => placeOf(error)) ?? (isSyntax ? await syntaxErrorPlace(path) : undefined);
  const inside = place === undefined || place.file === path ? "" : ` (loaded by ${path})`;
  const at = place === undefined ? path : `${place.file}:${place.line}`;
  return new RingError("INVALID_ARGUMENT", `${at}: ${message}${inside}`, { cause: error });
}

/** What was thrown may throw again where it is looked at. */
function readable<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

interface Place {
  readonly file: string;
  readonly line: number;
}

/** The first frame, or leading line, of the stack that is in a file of the user. */
function placeOf(error: unknown): Place | undefined {
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  for (const line of stack.split("\n", STACK_LINES)) {
    const place = placeIn(line);
    // From here on the stack is this loader and who called it.
    if (place?.file === THIS_FILE) return undefined;
    if (place !== undefined && !PROGRAM.some((folder) => place.file.startsWith(folder))) return place;
  }
  return undefined;
}

function placeIn(line: string): Place | undefined {
  const match = /(?:^|[\s(])(file:\/\/[^\s()]+?|\/[^()]+?|[A-Za-z]:\\[^()]+?):(\d+)(?::\d+)?\)?$/.exec(line);
  const [, where = "", number = ""] = match ?? [];
  if (match === null || where.includes("node_modules")) return undefined;
  return { file: where.startsWith("file:") ? fileURLToPath(where) : where, line: Number(number) };
}

/**
 * V8 keeps the place of a syntax error from scripts and prints it only when a process dies of it; so let one die. Nothing
 * of the file runs there: the error comes while modules are linked, before any is evaluated.
 */
function syntaxErrorPlace(path: string): Promise<Place | undefined> {
  const script = `import(${JSON.stringify(pathToFileURL(path).href)})`;
  const options = { timeout: CHECK_TIMEOUT_MS, maxBuffer: 65_536 };
  return new Promise((done) => {
    execFile(process.execPath, ["--input-type=module", "--eval", script], options, (_error, _stdout, stderr) => {
      done(placeIn(stderr.split("\n", 1)[0] ?? ""));
    });
  });
}

function stripsTypes(): boolean {
  return Boolean((process.features as { readonly typescript?: unknown }).typescript);
}

function refuse(path: string, detail: string): RingError {
  return new RingError("INVALID_ARGUMENT", `${path}: ${detail}`);
}

function importHere(address: string): Promise<unknown> {
  return import(/* @vite-ignore */ address);
}

/** A file that opens a connection has the time for it; one that waits for a server that is away is told. */
const DEADLINE_MS = 30_000;
const SLOW_MS = 3_000;
const EXTENSIONS: ReadonlySet<string> = new Set([".js", ".mjs", ".ts"]);
const THIS_FILE = fileURLToPath(import.meta.url);
/** In a checkout it is in no `node_modules`: what it refuses is the app file's doing. */
const PROGRAM = ["services", "ring", "pipe"].map((part) => fileURLToPath(new URL(`../../${part}/`, import.meta.url)));
const STACK_LINES = 50;
const CHECK_TIMEOUT_MS = 5_000;
