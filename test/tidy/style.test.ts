/** What a reader may rely on in every file. A rule that makes a file worse is broken with a reason, listed here. */

import { basename } from "node:path";
import { describe, expect, test } from "vitest";
import { codeOf, sourceFiles, textOf, treeFiles } from "./tree.ts";

const LINES_MOST = 400;
/** Files that are longer, how long they may get, and why they are one file. */
const LONGER: Readonly<Record<string, readonly [number, string]>> = {
  "ring/node/outgoing.ts": [520, "the steps of one transfer, which are understood only together"],
  "ring/node/hosting.ts": [440, "the phases of one partition here, which are understood only together"],
  "ring/node/claimant.ts": [420, "all reasons for a ring change, which become one proposal"],
  "ring/node/adoption.ts": [420, "the steps of one adoption, which are understood only together"],
  "ring/register/register.ts": [440, "the one place where the parts of the register meet"],
  "ring/tasks/engine.ts": [430, "the one place where the parts of the task engine meet"],
  "pipe/node.ts": [430, "the one place where the parts of a node's pipelines meet"],
};
const BANNED = /(^|[-.])(manager|helpers?|utils?|common|misc|master|slave|actor)([-.]|$)/i;
const BANNED_EXPORT = /^(?:[A-Z]\w*)?(Manager|Helper|Util|Utils|Misc|Master|Slave|Actor)$|^(helper|util|misc)[A-Z]/;

const files = sourceFiles();
const product = files.filter((path) => !path.startsWith("test/"));

describe("style", () => {
  test(`a file of the product has fewer than ${LINES_MOST} lines`, () => {
    const long = product.flatMap((path) => {
      const lines = textOf(path).split("\n").length - 1;
      const most = LONGER[path]?.[0] ?? LINES_MOST;
      return lines >= most ? [`${path}: ${lines}`] : [];
    });
    expect(long).toEqual([]);
  });

  test("a file opens with what it is for", () => {
    const silent = product.filter((path) => !/^(#!.*\n)?\/(\*\*|\/ )/.test(textOf(path)));
    expect(silent).toEqual([]);
  });

  test("names of files and exports are the field's words", () => {
    const wrong = treeFiles().filter((path) => path.split("/").some((part) => BANNED.test(part)));
    for (const path of files) {
      for (const [, name = ""] of codeOf(path).matchAll(
        /^export (?:abstract |async )?(?:class|interface|type|function\*?|const|let) (\w+)/gm,
      )) {
        if (BANNED_EXPORT.test(name)) wrong.push(`${path}: ${name}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test("file names are words joined by dashes", () => {
    const wrong = files.filter((path) => !/^[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.(ts|mjs)$/.test(basename(path)));
    expect(wrong).toEqual([]);
  });

  test("exports are named, and types are honest", () => {
    const wrong = files.flatMap((path) =>
      codeOf(path)
        .split("\n")
        .flatMap((line, index) =>
          FORBIDDEN.some((rule) => rule.test(line.replace(/(["'`]).*?\1/g, '""')))
            ? [`${path}:${index + 1}: ${line.trim()}`]
            : [],
        ),
    );
    expect(wrong.filter((line) => !line.startsWith("vitest.config.ts"))).toEqual([]);
  });

  test("no note says that something is still to be done", () => {
    const wrong = files.filter((path) => /\b(TO[D]O|FIX[M]E|X[X]X)\b/.test(textOf(path)));
    expect(wrong).toEqual([]);
  });
});

const FORBIDDEN: readonly RegExp[] = [
  /^export default\b/,
  /^\s*(export )?(const )?enum\b/,
  /^\s*(export )?namespace\b/,
  /(:|<|\bas) any\b/,
  /@ts-(ignore|nocheck)/,
  /^\s*vi\.mock\(/, // files of tests share what they import
];
