/** What a person may answer before a dangerous change. */

import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { confirm, type Terminal } from "../../../cli/confirm.ts";

async function answered(keys: string): Promise<unknown> {
  const input = Object.assign(new PassThrough(), { isTTY: true });
  const output = Object.assign(new PassThrough(), { isTTY: true });
  output.on("data", (text: Buffer) => {
    if (text.toString().includes("[y/N]")) input.write(keys);
  });
  const terminal: Terminal = { input, output };
  return confirm("down n1", { yes: false }, terminal).catch((error: unknown) => error);
}

test("yes is yes, and anything else changes nothing", async () => {
  for (const keys of ["y\r", "Yes\r"]) expect(await answered(keys)).toBeUndefined();
  for (const keys of ["\r", "n\r", "yesterday\r"])
    expect(await answered(keys)).toMatchObject({ code: "CANCELLED", exit: 1 });
});

test("Ctrl-C instead of an answer is an interruption, and Ctrl-D is no", async () => {
  expect(await answered("\x03")).toMatchObject({ code: "CANCELLED", exit: 130 });
  expect(await answered("\x04")).toMatchObject({ code: "CANCELLED", exit: 1 });
});

test("where nobody can be asked, --yes says it", async () => {
  const nobody = { input: new PassThrough(), output: new PassThrough() };
  await expect(confirm("down n1", { yes: false }, nobody)).rejects.toMatchObject({ exit: 2 });
  await confirm("down n1", { yes: true }, nobody);
});
