/** The package's face: entries that exist, what the archive holds, and nothing of the machine that it was made on. */

import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { YOUNG_GENERATION } from "../../services/host/node-flags.ts";
import { importsOf, packageOf, ROOT, sourceFiles, textOf, treeFiles } from "./tree.ts";

interface PackageFile {
  readonly exports: Readonly<Record<string, { readonly types: string; readonly default: string }>>;
  readonly bin: Readonly<Record<string, string>>;
  readonly files: readonly string[];
  readonly dependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

const face = JSON.parse(textOf("package.json")) as PackageFile;
const tree = new Set(treeFiles());

describe("package", () => {
  test("each export and bin is built from a file of the tree", () => {
    for (const { types, default: code } of Object.values(face.exports)) {
      expect(tree).toContain(code.replace("./dist/", "").replace(/\.js$/, ".ts"));
      expect(types).toBe(code.replace(/\.js$/, ".d.ts"));
    }
    for (const code of Object.values(face.bin)) expect(tree).toContain(`${code.replace("dist/", "")}.sh`);
  });

  test("the bin starts Node with the flags of a node's process", () => {
    expect(textOf("cli/ringctl.sh")).toContain(`exec node ${YOUNG_GENERATION} "\${program`);
  });

  test("the archive takes code, contracts, documents and examples", () => {
    expect(face.files).toEqual(
      expect.arrayContaining(["dist", "proto/**/*.proto", "docs", "examples", "README.md", "LICENSE"]),
    );
  });

  test("what the product imports are its dependencies, and nothing else is", () => {
    const imported = new Set<string>();
    for (const path of sourceFiles().filter((path) => /^(ring|pipe|services|proto|cli|examples)\//.test(path)))
      for (const { to, kind } of importsOf(path)) if (kind === "package") imported.add(packageOf(to));
    const declared = { ...face.dependencies, ...face.peerDependencies };
    expect([...imported].filter((name) => name !== "taskring" && !Object.hasOwn(declared, name))).toEqual([]);
    expect(Object.keys(face.dependencies).filter((name) => !imported.has(name))).toEqual([]);
  });

  test("the lock file has every platform's optional packages (node scripts/complete-lock.mjs)", () => {
    const { packages } = JSON.parse(textOf("package-lock.json")) as {
      readonly packages: Readonly<Record<string, { readonly optionalDependencies?: Readonly<Record<string, string>> }>>;
    };
    const paths = Object.keys(packages);
    const missing = Object.values(packages)
      .flatMap(({ optionalDependencies = {} }) => Object.keys(optionalDependencies))
      .filter((name) => !paths.some((path) => path.endsWith(`node_modules/${name}`)));
    expect(missing).toEqual([]);
  });

  test("nothing tells of the machine or the network it was made on", () => {
    const wrong = [...tree]
      .filter((path) => !BINARY.test(path))
      .flatMap((path) =>
        textOf(path)
          .split("\n")
          .flatMap((line, index) =>
            MACHINE.some((rule) => rule.test(line)) ? [`${path}:${index + 1}: ${line.trim().slice(0, 120)}`] : [],
          ),
      );
    expect(wrong).toEqual([]);
  });

  test("every committed fault applies exactly once and names its test", () => {
    const output = execFileSync(process.execPath, [join(ROOT, "scripts/mutants.mjs"), "--check"], { encoding: "utf8" });
    expect(output).toMatch(/^\d+ mutants apply\n$/);
  });
});

const BINARY = /\.(png|ico|woff2?|gz|lmdb)$/;
/** Home and working folders of people and machines; where a lock file or a setting says packages come from. */
const MACHINE: readonly RegExp[] = [
  /(^|["'`\s(=:])\/(home|[r]oot|[w]ork|Users)\/\w/,
  /"[r]esolved":|\b[r]egistry=|https?:\/\/(?![r]egistry\.npmjs\.org)[\w.-]*([r]egistry|artifactory|nexus|verdaccio)[\w.-]*\//,
];
