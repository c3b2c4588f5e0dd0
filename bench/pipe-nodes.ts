/** Case `three-nodes` of the benchmark `pipe`. */

import type { BenchResult } from "./result.ts";

export async function threeNodesCase(_runs: number): Promise<readonly BenchResult[]> {
  return [];
}
