/**
 * `npm run test:mutants [-- [--only TEXT] [--list] [--check]]`: applies each committed fault of `test/mutants/*.json` to a copy of
 * the tree, runs the test that must catch it, and expects that test to fail.
 *
 * An entry is `{ rule, file, find, replace, test }`: in `file`, `find` occurs exactly once and becomes `replace`; `test` is
 * one test file or a list of them. Optional: `title` narrows the tests to those whose names match, and `also` holds
 * further `{ file, find, replace }` of the same fault. Its id is the list's name and its place in it, such as
 * `register-7`; `--only` takes an id, a list's name, or a part of a rule.
 *
 * `--check` only says whether every entry applies. White space, and a comma before a closing bracket, do not count when
 * `find` is looked for, so that formatting a file voids no entry.
 *
 * M1  Each test passes on the untouched copy first: a test that always fails proves nothing.
 * M2  A fault that hangs its test is caught, because tests have a time limit; one that is not valid code is not.
 * Exits 1 if a fault survives, does not apply exactly once, or its test fails without it.
 */

import { spawn } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const FOLDERS = ["ring", "pipe", "services", "proto", "cli", "bench", "examples", "test", "scripts", "docs"];
const FILES = ["package.json", "tsconfig.json", "tsconfig.build.json", "vitest.config.ts", "biome.json", "README.md"];
/** Tests of the built code: the copy is built before they run. */
const BUILT = /^test\/(simulation\/cluster|integration\/)/;
const TEST_LIMIT_MS = 600_000;
/** Of single files, without what they import: in a tenth of a second. */
const GRAMMAR_ONLY =
  "--noEmit --pretty false --ignoreConfig --noResolve --lib esnext --skipLibCheck --target esnext --module esnext --allowImportingTsExtensions";

const running = new Set();
let copy;

process.on("SIGINT", () => process.exit(130));
process.on("SIGTERM", () => process.exit(143));
process.on("exit", () => {
  for (const child of running) killGroup(child);
  if (copy !== undefined) rmSync(copy, { recursive: true, force: true });
});

process.exitCode = await main();

async function main() {
  const { values } = parseArgs({
    options: { only: { type: "string" }, list: { type: "boolean" }, check: { type: "boolean" } },
  });
  const mutants = readMutants().filter((mutant) => values.only === undefined || isChosen(mutant, values.only));
  if (mutants.length === 0) return fail(`no mutant matches ${values.only}`);
  if (values.list === true) {
    for (const { id, rule } of mutants) console.log(`${id.padEnd(14)} ${rule}`);
    return 0;
  }
  const wrong = mutants.flatMap(checkEntry);
  for (const { id, why } of wrong) console.error(`${id}: ${why}`);
  if (values.check === true) {
    if (wrong.length === 0) console.log(`${mutants.length} mutants apply`);
    return wrong.length === 0 ? 0 : 1;
  }
  const applicable = mutants.filter((mutant) => !wrong.some(({ id }) => id === mutant.id));
  copy = makeCopy();
  const broken = await checkTests(applicable);
  if (broken.length > 0) return fail(broken.join("\n"));
  const code = report(await runAll(applicable));
  return wrong.length > 0 ? fail(`${new Set(wrong.map(({ id }) => id)).size} mutants do not apply`) : code;
}

function readMutants() {
  const folder = join(ROOT, "test/mutants");
  return readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .sort()
    .flatMap((name) => {
      const list = JSON.parse(readFileSync(join(folder, name), "utf8"));
      return list.map((entry, index) => ({ id: `${basename(name, ".json")}-${index + 1}`, ...entry }));
    });
}

function isChosen({ id, rule }, only) {
  const isList = existsSync(join(ROOT, "test/mutants", `${only}.json`));
  return id === only || (isList ? id.startsWith(`${only}-`) : !/^[a-z]+-\d+$/.test(only) && rule.includes(only));
}

function changesOf({ file, find, replace, also = [] }) {
  return [{ file, find, replace }, ...also];
}

function testsOf({ test }) {
  return Array.isArray(test) ? test : [test];
}

/** Why an entry cannot be applied. */
function checkEntry(mutant) {
  const { id } = mutant;
  const wrong = [];
  for (const { file, find, replace } of changesOf(mutant)) {
    const path = join(ROOT, file);
    const count = existsSync(path) ? placesOf(readFileSync(path, "utf8"), find).length : 0;
    if (count !== 1) wrong.push({ id, why: `found ${count} times in ${file}, not once: ${find}` });
    if (find === replace) wrong.push({ id, why: "changes nothing" });
  }
  for (const test of testsOf(mutant))
    if (!existsSync(join(ROOT, test))) wrong.push({ id, why: `${test} does not exist` });
  return wrong;
}

