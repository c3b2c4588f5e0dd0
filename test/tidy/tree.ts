/** What the tidy tests look at: the files of the tree as text, and what each source file imports. */

import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT: string = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

export interface ImportEdge {
  readonly from: string;
  /** A path from the root, or the specifier of a package or `node:` module. */
  readonly to: string;
  readonly kind: "file" | "package" | "node";
  readonly typeOnly: boolean;
}

/** Paths from the root with forward slashes, sorted; ignored files left out. */
export function treeFiles(): readonly string[] {
  try {
    const listed = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
      cwd: ROOT,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    return listed
      .split("\n")
      .filter((path) => path !== "" && exists(path))
      .sort();
  } catch {
    return walk("").sort(); // an unpacked archive
  }
}

/** TypeScript of the product and its tests, and the scripts. */
export function sourceFiles(): readonly string[] {
  return treeFiles().filter((path) => SOURCE.test(path) && !path.endsWith(".d.ts"));
}

export function isPure(path: string): boolean {
  return /^(ring|pipe)\//.test(path) && !/^(ring|pipe)\/io\//.test(path);
}

export function textOf(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

/** The text with comments blanked, so that prose does not count as code. */
export function codeOf(path: string): string {
  return textOf(path)
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, " "))
    .replace(/(^|[\s;{}(,])\/\/[^\n]*/g, "$1");
}

export function importsOf(path: string): readonly ImportEdge[] {
  const edges: ImportEdge[] = [];
  for (const match of codeOf(path).matchAll(IMPORT)) {
    const specifier = match[2] ?? match[3] ?? "";
    const typeOnly = match[1] !== undefined && /^\s*type\b/.test(match[1]);
    if (specifier.startsWith(".")) {
      edges.push({
        from: path,
        to: posix.normalize(posix.join(posix.dirname(path), specifier)),
        kind: "file",
        typeOnly,
      });
    } else {
      edges.push({ from: path, to: specifier, kind: specifier.startsWith("node:") ? "node" : "package", typeOnly });
    }
  }
  return edges;
}

/** The name of the package that a specifier is of. */
export function packageOf(specifier: string): string {
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}

function exists(path: string): boolean {
  try {
    readFileSync(join(ROOT, path));
    return true;
  } catch {
    return false; // deleted, but not committed yet
  }
}

function walk(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(folder, entry.name);
    if (entry.isDirectory()) return ["node_modules", "dist", ".git"].includes(entry.name) ? [] : walk(path);
    return entry.isFile() ? [path] : [];
  });
}

const SOURCE = /^(ring|pipe|services|proto|cli|bench|examples|test|scripts)\/.*\.(ts|mjs)$/;
/** `import … from "x"`, `export … from "x"`, `import "x"`, `import("x")`. */
const IMPORT =
  /(?:^|[;\s])(?:import|export)\s+((?:type\s+)?(?:[\w$*{},\s]+?)\s+from\s+)?"([^"\n]+)"|\bimport\(\s*"([^"\n]+)"/g;
