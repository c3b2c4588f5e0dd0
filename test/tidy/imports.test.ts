/** Which folder may import which: the table of the architecture. Seen to fail by an import of `services/` in `ring/`. */

import { describe, expect, test } from "vitest";
import { type ImportEdge, importsOf, isPure, packageOf, sourceFiles } from "./tree.ts";

/** What a folder may import besides itself. */
const MAY: Readonly<Record<string, readonly string[]>> = {
  ring: [],
  "ring/io": ["ring", "proto"],
  pipe: ["ring"],
  "pipe/io": ["pipe", "ring", "ring/io", "proto"],
  proto: [],
  services: ["ring", "ring/io", "pipe", "pipe/io", "proto"],
  cli: ["ring", "ring/io", "pipe", "pipe/io", "proto", "services", "examples"],
  examples: ["services"],
  bench: ["ring", "ring/io", "pipe", "pipe/io", "proto", "services", "examples"],
};
/** Packages that only compute. */
const PURE_PACKAGES = ["croner", "hashring", "ipaddr.js"];
/** Written by hand for the package's users; files inside import what defines the thing. */
const INDEXES = [
  "ring/index.ts",
  "services/index.ts",
  "services/client/index.ts",
  "services/bridge/index.ts",
  "services/testing/index.ts",
  "pipe/index.ts",
];

const edges = sourceFiles()
  .filter((path) => folderOf(path) in MAY)
  .flatMap(importsOf);

describe("imports", () => {
  test("files are found, and so are their imports", () => {
    expect(edges.length).toBeGreaterThan(500);
  });

  test("each folder imports only what lies below it", () => {
    const wrong = edges.filter(({ from, to, kind }) => {
      if (kind !== "file") return false;
      const [here, there] = [folderOf(from), folderOf(to)];
      return here !== there && !MAY[here]?.includes(there);
    });
    expect(shown(wrong)).toEqual([]);
  });

  test("pure folders import no node module and only packages that compute", () => {
    const wrong = edges.filter(
      ({ from, to, kind }) =>
        isPure(from) && (kind === "node" || (kind === "package" && !PURE_PACKAGES.includes(packageOf(to)))),
    );
    expect(shown(wrong)).toEqual([]);
  });

  test("relative imports name the file, with its extension", () => {
    const wrong = edges.filter(({ to, kind }) => kind === "file" && !/\.(ts|mjs|js|json|d\.ts)$/.test(to));
    expect(shown(wrong)).toEqual([]);
  });

  test("index files are for users of the package", () => {
    const wrong = edges.filter(({ from, to }) => INDEXES.includes(to) && !/^(bench|cli|examples)\//.test(from));
    expect(shown(wrong)).toEqual([]);
  });

  test("no cycles among files, types left out", () => {
    const next = new Map<string, string[]>();
    for (const { from, to, kind, typeOnly } of edges)
      if (kind === "file" && !typeOnly) next.set(from, [...(next.get(from) ?? []), to]);
    expect(cyclesOf(next)).toEqual([]);
  });
});

function folderOf(path: string): string {
  const parts = path.split("/");
  return parts[1] === "io" ? `${parts[0]}/io` : (parts[0] as string);
}

function shown(list: readonly ImportEdge[]): readonly string[] {
  return list.map(({ from, to }) => `${from} imports ${to}`);
}

function cyclesOf(next: ReadonlyMap<string, readonly string[]>): readonly string[] {
  const cycles: string[] = [];
  const state = new Map<string, "open" | "done">();
  const visit = (path: string, trail: readonly string[]): void => {
    if (state.get(path) === "done") return;
    if (state.get(path) === "open") {
      cycles.push([...trail.slice(trail.indexOf(path)), path].join(" → "));
      return;
    }
    state.set(path, "open");
    for (const to of next.get(path) ?? []) visit(to, [...trail, path]);
    state.set(path, "done");
  };
  for (const path of next.keys()) visit(path, []);
  return cycles;
}
