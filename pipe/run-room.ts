/** Room for runs on one node: those of an app take of what the others leave all but a part (promise P4). */

import { RUNS_MOST } from "./limits.ts";

/** For one more run of `app`. */
export function hasRunRoom(runs: ReadonlyMap<string, { readonly app: string }>, app: string): boolean {
  let ofApp = 0;
  for (const run of runs.values()) if (run.app === app) ofApp += 1;
  return ofApp < (RUNS_MOST - runs.size) * SHARE;
}

/** An app alone takes four fifths, two a bit less than a half each, and so on. */
const SHARE = 4;
