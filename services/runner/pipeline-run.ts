/**
 * `ctx.run`: a pipeline run that belongs to a task. The task waits for the run's whole tree; when its attempt is repeated, the
 * run of its single input goes on at the last checkpoint, which is kept with the state of the task's key while it runs.
 *
 * D1  The run's id names the task, the attempt by its fence, and the ordinal of the call; an attempt that is aborted cancels its run. After
 *     a crash an attempt has the number of the one that was lost, whose run other nodes may still take leave of.
 * D2  A checkpoint is stored at most every `KEEP_EVERY_MS`, and removed when the run is done.
 * D3  A run that has failed ends the wait for its inputs: their source may stand still for what the run does not give any more.
 * D4  A run for which this node, or another, has no room costs its attempt nothing: others have it, whatever the task does.
 */

import type { PipeRun, RunOptions } from "../../pipe/io/run.ts";
import type { Report } from "../../pipe/views.ts";
import { RingError } from "../../ring/errors.ts";
import { headersOf } from "../../ring/tasks/record.ts";
import type { TaskRecord } from "../../ring/tasks/task.ts";
import type { PipelineInputs } from "../apps/context.ts";
import { ofNoRoom } from "./outcome.ts";
import type { Run } from "./run.ts";
import { outsideRuns } from "./strays.ts";
import { decodeValue, encodeValue } from "./value.ts";

export type OpenRun = (pipeline: string, options: RunOptions<unknown>) => PipeRun<unknown, unknown>;

/** Throws what ended the run early: `RUN_FAILED`, `STATE_LOST`, `CANCELLED`, `PIPELINE_UNKNOWN`, … */
export async function runPipeline(run: Run, pipeline: string, given: PipelineInputs): Promise<Report> {
  run.assertFresh("run");
  const { attempt, host } = run;
  if (host.openRun === undefined) throw new RingError("UNIMPLEMENTED", "pipelines cannot be run here");
  if (attempt.stateAway) {
    run.stateAway = true;
    throw new RingError("STATE_AWAY", "the key's state, with the run's checkpoint, is on a machine that is away");
  }
  const ordinal = run.pipelines++;
  const name = `${CHECKPOINT}${ordinal}`;
  const stored = attempt.state.get(name);
  const before = stored === undefined ? undefined : (decodeValue(stored) as Checkpoint);
  const checkpoint = before?.pipeline === pipeline && before.task === attempt.record.id ? before : undefined;
  const store = (value: Uint8Array | undefined): void =>
    outsideRuns(() => host.keep?.(attempt.attemptId, [{ name, value }]));
  let keptAt = Number.NEGATIVE_INFINITY;
  const keep = (cursor: unknown): void => {
    if (run.stale || host.now() - keptAt < KEEP_EVERY_MS) return; // D2
    keptAt = host.now();
    store(encodeValue({ pipeline, task: attempt.record.id, cursor }));
  };
  await using open = opened(host.openRun, pipeline, {
    id: `${attempt.record.id}-${attempt.fence}-${ordinal}`,
    attempt: attempt.attempt,
    app: attempt.record.app,
    signal: run.signal,
    sink: given.sink ?? "drain",
    ...traceOf(attempt.record),
    ...("input" in given ? { onCheckpoint: keep } : {}),
  });
  const fed =
    "input" in given
      ? open.send(given.input, checkpoint === undefined ? {} : { cursor: checkpoint.cursor })
      : feed(open, given.inputs);
  await Promise.race([open.report(), fed]); // D3
  open.end();
  const report = await open.report();
  if (report.error?.code === "QUEUE_FULL") throw noRoomOf(report.error.detail); // D4
  if (report.error !== undefined) throw new RingError(report.error.code, report.error.detail);
  if (!run.stale && (keptAt > 0 || stored !== undefined)) store(undefined);
  return report;
}

/** D4. */
function opened(openRun: OpenRun, pipeline: string, options: RunOptions<unknown>): PipeRun<unknown, unknown> {
  try {
    return openRun(pipeline, options);
  } catch (error) {
    throw error instanceof RingError && error.code === "QUEUE_FULL" ? ofNoRoom(error) : error;
  }
}

function noRoomOf(detail: string): RingError {
  return ofNoRoom(new RingError("QUEUE_FULL", detail, { retryAfterMs: ROOM_MS }));
}

async function feed(
  open: PipeRun<unknown, unknown>,
  inputs: AsyncIterable<unknown> | Iterable<unknown>,
): Promise<void> {
  for await (const input of inputs) await open.send(input);
}

/** Spans of the run are below what the task is for, if its headers say so. */
function traceOf(record: TaskRecord): { readonly traceparent?: string } {
  const traceparent = headersOf(record).get("traceparent");
  return traceparent === undefined ? {} : { traceparent };
}

interface Checkpoint {
  readonly pipeline: string;
  readonly task: string;
  readonly cursor: unknown;
}

/** A name that `ctx.state` of no handler is likely to use. */
const CHECKPOINT = "taskring.run.";
const KEEP_EVERY_MS = 100;
/** Until another node is asked again. */
const ROOM_MS = 1_000;
