/** A SubmitStream without a transport: a session over a call that the test speaks for. */

import type { EventEmitter } from "node:events";
import { Intake } from "../../../services/api/intake.ts";
import { StreamSession } from "../../../services/api/stream-session.ts";
import type { FakeNode } from "./fake-node.ts";

export function sessionOver(
  call: EventEmitter,
  node: FakeNode,
  intake: Intake = new Intake({ most: 1_000_000 }),
): StreamSession {
  return new StreamSession(call as never, {
    node,
    intake,
    creditTasks: 4_096,
    creditBytes: 1 << 22,
    creditWaits: 16,
    frameTasks: 1_024,
    drainRetryMs: 1,
    draining: () => false,
    wait: () => Promise.reject(new Error("no")),
    onBug: () => {},
    onClosed: () => {},
  });
}
