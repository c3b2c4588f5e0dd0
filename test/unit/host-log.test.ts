/** The log on standard error, whose disk has no room for a while. */

import fs from "node:fs";
import { afterEach, expect, test, vi } from "vitest";
import { openLog } from "../../services/host/log.ts";
import { StandardError } from "../../services/host/standard-error.ts";

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

test("lines that find no room when the process ends do not keep it from ending", () => {
  const refused = (code: string) => () => {
    throw Object.assign(new Error(code), { code });
  };
  vi.spyOn(fs, "write").mockReturnValue(undefined as never);
  const tries = vi.spyOn(fs, "writeSync").mockImplementation(refused("ENOSPC") as never);
  const stream = new StandardError();
  for (const line of ["under way\n", "waits\n"]) stream.write(line);
  stream.flushSync();
  expect(tries).toHaveBeenCalledTimes(1);
  tries.mockImplementation(refused("EAGAIN") as never);
  const began = performance.now();
  stream.flushSync();
  expect(performance.now() - began).toBeLessThan(2_000);
  let text = "";
  tries.mockImplementation(((_fd: number, bytes: Buffer) => {
    text += bytes.subarray(0, 2).toString();
    return Math.min(2, bytes.length);
  }) as never);
  stream.flushSync();
  expect(text).toBe("waits\n");
});

test("P5: lines for a reader that does not read are kept up to a bound", () => {
  const write = vi.spyOn(fs, "write").mockReturnValue(undefined as never);
  const stream = new StandardError();
  const line = `${"x".repeat(1_000_000)}\n`;
  for (let index = 0; index < 40; index++) stream.write(line);
  expect(write).toHaveBeenCalledTimes(1);
  let bytes = 0;
  vi.spyOn(fs, "writeSync").mockImplementation(((_fd: number, chunk: Buffer) => {
    bytes += chunk.length;
    return chunk.length;
  }) as never);
  stream.flushSync();
  expect(bytes).toBeGreaterThan(14_000_000);
  expect(bytes).toBeLessThan(17_000_000);
});

async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}
