/** Makes tasks of rows: as they stood in their partition, and when they were accepted. */

import type { Instant } from "../machine.ts";
import type { Core } from "./core.ts";
import { MOST_BACKOFF_MS } from "./limits.ts";
import { Task, type Vnode } from "./model.ts";
import { Moment } from "./moment.ts";
import type { TaskRow } from "./read-row.ts";
import { FLAG, type Position } from "./rows.ts";

/**
 * Wall times of rows become instants; a wall clock that jumped makes no wait longer than it was at first. What should have been due
 * before now keeps that instant: of several the first to be due goes first (lanes.ts, L3).
 */
export function taskOfRow(core: Core, now: Instant, vnode: Vnode, { header, record }: TaskRow): Task {
  const wallMs = core.wallMs(now);
  const agoMs = Math.max(0, wallMs - header.acceptedAtMs);
  const accepted = new Moment(now - agoMs, header.acceptedAtMs);
  const task = new Task(vnode, core.appOf(record.app), record, header.flags, accepted, -1, core.group);
  task.attempts = header.attempts;
  if ((header.flags & FLAG.delayed) !== 0) task.dueAt = now + Math.min(header.dueAtMs - wallMs, record.delayMs);
  else if (header.dueAtMs > wallMs) {
    const mostMs = Math.max(0, header.dueAtMs - header.acceptedAtMs); // of its back-off alone nothing is kept
    task.dueAt = now + Math.min(header.dueAtMs - wallMs, mostMs, MOST_BACKOFF_MS);
  }
  return task;
}

/** Where it stood, rather than behind all others. */
export function placeTask(task: Task, position: Position): void {
  task.generation = position.generation;
  task.opens = position.opens;
  task.sequence = position.sequence;
  goBehind(task.vnode, position);
}

/** Rows of this very term (a store that gave it out twice, a test): go on behind them. */
export function goBehind(vnode: Vnode, { generation, opens, sequence }: Position): void {
  const { term } = vnode;
  if (generation === term.generation && opens === term.opens) vnode.sequence = Math.max(vnode.sequence, sequence + 1);
}
