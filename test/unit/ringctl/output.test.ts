/** Tables, JSON, exit codes and errors. */

import { describe, expect, test } from "vitest";
import { groupsOf, normalised } from "../../../cli/dead-letters.ts";
import { CliError, cliErrorOf, exitOf } from "../../../cli/exit-codes.ts";
import { readableLog, readLogLine } from "../../../cli/log-line.ts";
import { Output, type OutputFormat } from "../../../cli/output.ts";
import { wantsJson } from "../../../cli/run.ts";
import { bytes, printable, ranges, tableLines } from "../../../cli/table.ts";
import { taskItem } from "../../../cli/task-view.ts";
import { submitTaskOf } from "../../../cli/tasks.ts";
import type { Task } from "../../../proto/messages.ts";
import { ERRORS, type ErrorCode, RingError } from "../../../ring/errors.ts";
import { openLog } from "../../../services/host/log.ts";

class Sink {
  text = "";
  readonly isTTY: boolean;
  constructor(isTTY: boolean) {
    this.isTTY = isTTY;
  }
  write(text: string): void {
    this.text += text;
  }
}

function outputTo(
  format: OutputFormat,
  { tty = false, env = {} }: { readonly tty?: boolean; readonly env?: Record<string, string> } = {},
) {
  const stdout = new Sink(tty);
  const stderr = new Sink(tty);
  return { stdout, stderr, output: new Output({ format, stdout, stderr, env }) };
}

const sheet = {
  kind: "Member",
  items: [{ name: "a" }, { name: "b" }],
  extra: { epoch: 3 },
  lines: (paint: (text: string, tint: "good") => string) => [paint("two members", "good")],
};

describe("output", () => {
  test("json is one envelope with everything in it", () => {
    const { stdout, output } = outputTo("json");
    output.show(sheet);
    expect(JSON.parse(stdout.text)).toEqual({
      apiVersion: "ringctl/v1",
      kind: "Member",
      epoch: 3,
      items: [{ name: "a" }, { name: "b" }],
    });
  });

  test("jsonl is one item a line, and last what belongs to the list", () => {
    const { stdout, output } = outputTo("jsonl");
    output.show(sheet);
    expect(
      stdout.text
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line)),
    ).toEqual([{ name: "a" }, { name: "b" }, { kind: "MemberSummary", epoch: 3 }]);
  });

  test("colours are for terminals, and not for those that set NO_COLOR", () => {
    for (const [tty, env, coloured] of [
      [true, {}, true],
      [false, {}, false],
      [true, { NO_COLOR: "1" }, false],
      [true, { TERM: "dumb" }, false],
    ] as const) {
      const { stdout, output } = outputTo("table", { tty, env });
      output.show(sheet);
      expect(stdout.text.includes("\x1b[")).toBe(coloured);
    }
  });

  test("remarks go to stderr, and not at all where JSON is asked for", () => {
    const table = outputTo("table");
    table.output.remark("next: ringctl plan");
    expect([table.stdout.text, table.stderr.text]).toEqual(["", "next: ringctl plan\n"]);
    const json = outputTo("json");
    json.output.remark("next: ringctl plan");
    expect(json.stderr.text).toBe("");
  });

  test("a table's columns are as wide as their widest cell, and numbers stand to the right", () => {
    const rows = [
      { name: "a", size: 5 },
      { name: "longer", size: 1_234 },
    ];
    const lines = tableLines(
      [
        { title: "NAME", text: (row) => row.name },
        { title: "SIZE", text: (row) => String(row.size), right: true },
      ],
      rows,
      (text) => text,
    );
    expect(lines).toEqual(["NAME    SIZE", "a          5", "longer  1234"]);
  });

  test("a key or an error cannot send commands to the terminal", () => {
    expect(printable("a\x1b[2Jb\r\n\u202ec")).toBe("a·[2Jb···c");
  });

  test("numbers are shown short", () => {
    expect([0, 1_023, 1_024, 15_360, 5 * 1_024 ** 3].map(bytes)).toEqual([
      "0 B",
      "1023 B",
      "1.0 KiB",
      "15 KiB",
      "5.0 GiB",
    ]);
    expect(ranges([3, 1, 2, 9, 7, 8, 12])).toBe("1-3, 7-9, 12");
  });
});

