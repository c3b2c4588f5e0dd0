import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { constants, Script } from "node:vm";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type LoadOptions, loadApps } from "../../services/apps/load.ts";

// The test runner's own `import` reports errors in its own words.
const nativeImport: (address: string) => Promise<unknown> = new Script("(address) => import(address)", {
  importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
}).runInThisContext();
const load = (files: readonly string[], options: LoadOptions = {}) =>
  loadApps(files, { importModule: nativeImport, ...options });
let folder = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "taskring-apps-"));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** As another copy of the package would make it. */
const APP = `const app = (match) => ({ [Symbol.for("taskring.app.1")]: true, definition: { match }, tasks: new Map(), residents: new Map() });\n`;

async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

async function refusal(path: string, options: LoadOptions = {}): Promise<string> {
  const error: unknown = await load([path], options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toMatchObject({ name: "RingError", code: "INVALID_ARGUMENT" });
  return (error as Error).message;
}

test("apps come from `apps` or from the default export, and a file named twice is loaded once", async () => {
  const many = await file("many.mjs", `${APP}export const apps = [app("a"), app("b")];`);
  const list = await file("list.mjs", `${APP}export default [app("c")];`);
  const one = await file("one.js", `${APP}export default app("d");`.replaceAll("export default", "module.exports ="));
  const apps = await load([many, list, one, many]);
  expect(apps.map(({ definition }) => definition.match)).toEqual(["a", "b", "c", "d"]);
});

test("a file that throws while it loads is named with the line", async () => {
  const path = await file("throws.mjs", `export const apps = [];\n\nnull.x;\n`);
  expect(await refusal(path)).toMatch(new RegExp(`^${path}:3: TypeError: Cannot read properties of null`));
});

test("a definition that is refused is named with the line that made it, not with where this package checks it", async () => {
  const path = await file("refused.mjs", "");
  const checked = pathToFileURL(join(import.meta.dirname, "../../services/apps/definition.ts")).href;
  const error = new Error('app "x": tasks["a"].attempts must be 1 to 1000, not 0');
  error.stack = `Error: app\n    at parse (${checked}:195:9)\n    at ${pathToFileURL(path).href}:3:24`;
  expect(await refusal(path, { importModule: () => Promise.reject(error) })).toMatch(
    new RegExp(`^${path}:3: Error: app`),
  );
});

test("a file that throws something odd is named", async () => {
  expect(await refusal(await file("odd.mjs", `throw "text";\n`))).toMatch(/odd\.mjs: threw text$/);
  const bare = await file("bare.mjs", `throw Object.create(null);\n`);
  expect(await refusal(bare)).toMatch(/bare\.mjs: threw something that has no text form$/);
});

test("a file whose top level waits for ever is named: its process ended without a word", async () => {
  const path = await file("waits.mjs", `export const apps = [];\nawait new Promise(() => undefined);\n`);
  const loading = refusal(path);
  await import("node:timers/promises").then(({ setTimeout }) => setTimeout(50));
  process.emit("beforeExit", 0); // as Node does when nothing is left to be done
  expect(await loading).toMatch(/waits\.mjs: its top level awaits something that never settles$/);
});

test("a file whose top level takes too long is named, though a timer of it keeps the process alive", async () => {
  const path = await file("late.mjs", `await new Promise((done) => setTimeout(done, 2_000).unref());\n`);
  const begun = performance.now();
  expect(await refusal(path, { deadlineMs: 50 })).toMatch(
    /late\.mjs: its top level has not come to its end within 0\.05 s$/,
  );
  expect(performance.now() - begun).toBeLessThan(1_500);
});

test("a file that ends the process is named before it has ended", async () => {
  const path = await file("exits.mjs", `process.emit("exit", 0);\nexport const apps = [];\n`);
  const told: string[] = [];
  expect(await load([path], { onExit: ({ message }) => told.push(message) })).toEqual([]);
  process.emit("exit", 0); // loaded by now: it is not the file's doing
  expect(told).toEqual([expect.stringMatching(/exits\.mjs: its top level ended the process with exit code 0$/)]);
});

test("a file whose exports, or whose error, throw where they are looked at is named", async () => {
  const traps = `new Proxy({}, new Proxy({}, { get() { throw new Error("trap"); } }))`;
  expect(await refusal(await file("proxy.mjs", `export const apps = ${traps};\n`))).toMatch(
    /proxy\.mjs.*: Error: trap$/,
  );
  expect(await refusal(await file("list-of.mjs", `export const apps = [${traps}];\n`))).toMatch(/list-of\.mjs.*trap$/);
  expect(await refusal(await file("thrown.mjs", `throw ${traps};\n`))).toMatch(/thrown\.mjs/);
  const odd = `throw Object.defineProperty(new Error("x"), "stack", { value: 5 });\n`;
  expect(await refusal(await file("stack.mjs", odd))).toMatch(/stack\.mjs: Error: x$/);
});

test("a syntax error is named with the line", async () => {
  const path = await file("syntax.mjs", `export const apps = [];\nconst = 3;\n`);
  expect(await refusal(path)).toMatch(new RegExp(`^${path}:2: SyntaxError: `));
});

test("an error in a file that the app file loads is named where it is, with who loaded it", async () => {
  const inner = await file("inner.mjs", `\n\nexport const = 1;\n`);
  const path = await file("outer.mjs", `import "./inner.mjs";\n`);
  expect(await refusal(path)).toMatch(new RegExp(`^${inner}:3: SyntaxError: .* \\(loaded by ${path}\\)$`));
});

test("a missing import is named with the app file", async () => {
  const path = await file("missing.mjs", `import "./nowhere.mjs";\n`);
  expect(await refusal(path)).toMatch(/missing\.mjs.*nowhere\.mjs/s);
});

test("files that are absent, of another kind, or export no app are refused", async () => {
  expect(await refusal(join(folder, "absent.mjs"))).toMatch(/absent\.mjs: no such file$/);
  expect(await refusal(await file("app.json", "{}"))).toMatch(/ends in \.js, \.mjs, \.ts$/);
  expect(await refusal(await file("none.mjs", "export const other = 1;"))).toMatch(
    /exports neither `apps` nor a default$/,
  );
  expect(await refusal(await file("wrong.mjs", "export const apps = [{}];"))).toMatch(
    /export 0 of 1 was not made by defineApp/,
  );
});

test.runIf(!(process.features as { typescript?: unknown }).typescript)(
  "a .ts file on a Node that strips no types is refused with the remedy",
  async () => {
    expect(await refusal(await file("app.ts", "export const apps = [];"))).toMatch(/does not strip types; compile it/);
  },
);
