import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readRedisLog } from "../chaos/redis-log.ts";

test("a log whose terms and sequences only go up is in order, whatever is cut off at its end", () => {
  const log = read([wrote(1, 0), wrote(1, 1), wrote(1, 2), wrote(2, 0), wrote(2, 1)], "*3\r\n$4\r\nHS");
  expect(log).toMatchObject({ writes: 5, openings: 2, wrong: [] });
});

test("an older term behind a newer one is a stale write that was accepted", () => {
  expect(read([wrote(1, 0), wrote(2, 0), wrote(1, 1)]).wrong).toEqual([
    "partition 7: term 1.1.1 wrote after term 1.2.1",
  ]);
});

test("a group that is missing or was applied twice is found", () => {
  expect(read([wrote(1, 0), wrote(1, 1), wrote(1, 3), wrote(1, 3)]).wrong).toHaveLength(2);
});

test("a partition that was removed is found", () => {
  expect(read([wrote(1, 0), ["UNLINK", "taskring:{7}"]]).wrong).toEqual(["partition 7: unlink"]);
});

function wrote(generation: number, sequence: number): readonly (string | Buffer)[] {
  const meta = Buffer.alloc(12);
  for (const [at, value] of [1, generation, 1].entries()) meta.writeUInt32BE(value, 4 * at);
  return ["HSET", "taskring:{7}", "row", "\r\n$3\r\n", "", Buffer.concat([meta, Buffer.from(String(sequence))])];
}

function read(commands: readonly (readonly (string | Buffer)[])[], tail = ""): ReturnType<typeof readRedisLog> {
  const folder = mkdtempSync(join(tmpdir(), "taskring-log-"));
  try {
    mkdirSync(join(folder, "appendonlydir"));
    const parts = commands.flatMap((command) => [
      Buffer.from(`*${command.length}\r\n`),
      ...command.flatMap((part) => [Buffer.from(`$${part.length}\r\n`), Buffer.from(part), Buffer.from("\r\n")]),
    ]);
    writeFileSync(
      join(folder, "appendonlydir", "appendonly.aof.1.incr.aof"),
      Buffer.concat([...parts, Buffer.from(tail)]),
    );
    return readRedisLog(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