describe("exit codes", () => {
  test("what is full says after which delay to try again, where the node gave one", () => {
    const full = (retryAfterMs?: number) =>
      cliErrorOf(new RingError("QUEUE_FULL", "full", retryAfterMs === undefined ? {} : { retryAfterMs }));
    expect(full(1_500)).toMatchObject({ retryable: true, hint: expect.stringMatching(/retry after 1500 ms$/) });
    expect(full().hint).toMatch(/retry after the given delay$/);
  });

  test("every code of the catalogue has one of the contract's", () => {
    for (const code of Object.keys(ERRORS) as ErrorCode[]) expect([1, 2, 3, 4, 5, 6]).toContain(exitOf(code));
  });

  test.each([
    ["TASK_NOT_FOUND", 3],
    ["MEMBER_UNKNOWN", 3],
    ["DEADLINE", 4],
    ["NO_LEASE", 4],
    ["FORBIDDEN", 5],
    ["PLAN_CHANGED", 6],
    ["INVALID_ARGUMENT", 2],
    ["STORE_BROKEN", 1],
  ] as const)("%s ends with %i", (code, exit) => {
    expect(cliErrorOf(new RingError(code, "x"))).toMatchObject({
      code,
      exit,
      hint: ERRORS[code].hint,
      retryable: ERRORS[code].retryable,
    });
  });

  test("what nobody foresaw is INTERNAL and keeps its cause", () => {
    const error = cliErrorOf(new TypeError("boom"));
    expect(error).toBeInstanceOf(CliError);
    expect(error).toMatchObject({ code: "INTERNAL", exit: 1, message: "boom" });
  });

  test("JSON is asked for by -o json in all its spellings", () => {
    expect([["-o", "json"], ["-ojson"], ["--output", "jsonl"], ["--output=json"]].map(wantsJson)).toEqual([
      true,
      true,
      true,
      true,
    ]);
    expect([["status"], ["-o", "table"]].map(wantsJson)).toEqual([false, false]);
  });
});

describe("tasks", () => {
  const task: Task = {
    taskId: "1",
    app: "a",
    type: "t",
    key: "k",
    state: "DONE",
    attempts: 1,
    partition: 0,
    acceptedAtMs: 1,
    waits: "",
  };

  test("a result is shown as it was given: JSON, or bytes in base64", () => {
    expect(taskItem({ ...task, result: Buffer.from('\0{"n":1}') })).toMatchObject({ state: "done", result: { n: 1 } });
    expect(taskItem({ ...task, result: Buffer.from([1, 255, 0]) })).toMatchObject({ resultBase64: "/wA=" });
    expect(taskItem(task)).not.toHaveProperty("result");
  });

  test("a submit is understood from its options", () => {
    const read = (source: string): Uint8Array => Buffer.from(`from ${source}`);
    const flags = { key: "k", data: "@file", delay: "5s", attempts: "3", priority: "-7", header: ["a=b=c"] };
    expect(submitTaskOf({ args: ["app", "type"], flags }, read)).toEqual({
      app: "app",
      type: "type",
      key: "k",
      payload: Buffer.from("from @file"),
      delayMs: 5_000,
      maxAttempts: 3,
      priority: -7,
      headers: { a: "b=c" },
    });
    expect(() => submitTaskOf({ args: ["app", "type"], flags: { header: ["nothing"] } }, read)).toThrow(/NAME=VALUE/);
    expect(() => submitTaskOf({ args: ["app", "type"], flags: { priority: "200" } }, read)).toThrow(/-100 to 100/);
  });

  test("dead letters are grouped by what went wrong, whatever numbers and ids their messages hold", () => {
    expect(normalised('GET https://a.example/x?1 gave 503 after 12.5 ms for "bob" (4f9c0a1b2c3d4e5f)')).toBe(
      "GET <url> gave <n> after <n> ms for <text> (<id>)",
    );
    const dead = (taskId: string, message: string) =>
      taskItem({ ...task, taskId, state: "DEAD", error: { name: "Error", message, stack: "" } });
    const groups = groupsOf([
      dead("1", "timeout after 10 ms"),
      dead("2", "no route"),
      dead("3", "timeout after 99 ms"),
    ]);
    expect(groups.map(({ count, error, example }) => ({ count, error, example }))).toEqual([
      { count: 2, error: "Error: timeout after <n> ms", example: "1" },
      { count: 1, error: "Error: no route", example: "2" },
    ]);
  });
});

test("a line of a node's log becomes a sentence, and anything else stays", () => {
  expect(readLogLine('{"level":40,"time":0,"node":"a","code":7,"msg":"slow"}')).toMatchObject({
    text: expect.stringContaining("slow code=7"),
    tint: "warn",
  });
  expect(
    readLogLine('{"level":30,"time":0,"node":"a","event":"ring-changed","detail":"epoch 2","msg":"ring"}'),
  ).toMatchObject({ text: expect.stringContaining("ring-changed epoch 2"), routine: true });
  expect(readLogLine("{not json")).toEqual({ text: "{not json", tint: "plain", routine: false });
});

test("a node's log on a terminal is made of readable lines", () => {
  let shown = "";
  const print = readableLog(
    (text) => {
      shown += text;
    },
    (text, tint) => (tint === "plain" ? text : `<${tint}>${text}`),
  );
  const log = openLog({ level: "info", node: "n1", write: print });
  log.info({ event: "ring-changed", detail: "epoch 2" }, "ring");
  log.warn({ code: "INSECURE_BIND" }, "anybody can reach it");
  log.debug("not asked for");
  const [first, second, ...rest] = shown.split("\n");
  expect(first).toMatch(/^\d.* ring-changed epoch 2$/);
  expect(second).toMatch(/^<warn>\d.* anybody can reach it code=INSECURE_BIND$/);
  expect(rest).toEqual([""]);
});
