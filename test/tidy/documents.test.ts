/** The documents say what the code does: codes, commands, packages and links are compared with it. */

import { readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { describe, expect, test } from "vitest";
import { buildProgram } from "../../cli/program.ts";
import { ERRORS } from "../../ring/errors.ts";
import { ROOT, textOf, treeFiles } from "./tree.ts";

const pages = treeFiles().filter((path) => path === "README.md" || /^docs\/.*\.md$/.test(path));
const documents = pages.filter((path) => path.startsWith("docs/"));
/** First proposed for this project. Each is answered, used or not. */
const PROPOSED = ["@grpc/grpc-js", "@grpc/proto-loader", "hashring", "swim", "bull", "ioredis", "commander", "vitest"];

describe("documents", () => {
  test("the five pages are there", () => {
    expect(documents).toEqual(
      expect.arrayContaining([
        "docs/concepts.md",
        "docs/decisions.md",
        "docs/guarantees.md",
        "docs/hash.md",
        "docs/operations.md",
      ]),
    );
  });

  test("every error code is explained", () => {
    const text = documents.map(textOf).join("\n");
    expect(Object.keys(ERRORS).filter((code) => !text.includes(`\`${code}\``))).toEqual([]);
  });

  test("no error code is named that does not exist", () => {
    const table = /\| code \|[\s\S]*?\n\n/.exec(textOf("docs/operations.md"))?.[0] ?? "";
    const named = [...table.matchAll(/^\| `([A-Z_]+)`/gm)].map((match) => match[1] as string);
    expect(named.filter((code) => !Object.hasOwn(ERRORS, code))).toEqual([]);
    expect(named.length).toBe(Object.keys(ERRORS).length);
  });

  test("the first screen of the README has the two command lines, and they exist", () => {
    const screen = textOf("README.md").split("\n").slice(0, 40).join("\n");
    expect(screen).toContain("npm ci && npm run demo");
    expect(screen).toContain("npm ci && npm test");
    const { scripts } = packageFile();
    expect(scripts).toHaveProperty("demo");
    expect(scripts).toHaveProperty("test");
  });

  test("every npm script that is named exists", () => {
    const { scripts } = packageFile();
    const wrong = pages.flatMap((path) =>
      [...textOf(path).matchAll(/npm run ([\w:-]+)/g)]
        .map((match) => match[1] as string)
        .filter((name) => !Object.hasOwn(scripts, name))
        .map((name) => `${path}: npm run ${name}`),
    );
    expect(wrong).toEqual([]);
  });

  test("every ringctl command that is named exists", () => {
    const program = buildProgram(() => undefined, { silent: true });
    const known = new Set(["help", ...program.commands.flatMap((command) => [command.name(), ...command.aliases()])]);
    const wrong = pages.flatMap((path) =>
      [...textOf(path).matchAll(/\bringctl ([a-z]+)/g)]
        .map((match) => match[1] as string)
        .filter((name) => !known.has(name))
        .map((name) => `${path}: ringctl ${name}`),
    );
    expect(wrong).toEqual([]);
  });

  test("links lead to files of the tree", () => {
    const wrong = pages.flatMap((path) =>
      [...textOf(path).matchAll(/\]\(([\w./:-]+)(?:#[^)]*)?\)/g)]
        .map((match) => match[1] as string)
        .filter((link) => !/^[a-z]+:/.test(link))
        .filter((link) => !isThere(posix.normalize(posix.join(posix.dirname(path), link))))
        .map((link) => `${path}: ${link}`),
    );
    expect(wrong).toEqual([]);
  });

  test("every package is answered for in decisions.md", () => {
    const { dependencies, devDependencies, peerDependencies } = packageFile();
    const names = [...Object.keys({ ...dependencies, ...devDependencies, ...peerDependencies }), ...PROPOSED];
    const text = textOf("docs/decisions.md");
    expect([...new Set(names)].filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
  });
});

interface PackageFile {
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
}

function packageFile(): PackageFile {
  return JSON.parse(textOf("package.json")) as PackageFile;
}

function isThere(path: string): boolean {
  try {
    readFileSync(join(ROOT, path));
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EISDIR";
  }
}
