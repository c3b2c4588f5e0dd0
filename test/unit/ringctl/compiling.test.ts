import { expect, test } from "vitest";
import { compileLaterWhileMoving } from "../../../cli/compiling.ts";
import type { RingDocument } from "../../../ring/document.ts";

test("V8 compiles later from the first partition that is to move until the last has, and is told once of each", () => {
  const flags: string[] = [];
  let tell: (document: RingDocument) => void = () => undefined;
  const node = {
    onDocument: (listener: typeof tell) => {
      tell = listener;
      return () => undefined;
    },
  };
  compileLaterWhileMoving(node, (flag) => flags.push(flag));
  for (const next of [[undefined], ["b", "b"], ["b", undefined], [undefined], [undefined]])
    tell({ next } as unknown as RingDocument);
  expect(flags).toEqual(["--interrupt-budget=540672", "--interrupt-budget=67584"]);
});
