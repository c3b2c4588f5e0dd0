/** A pipe engine that is the whole ring. */

import { PipeEngine, type PipeEngineOptions } from "../../../pipe/io/engine.ts";
import type { NodeName } from "../../../ring/ids.ts";

export function engine(onSpan?: PipeEngineOptions["onSpan"]): PipeEngine {
  return new PipeEngine({ self: "a" as NodeName, ringSize: 16, find: () => undefined, send: () => false, onSpan });
}
