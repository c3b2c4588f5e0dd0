/** A partition on its way from one node to another, for tests of what may go wrong then. */

import type { RingDocument } from "../../ring/document.ts";
import { documentOf, keyIn, P0, Parts, talk } from "./node-parts.ts";

export const PLANNED: RingDocument = documentOf({ epoch: 5, owner: "a", next: "b" });
export const MOVED: RingDocument = documentOf({ epoch: 6, owner: "b", generation: 2 });

/** a serves partition 0 with two tasks and hands it to b, up to a's consent for epoch 6. */
export function handedOver(): { a: Parts; b: Parts; ids: string[] } {
  const a = new Parts("a");
  a.follow(documentOf({ epoch: 4 }));
  const ids = [a.submit(P0), a.submit(P0, keyIn(0, 1))];
  const b = new Parts("b");
  b.follow(documentOf({ epoch: 4 }));
  b.follow(PLANNED);
  a.follow(PLANNED);
  talk(a, b);
  return { a, b, ids };
}
