/** What operators of a simulation work on, and what was acknowledged of it. */

import { encodeRecord } from "../../ring/tasks/record-encode.ts";
import type { Child, TaskRecord } from "../../ring/tasks/task.ts";
import { deriveId } from "../../ring/tasks/task-id.ts";
import { OPERATED_APP } from "./apps.ts";

export interface Item {
  readonly id: string;
  readonly key: string;
  /** Never ends well by itself; a child that its owner refuses is such a one, kept where its parent was (`at`). */
  readonly failing: boolean;
  readonly at: string;
  accepted: boolean;
  /** From then on its handler does well. */
  healed: boolean;
  /** `asked`: not acknowledged. */
  cancel: "no" | "asked" | "done";
  drop: "no" | "asked" | "done";
  retry: "no" | "asked" | "done";
  /** When its end was acknowledged. */
  endedAt: number;
}

/** What was acknowledged last of something that is on or off; `unknown`: something was asked since. */
export interface Switch {
  state: "on" | "off" | "unknown";
  /** When that was acknowledged. */
  at: number;
  /** Not asked for anything before: an unanswered question may still be under way. */
  notBefore: number;
}

/** Of a type that nobody knows. */
export function childOf({ id: parent }: TaskRecord): Child & { readonly key: string } {
  const key = `child-of-${parent.slice(-6)}`;
  const id = deriveId({ app: OPERATED_APP, key, seed: parent });
  return { id, key, wire: encodeRecord({ app: OPERATED_APP, type: "unheard-of", key, id }) };
}
