/** An instant, with what the wall clock says then: one for all that happens in it, since each number would be an object of its own. */

import type { Instant } from "../machine.ts";

export class Moment {
  readonly at: Instant;
  readonly wallMs: number;

  constructor(at: Instant, wallMs: number) {
    this.at = at;
    this.wallMs = wallMs;
  }
}
