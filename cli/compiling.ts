/**
 * V8 compiles for speed later while partitions move: a fifth of two cores compiled while a third node joined, some of it twice, and
 * keys waited for these cores. A node at rest has V8's own measure: there what is compiled sooner is used longer.
 */

import { setFlagsFromString } from "node:v8";
import type { RingNode } from "../ring/node/port.ts";

/** For the process, so for one that is a node's alone. */
export function compileLaterWhileMoving(
  node: Pick<RingNode, "onDocument">,
  setFlag: (flag: string) => void = setFlagsFromString,
): void {
  let wasMoving = false;
  node.onDocument(({ next }) => {
    const isMoving = next.some((to) => to !== undefined);
    if (isMoving === wasMoving) return;
    wasMoving = isMoving;
    setFlag(`--interrupt-budget=${isMoving ? MOVING_BUDGET : OWN_BUDGET}`);
  });
}

/** How much of a function runs before V8 looks at whether to compile it, in bytes of its code; V8's own since 2021. */
const OWN_BUDGET = 67_584;
const MOVING_BUDGET = 8 * OWN_BUDGET;
