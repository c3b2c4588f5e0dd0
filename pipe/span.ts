/**
 * Spans of single inputs, for those that are sampled: one of the input, and below it one of each call for what comes of it. Their
 * context is W3C's `traceparent`; it travels with the outputs, over nodes as well.
 *
 * Z1  An input that is not sampled costs one look at its token in each call.
 * Z2  What comes of a sampled input has a branch of the acknowledgement tree of its own, so a span lasts until everything below it
 *     has an end. `returnedMs` says when the call itself was over.
 * Z3  At most `SPANS_BELOW` spans are made below one on each node; what comes of it beyond that has none.
 */

import { SPANS_BELOW } from "./limits.ts";
import type { Entry } from "./roster.ts";
import type { Run } from "./run.ts";
import type { Stage } from "./stage.ts";
import { checkpoint, settle, Token, type TokenOwner } from "./token.ts";

/** In OpenTelemetry's words; times in ms on the node's own monotonic clock. */
export interface PipeSpan {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** 16 of them. */
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly name: string;
  readonly startMs: number;
  /** When the call was over, or the input taken; what came of it may have its end much later. */
  readonly returnedMs: number;
  readonly endMs: number;
  readonly attributes: Readonly<Record<string, string | number>>;
  /** The first failure at or below it, or why the run ended before. */
  readonly error: string | undefined;
}

export interface SpanHost {
  /** Random hexadecimal digits. */
  newId(digits: 16 | 32): string;
  ended(span: PipeSpan): void;
}

/** What is below a span carries it. */
export class TraceContext {
  readonly traceId: string;
  readonly spanId: string;
  /** Of a span that is made here. */
  readonly branch: Branch | undefined;
  #below = 0;

  constructor(ids: { readonly traceId: string; readonly spanId: string }, branch: Branch | undefined) {
    this.traceId = ids.traceId;
    this.spanId = ids.spanId;
    this.branch = branch;
  }

  /** False: there are enough spans below it (Z3). */
  takeBelow(): boolean {
    this.#below += 1;
    return this.#below <= SPANS_BELOW;
  }

  get traceparent(): string {
    return `00-${this.traceId}-${this.spanId}-01`;
  }
}

export interface Traceparent {
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;
}

/** Undefined for what is no `traceparent`. Of later versions the part that is known counts. */
export function parseTraceparent(text: string): Traceparent | undefined {
  const match = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/.exec(text);
  const [, version, traceId = "", spanId = "", flags = "", more] = match ?? [];
  if (version === undefined || version === "ff" || (version === "00" && more !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

interface SpanOf {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string | number>>;
}

/** The token to give what has `token`'s leaf, with a span below `context`, if spans are made here. */
function spanned(run: Run, token: Token, context: TraceContext | undefined, of: () => SpanOf): Token {
  const { spans } = run.node.host;
  if (spans === undefined || context?.takeBelow() === false) return token;
  return new Branch(run, token, { host: spans, of: of(), above: context }).token;
}

/** One leaf of a token, as a tree of its own (Z2). */
export class Branch implements TokenOwner, Entry {
  slot = -1;
  readonly token: Token;
  readonly #run: Run;
  readonly #parent: Token;
  readonly #span: (Pick<PipeSpan, "startMs"> & Span) | undefined;
  #returnedMs: number | undefined = undefined;

  /** `span`: what is made of it; a context alone is only passed on. */
  constructor(run: Run, parent: Token, span: Span | TraceContext) {
    this.#run = run;
    this.#parent = parent;
    this.token = new Token(this, 1);
    if (span instanceof TraceContext) {
      this.#span = undefined;
      this.token.trace = span;
      return;
    }
    const { host, above } = span;
    this.#span = { ...span, startMs: run.node.host.now() };
    const ids = { traceId: above?.traceId ?? host.newId(32), spanId: host.newId(16) };
    this.token.trace = new TraceContext(ids, this);
    run.branches.add(this);
  }

  /** The call is over. */
  returned(): void {
    this.#returnedMs ??= this.#run.node.host.now();
  }

  settled(token: Token): void {
    this.end(token.failures[0]?.error);
    this.#parent.add(token);
    settle(this.#parent, 1);
  }

  checkpointed(_token: Token, cursor: unknown): void {
    checkpoint(this.#parent, cursor);
  }

  /** It was not given to anybody after all. */
  forget(): void {
    this.#run.branches.delete(this);
  }

  end(error: string | undefined): void {
    const { trace } = this.token;
    if (this.#span === undefined || trace === undefined) return;
    this.forget();
    const { host, of, above, startMs } = this.#span;
    const endMs = this.#run.node.host.now();
    const { traceId, spanId } = trace;
    const parentSpanId = above?.spanId;
    host.ended({ traceId, spanId, parentSpanId, ...of, startMs, returnedMs: this.#returnedMs ?? endMs, endMs, error });
  }
}

interface Span {
  readonly host: SpanHost;
  readonly of: SpanOf;
  readonly above: TraceContext | undefined;
}

/** Which inputs of a run are sampled: the first, and then a part of them, evenly. */
export class Samples {
  readonly #ratio: number;
  readonly #above: Traceparent | undefined;
  #count = 0;

  constructor(ratio: number, above: Traceparent | undefined) {
    this.#ratio = ratio;
    this.#above = above;
  }

  /** The last one was not taken: it comes again. */
  undo(): void {
    this.#count -= 1;
  }

  /** The token to give the next input, which has a leaf of `token`. `own`: the input came with a context. */
  next(run: Run, token: Token, own: Traceparent | undefined): Token {
    const at = this.#count++;
    const given = own ?? this.#above;
    if (own === undefined && at > 0 && Math.floor(at * this.#ratio) === Math.floor((at - 1) * this.#ratio))
      return token;
    if (own === undefined && this.#ratio === 0) return token;
    if (given?.sampled === false) return token;
    const above = given === undefined ? undefined : new TraceContext(given, undefined);
    const name = `${run.pipeline.name} input`;
    const attributes = { ...spanAttributes(run), "taskring.pipe.input": at };
    if (run.node.host.spans === undefined && above !== undefined) return new Branch(run, token, above).token;
    return spanned(run, token, above, () => ({ name, attributes }));
  }
}

/** The token of a call for an input that has `above`. */
export function callSpan(stage: Stage, partition: number, above: Token): Token {
  const { run, fitting } = stage;
  return spanned(run, above, above.trace, () => ({
    name: `${run.pipeline.name} ${fitting.name}`,
    attributes: {
      ...spanAttributes(run),
      "taskring.pipe.fitting": fitting.name,
      "taskring.pipe.partition": partition,
    },
  }));
}

function spanAttributes(run: Run): Readonly<Record<string, string | number>> {
  return {
    "taskring.node": run.node.self,
    "taskring.pipe": run.pipeline.name,
    "taskring.pipe.run": run.id,
    "taskring.pipe.attempt": run.attempt,
  };
}
