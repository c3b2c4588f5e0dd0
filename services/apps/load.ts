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

/** Paths are resolved from the working directory. A file named twice is loaded once. */
export async function loadApps(
  files: readonly string[],
  importModule: ImportModule = (address) => import(/* @vite-ignore */ address),
): Promise<readonly App[]> {
  const paths = new Set(files.map((file) => resolve(file)));
  const apps: App[] = [];
  for (const path of paths) apps.push(...(await loadFile(path, importModule)));
  return apps;
}

async function loadFile(path: string, importModule: ImportModule): Promise<readonly App[]> {
  const extension = extname(path);
  if (!EXTENSIONS.has(extension)) throw refuse(path, `an app file ends in ${[...EXTENSIONS].join(", ")}`);
  if (extension === ".ts" && !stripsTypes()) {
    throw refuse(path, `Node ${process.versions.node} does not strip types; compile it, or use Node >= 22.18`);
  }
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) throw refuse(path, "no such file");
  if (!found.isFile()) throw refuse(path, "not a file");
  let module: unknown;
  try {
    module = await settled(importModule(pathToFileURL(path).href));
  } catch (error) {
    throw await explain(path, error);
  }
  if (module === NEVER) throw refuse(path, "its top level awaits something that never settles");
  return appsOf(path, module as Readonly<Record<string, unknown>>);
}

/** `NEVER` when nothing is left that could settle it: Node would end the process without a word. */
async function settled<T>(promise: Promise<T>): Promise<T | typeof NEVER> {
  let onIdle = (): void => {};
  const idle = new Promise<typeof NEVER>((resolve) => {
    onIdle = () => resolve(NEVER);
  });
  process.once("beforeExit", onIdle);
  try {
    return await Promise.race([promise, idle]);
  } finally {
    process.off("beforeExit", onIdle);
  }
}

function appsOf(path: string, module: Readonly<Record<string, unknown>>): readonly App[] {
  const exported = module.apps ?? module.default;
  const apps: readonly unknown[] = Array.isArray(exported) ? exported : [exported];
  if (exported === undefined) throw refuse(path, "exports neither `apps` nor a default");
  apps.forEach((app, at) => {
    if (!isApp(app)) throw refuse(path, `export ${at} of ${apps.length} was not made by defineApp()`);
  });
  return apps as readonly App[];
}

async function explain(path: string, error: unknown): Promise<RingError> {
  const message = error instanceof Error ? `${error.name}: ${error.message}` : `threw ${describe(error).message}`;
  const place = placeOf(error) ?? (error instanceof SyntaxError ? await syntaxErrorPlace(path) : undefined);
  const inside = place === undefined || place.file === path ? "" : ` (loaded by ${path})`;
  const at = place === undefined ? path : `${place.file}:${place.line}`;
  return new RingError("INVALID_ARGUMENT", `${at}: ${message}${inside}`, { cause: error });
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
    if (place !== undefined) return place;
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

const NEVER: unique symbol = Symbol("never");
const EXTENSIONS: ReadonlySet<string> = new Set([".js", ".mjs", ".ts"]);
const THIS_FILE = fileURLToPath(import.meta.url);
const STACK_LINES = 50;
const CHECK_TIMEOUT_MS = 5_000;
