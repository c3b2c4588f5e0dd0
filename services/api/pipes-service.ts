/** `taskring.v1.Pipes`: lists, runs, shows, traces and cancels pipelines. The streaming `Run` is in `pipe-session.ts`. */

import type { PipeEngine } from "../../pipe/io/engine.ts";
import type { Progress, Report, TraceEvent } from "../../pipe/views.ts";
import { RingError } from "../../ring/errors.ts";
import type { CallContext, Handlers, StreamContext } from "./calls.ts";

export function pipesHandlers(engine: PipeEngine): Handlers {
  return {
    unary: {
      List: async () => ({
        pipes: engine
          .names()
          .map((name) => ({ name, fittings: engine.find(name)?.fittings.map((fitting) => fitting.name) ?? [] })),
        runs: engine.summaries().map(({ progress, ...run }) => ({
          ...run,
          ...(progress === undefined ? {} : { progress: progressView(progress) }),
        })),
      }),
      Status: async ({ run }: { readonly run: string }, context: CallContext) => {
        const known = engine.summaries().find((summary) => summary.run === run);
        const report = engine.report(run);
        const { workers, silent } = await engine.status(run, { deadlineMs: Math.min(context.deadlineMs, STATUS_MS) });
        if (known === undefined && report === undefined && workers.length === 0)
          throw new RingError("NOT_FOUND", `no run ${run.slice(0, 80)}`);
        return {
          workers,
          unreachable: silent,
          bottleneck: engine.bottleneck(run, workers),
          ...(known?.progress === undefined ? {} : { progress: progressView(known.progress) }),
          ...(report === undefined ? {} : { report: reportView(report) }),
        };
      },
      Cancel: async ({ run }: { readonly run: string }) => {
        if (!engine.cancel(run))
          throw new RingError("NOT_FOUND", `no run ${run.slice(0, 80)} is open here; ask its coordinator`);
        return {};
      },
    },
    streaming: {
      Trace: (request: TraceRequest, { signal }: StreamContext) => traced(engine, request, signal),
    },
  };
}

/** Enum-less and complete: what the CLI shows as JSON. */
export function reportView({ error, ...report }: Report): object {
  return {
    ...report,
    elapsedMs: Math.round(report.elapsedMs),
    errorCode: error?.code ?? "",
    errorDetail: error?.detail ?? "",
  };
}

interface TraceRequest {
  readonly run: string;
  readonly fittings: readonly string[];
  readonly types: readonly string[];
  readonly forMs: number;
}

function progressView(progress: Progress): object {
  return { ...progress, etaMs: progress.etaMs ?? 0 };
}

/** Stops by itself; a reader that is too slow loses the oldest events. */
async function* traced(engine: PipeEngine, request: TraceRequest, signal: AbortSignal): AsyncIterable<object> {
  const forMs = request.forMs === 0 ? TRACE_MS : Math.min(request.forMs, TRACE_MOST_MS);
  const waiting: TraceEvent[] = [];
  let wake: (() => void) | undefined;
  let over = false;
  const stop = engine.trace(request.run, (event) => {
    if (request.fittings.length > 0 && !request.fittings.includes(event.fitting)) return;
    if (request.types.length > 0 && !request.types.includes(event.type)) return;
    if (waiting.length >= TRACE_EVENTS) waiting.shift();
    waiting.push(event);
    wake?.();
  });
  const end = (): void => {
    over = true;
    wake?.();
  };
  const timer = setTimeout(end, forMs);
  const look = setInterval(() => {
    if (!engine.summaries().some((summary) => summary.run === request.run)) end();
  }, LOOK_MS);
  signal.addEventListener("abort", end);
  try {
    for (;;) {
      const event = waiting.shift();
      if (event !== undefined) yield event;
      else if (over) return;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  } finally {
    stop();
    clearTimeout(timer);
    clearInterval(look);
    signal.removeEventListener("abort", end);
  }
}

const STATUS_MS = 2_000;
const TRACE_MS = 30_000;
const TRACE_MOST_MS = 600_000;
const TRACE_EVENTS = 10_000;
const LOOK_MS = 200;
