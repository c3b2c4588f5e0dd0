/**
 * The pure folders touch nothing of the world. The text is searched here, and the lint rule that authors see in their
 * editors is tried on files that break it.
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { codeOf, isPure, ROOT, sourceFiles, textOf } from "./tree.ts";

const FORBIDDEN: readonly (readonly [string, RegExp])[] = [
  ["a clock", /\bDate\.now\b|\bnew Date\(\s*\)|\bDate\(\s*\)|\bperformance\b(?!\s*[:?,)}])/],
  ["randomness", /\bMath\.random\b|\bcrypto\b/],
  ["timers", /\b(setTimeout|setInterval|setImmediate|queueMicrotask)\s*\(/],
  ["the process", /(?<![.\w])process\.\w|\bglobalThis\b/],
  ["Buffer", /\bBuffer\b/],
  ["the console", /\bconsole\./],
  ["I/O", /\bfetch\(/],
];

describe("pure folders", () => {
  const files = sourceFiles().filter(isPure);

  test("are there", () => {
    expect(files.length).toBeGreaterThan(50);
  });

  for (const [what, pattern] of FORBIDDEN) {
    test(`have no use of ${what}`, () => {
      const found = files.flatMap((path) =>
        codeOf(path)
          .split("\n")
          .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
      );
      expect(found).toEqual([]);
    });
  }

  test("of the ring have no promises: a machine answers in the same turn", () => {
    const waiting = files.filter(
      (path) => path.startsWith("ring/") && /\basync\s|\bawait\s|\bnew Promise\b/.test(codeOf(path)),
    );
    expect(waiting).toEqual([]);
  });

  test("the linter says so to authors, and lets ring/io do what it must", () => {
    const said = lint(SAMPLES);
    for (const name of SAMPLES.keys()) {
      expect(said, name).toMatch(new RegExp(`^ring/node/${name}\\.ts:.*(noRestrictedGlobals|noNodejsModules)`, "m"));
      expect(said, name).not.toMatch(new RegExp(`^ring/io/${name}\\.ts:`, "m"));
    }
  });
});

/** What biome says with this tree's rules about each text, once as a file of `ring/node/` and once of `ring/io/`. */
function lint(samples: ReadonlyMap<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), "taskring-tidy-"));
  try {
    const { vcs: _, $schema: __, ...rules } = JSON.parse(textOf("biome.json")) as Readonly<Record<string, unknown>>;
    writeFileSync(join(folder, "biome.json"), JSON.stringify(rules));
    for (const place of ["ring/node", "ring/io"]) {
      mkdirSync(join(folder, place), { recursive: true });
      for (const [name, text] of samples) writeFileSync(join(folder, place, `${name}.ts`), text);
    }
    const biome = join(ROOT, "node_modules/@biomejs/biome/bin/biome");
    const { stdout, stderr } = spawnSync(process.execPath, [biome, "lint", "--max-diagnostics=none", "."], {
      cwd: folder,
      encoding: "utf8",
      env: { ...process.env, NO_COLOR: "1" },
    });
    return stdout + stderr;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const SAMPLES: ReadonlyMap<string, string> = new Map([
  ["performance", "export const at: number = performance.now();\n"],
  ["setTimeout", "setTimeout(() => {}, 1);\n"],
  ["crypto", "export const id: string = crypto.randomUUID();\n"],
  ["buffer", "export const bytes: Uint8Array = Buffer.from([1]);\n"],
  ["process", "export const name: string | undefined = process.env.NAME;\n"],
  ["console", "console.log(1);\n"],
  ["module", 'import { readFileSync } from "node:fs";\n\nexport const text: string = readFileSync("x", "utf8");\n'],
]);