/** Where `find` stands in the text, in either's formatting. */
function placesOf(text, find) {
  const [{ bare, at }, { bare: wanted }] = [strip(text), strip(find)];
  const places = [];
  for (let from = bare.indexOf(wanted); from >= 0; from = bare.indexOf(wanted, from + 1)) {
    places.push({ start: at[from], end: at[from + wanted.length - 1] + 1 });
  }
  return places;
}

/** The text without white space and trailing commas, and where each character that is left stood. */
function strip(text) {
  let bare = "";
  const at = [];
  for (let index = 0; index < text.length; index++) {
    const character = text[index];
    if (/\s/.test(character)) continue;
    if (/[)\]}]/.test(character) && bare.endsWith(",")) {
      bare = bare.slice(0, -1);
      at.pop();
    }
    bare += character;
    at.push(index);
  }
  return { bare, at };
}

function makeCopy() {
  const path = mkdtempSync(join(tmpdir(), "taskring-mutants-"));
  for (const name of [...FOLDERS, ...FILES]) {
    if (existsSync(join(ROOT, name))) cpSync(join(ROOT, name), join(path, name), { recursive: true });
  }
  symlinkSync(join(ROOT, "node_modules"), join(path, "node_modules"));
  mkdirSync(join(path, "dist"));
  return path;
}

/** M1. */
async function checkTests(mutants) {
  const broken = [];
  const seen = new Map();
  for (const mutant of mutants) seen.set(JSON.stringify([testsOf(mutant), mutant.title]), mutant);
  for (const mutant of seen.values()) {
    const { outcome, output } = await runTest(mutant);
    if (outcome !== "passed")
      broken.push(`${testsOf(mutant).join(" ")} ${outcome} on the untouched code:\n${output.slice(-4_000)}`);
  }
  return broken;
}

async function runAll(mutants) {
  const results = [];
  for (const mutant of mutants) {
    const changes = changesOf(mutant);
    const before = new Map();
    for (const { file, find, replace } of changes) {
      const path = join(copy, file);
      const text = readFileSync(path, "utf8");
      if (!before.has(path)) before.set(path, text);
      const [{ start, end }] = placesOf(text, find);
      writeFileSync(path, text.slice(0, start) + replace + text.slice(end));
    }
    const startedAt = performance.now();
    const { outcome } = (await isValid(mutant)) ? await runTest(mutant) : { outcome: "NOT VALID CODE" };
    for (const [path, text] of before) writeFileSync(path, text);
    const result =
      outcome === "passed"
        ? "SURVIVED"
        : outcome === "failed"
          ? "caught"
          : outcome === "timed out"
            ? "caught (hung)"
            : outcome;
    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
    console.log(`${mutant.id.padEnd(14)} ${result.padEnd(14)} ${seconds.padStart(6)} s  ${mutant.rule}`);
    results.push({ mutant, result });
  }
  return results;
}

function report(results) {
  const bad = results.filter(({ result }) => !result.startsWith("caught"));
  console.log(`\n${results.length} mutants, ${results.length - bad.length} caught, ${bad.length} not`);
  for (const { mutant, result } of bad) {
    console.log(`  ${mutant.id}: ${result}: ${mutant.rule} (${mutant.file}, ${testsOf(mutant).join(" ")})`);
  }
  return bad.length === 0 ? 0 : 1;
}

async function runTest(mutant) {
  const tests = testsOf(mutant);
  if (tests.some((test) => BUILT.test(test))) {
    await run("node_modules/.bin/tsc", ["-p", "tsconfig.build.json"]); // writes the code even if a type does not fit
    await run(process.execPath, ["scripts/after-build.mjs"]);
  }
  const title = mutant.title === undefined ? [] : ["--testNamePattern", mutant.title];
  return run(process.execPath, ["node_modules/vitest/vitest.mjs", "run", "--bail", "1", ...title, ...tests]);
}

/** M2: types may not fit, but it must parse. */
async function isValid(mutant) {
  const files = changesOf(mutant).map(({ file }) => file);
  const sources = [...new Set(files)].filter((file) => file.endsWith(".ts"));
  if (sources.length === 0) return true;
  const { output } = await run("node_modules/.bin/tsc", [...GRAMMAR_ONLY.split(" "), ...sources]);
  return !/ error TS1\d\d\d: /.test(output);
}

function run(command, args) {
  return new Promise((done) => {
    const env = { ...process.env, TASKRING_SIM_FAIL_FAST: "1", NO_COLOR: "1", CI: "" };
    const child = spawn(command, args, { cwd: copy, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
    running.add(child);
    let output = "";
    const keep = (chunk) => {
      output = (output + chunk).slice(-20_000);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      killGroup(child);
    }, TEST_LIMIT_MS);
    child.on("close", (code) => {
      clearTimeout(timer);
      running.delete(child);
      done({ outcome: late ? "timed out" : code === 0 ? "passed" : "failed", output });
    });
  });
}

/** The test and the workers it started. */
function killGroup(child) {
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}

function fail(text) {
  console.error(text);
  return 1;
}
