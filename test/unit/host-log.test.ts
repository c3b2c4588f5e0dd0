/** The log on standard error, whose disk has no room for a while. */

import fs from "node:fs";
import { afterEach, expect, test, vi } from "vitest";
import { openLog } from "../../services/host/log.ts";

afterEach(() => void vi.restoreAllMocks());

type Written = (error: Error | null, bytes?: number) => void;

test("a log whose disk was full for a while goes on, and what waits at the end is written", async () => {
  let text = "";
  let isFull = true;
  const take = (_fd: number, line: string | Uint8Array): number => {
    if (isFull) throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
    text += String(line);
    return Buffer.byteLength(line);
  };
  vi.spyOn(fs, "fsyncSync").mockReturnValue(undefined);
  vi.spyOn(fs, "writeSync").mockImplementation(take as never);
  vi.spyOn(fs, "write").mockImplementation(((fd: number, line: string, done: Written) => {
    setImmediate(() => {
      try {
        done(null, take(fd, line));
      } catch (error) {
        done(error as Error);
      }
    });
  }) as never);
  const log = openLog({ level: "info", node: "n1" });
  for (const message of ["one", "two"]) {
    log.info(message);
    await turns();
  }
  log.fatal("lost at the end, and no reason to wait for ever");
  expect(text).toBe("");
  isFull = false;
  log.info("three");
  await turns();
  vi.spyOn(fs, "write").mockReturnValue(undefined as never);
  for (const message of ["under way", "four", "five"]) log.info(message);
  log.fatal("six");
  const said = text.split("\n").flatMap((line) => (line === "" ? [] : [(JSON.parse(line) as { msg: string }).msg]));
  expect(said.filter((message) => !message.startsWith("lost"))).toEqual(["one", "two", "three", "four", "five", "six"]);
});

async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}
