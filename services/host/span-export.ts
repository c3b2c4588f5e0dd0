/**
 * Sends spans to an OpenTelemetry collector: OTLP over HTTP, as JSON, in batches, one request at a time.
 *
 * Spans that cannot be sent are lost and counted: nobody waits for them, and at most `WAITING_MOST` are kept.
 */

import type { PipeSpan } from "../../pipe/span.ts";

interface SpanExportOptions {
  /** Of the collector's traces: `http://HOST:4318/v1/traces`. */
  readonly url: string;
  readonly node: string;
  readonly log: SpanLog;
  readonly everyMs?: number;
}

export interface SpanOptions {
  readonly name: string;
  /** Takes the spans of sampled pipeline inputs, as they end on this node. */
  readonly onSpan?: (span: PipeSpan) => void;
  /** OpenTelemetry collector that they go to, as OTLP over HTTP. Default: from `OTEL_EXPORTER_OTLP_ENDPOINT`, if that is set. */
  readonly tracesUrl?: string;
}

interface SpanLog {
  warn(fields: object, text: string): void;
}

export interface OpenSpans extends AsyncDisposable {
  /** Absent: nobody wants any. */
  readonly take: ((span: PipeSpan) => void) | undefined;
}

export function openSpans(options: SpanOptions, log: SpanLog): OpenSpans {
  const { name: node, tracesUrl: url = tracesUrlOf(process.env) } = options;
  const onSpan = options.onSpan === undefined ? undefined : guarded(options.onSpan, log);
  if (url === undefined) return { take: onSpan, [Symbol.asyncDispose]: () => Promise.resolve() };
  const collector = new SpanExport({ url, node, log });
  return {
    take: (span) => {
      onSpan?.(span);
      collector.add(span);
    },
    [Symbol.asyncDispose]: () => collector[Symbol.asyncDispose](),
  };
}

/** What a function that only looks throws is no business of the run, nor of the node. */
function guarded(onSpan: (span: PipeSpan) => unknown, log: SpanLog): (span: PipeSpan) => void {
  let said = false;
  const fails = (error: unknown): void => {
    if (said) return;
    said = true;
    log.warn({ err: error }, "onSpan fails; this is said once");
  };
  return (span) => {
    try {
      const taken = onSpan(span);
      if (taken instanceof Promise) taken.catch(fails);
    } catch (error) {
      fails(error);
    }
  };
}

class SpanExport implements AsyncDisposable {
  readonly #options: SpanExportOptions;
  #waiting: PipeSpan[] = [];
  #sending: Promise<void> | undefined = undefined;
  #timer: NodeJS.Timeout | undefined = undefined;
  #saidAt = Number.NEGATIVE_INFINITY;
  sent = 0;
  lost = 0;

  constructor(options: SpanExportOptions) {
    this.#options = options;
  }

  add(span: PipeSpan): void {
    if (this.#waiting.length >= WAITING_MOST) {
      this.lost += 1;
      return;
    }
    this.#waiting.push(span);
    if (this.#waiting.length >= BATCH) this.#send();
    else this.#timer ??= setTimeout(() => this.#send(), this.#options.everyMs ?? EVERY_MS).unref();
  }

  /** Sends what there is; gives up after the time of one request. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sending;
    this.#send();
    await this.#sending;
    clearTimeout(this.#timer);
  }

  #send(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#sending !== undefined || this.#waiting.length === 0) return;
    const spans = this.#waiting;
    this.#waiting = [];
    this.#sending = this.#post(spans).finally(() => {
      this.#sending = undefined;
      if (this.#waiting.length > 0) this.#timer ??= setTimeout(() => this.#send(), AFTER_MS).unref();
    });
  }

  async #post(spans: readonly PipeSpan[]): Promise<void> {
    const { url, node } = this.#options;
    try {
      const reply = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(otlpOf(spans, node)),
        signal: AbortSignal.timeout(REQUEST_MS),
      });
      await reply.arrayBuffer();
      if (!reply.ok) throw new Error(`status ${reply.status}`);
      this.sent += spans.length;
    } catch (error) {
      this.lost += spans.length;
      if (performance.now() - this.#saidAt < SAY_EVERY_MS) return;
      this.#saidAt = performance.now();
      this.#options.log.warn({ err: error, lost: this.lost }, "spans cannot be sent to the collector");
    }
  }
}

/** Where the environment says that traces go, in OpenTelemetry's own variables. */
function tracesUrlOf(environment: Readonly<Record<string, string | undefined>>): string | undefined {
  const { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: traces, OTEL_EXPORTER_OTLP_ENDPOINT: all } = environment;
  if (traces !== undefined && traces !== "") return traces;
  return all === undefined || all === "" ? undefined : `${all.replace(/\/+$/, "")}/v1/traces`;
}

function otlpOf(spans: readonly PipeSpan[], node: string): object {
  const resource = { attributes: attributesOf({ "service.name": "taskring", "service.instance.id": node }) };
  return {
    resourceSpans: [{ resource, scopeSpans: [{ scope: { name: "taskring" }, spans: spans.map(spanOf) }] }],
  };
}

function spanOf(span: PipeSpan): object {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    ...(span.parentSpanId === undefined ? {} : { parentSpanId: span.parentSpanId }),
    name: span.name,
    kind: INTERNAL,
    startTimeUnixNano: unixNanos(span.startMs),
    endTimeUnixNano: unixNanos(span.endMs),
    attributes: attributesOf(span.attributes),
    events: [{ timeUnixNano: unixNanos(span.returnedMs), name: "returned" }],
    status: span.error === undefined ? {} : { code: STATUS_ERROR, message: span.error },
  };
}

function attributesOf(attributes: Readonly<Record<string, string | number>>): object[] {
  return Object.entries(attributes).map(([key, value]) => ({
    key,
    value: typeof value === "string" ? { stringValue: value } : { intValue: String(value) },
  }));
}

/** Of a time on the process's monotonic clock. */
function unixNanos(ms: number): string {
  return `${BigInt(Math.round((performance.timeOrigin + ms) * 1_000)) * 1_000n}`;
}

const WAITING_MOST = 2_048;
const BATCH = 512;
const EVERY_MS = 1_000;
const AFTER_MS = 10;
const REQUEST_MS = 5_000;
const SAY_EVERY_MS = 60_000;
const INTERNAL = 1;
const STATUS_ERROR = 2;
