/**
 * What the pipe parts of two nodes say to each other: JSON arrays, many to a frame, values and all encoded once.
 *
 * Between nodes values are what JSON can say, and bytes (`Uint8Array`) as a whole input; anything else is refused as a failure
 * of that input where it is sent.
 * W1  What a peer sends never throws here: `decodeMessages` leaves out what has no known shape and counts it.
 * W2  Whatever an application puts in an input comes out of it: an object that looks like encoded bytes travels wrapped. What
 *     no sender writes in that place is `UNREADABLE`, and its input fails.
 */

import type { MarkRows } from "./stamp.ts";

export type PipeMessage =
  /** Always the first about a run from a node to another. `shape`: what the pipeline's has to be there (`shapeOf`). */
  | readonly ["open", run: string, pipeline: string, coordinator: string, attempt: number, shape: number]
  /** Inputs of one fitting (or of the sink, whose number is one more), acknowledged together. */
  | readonly [
      "in",
      run: string,
      batch: number,
      stage: number,
      epoch: number,
      partitions: readonly number[],
      values: readonly unknown[],
      cursor: unknown,
      /** Of a stage with `checkpointEvery`: life and number of each input. Else empty. */
      origins: readonly number[],
      /** `[at, traceparent, …]`, rising, of those that are sampled. */
      traces: readonly (number | string)[],
    ]
  /** To the coordinator: what does it keep of this partition? `ask` comes back. */
  | readonly ["load", run: string, ask: number, stage: number, partition: number]
  | readonly [
      "loaded",
      run: string,
      ask: number,
      stage: number,
      partition: number,
      inputs: number,
      marks: MarkRows,
      state: unknown,
    ]
  /** To the coordinator: keep this; `release`: and let others have it. */
  | readonly [
      "keep",
      run: string,
      keep: number,
      stage: number,
      partition: number,
      inputs: number,
      marks: MarkRows,
      state: unknown,
      release: boolean,
    ]
  | readonly ["kept", run: string, stage: number, keep: number]
  /** To the coordinator: it was given for nothing, and is as it was. */
  | readonly ["release", run: string, stage: number, partition: number]
  | readonly ["archive", run: string, batch: number, stage: number, partition: number, inputs: number, state: unknown]
  /** Batches that have come to their end without anything to tell. */
  | readonly ["ack", run: string, batches: readonly number[]]
  | readonly ["nack", run: string, batch: number, failed: number, failures: readonly WireFailure[], resent: number]
  | readonly ["cursor", run: string, batch: number, cursor: unknown]
  /** Answer `quiet` when the sender's epoch is known and no archive is on its way: then each key's state is in one place. */
  | readonly ["quiesce", run: string, stage: number, epoch: number]
  | readonly ["quiet", run: string, stage: number, epoch: number]
  | readonly ["end", run: string, stage: number]
  | readonly [
      "ended",
      run: string,
      stage: number,
      failed: number,
      failures: readonly WireFailure[],
      resent: number,
      archivedTo: readonly string[],
    ]
  /** To the coordinator: a worker cannot start, and its inputs go to the next partition. */
  | readonly ["unstartable", run: string, stage: number, partition: number, why: string]
  /** To the coordinator: the run cannot go on. */
  | readonly ["fail", run: string, code: string, detail: string]
  /** From the coordinator: nothing of it is to remain. */
  | readonly ["close", run: string]
  /** The sender knows nothing of the run: if it was given this batch (0: any) of it, all is to be sent again. */
  | readonly ["gone", run: string, batch: number]
  /** To the coordinator now and then: does it still know the run? */
  | readonly ["ping", run: string]
  | readonly ["ask", ask: number, run: string]
  | readonly ["answer", ask: number, workers: readonly unknown[]]
  | readonly ["trace", run: string, on: boolean]
  | readonly ["traced", run: string, events: readonly unknown[]];

export type WireFailure = readonly [fitting: string, partition: number, input: string, error: string];

/** Stands for a value that cannot be read. */
export const UNREADABLE: unique symbol = Symbol("unreadable");

/** Throws when a value has no JSON form. */
export function encodeMessage(message: PipeMessage): string {
  return JSON.stringify(message);
}

/** A whole input: bytes get a form that JSON can say, and what might be taken for it is wrapped (W2). */
export function wireValue(value: unknown): unknown {
  if (value instanceof Uint8Array) return { [BYTES]: base64Of(value) };
  if (typeof value !== "object" || value === null) return value;
  return BYTES in value || "toJSON" in value ? { [BYTES]: [value] } : value;
}

export function valueOfWire(value: unknown): unknown {
  if (typeof value !== "object" || value === null || !(BYTES in value)) return value;
  const given = value[BYTES];
  if (typeof given === "string") return bytesOf(given);
  return Array.isArray(given) && given.length === 1 ? (given[0] as unknown) : UNREADABLE;
}

/** `body`: messages from `encodeMessage`, joined by commas. */
export function decodeMessages(body: string): { readonly messages: readonly PipeMessage[]; readonly garbage: number } {
  let given: unknown;
  try {
    given = JSON.parse(`[${body}]`);
  } catch {
    return { messages: [], garbage: 1 };
  }
  const messages: PipeMessage[] = [];
  let garbage = 0;
  for (const one of given as readonly unknown[]) {
    if (isMessage(one)) messages.push(one);
    else garbage += 1;
  }
  return { messages, garbage };
}

function base64Of(bytes: Uint8Array): string {
  let binary = "";
  for (let at = 0; at < bytes.length; at += SLICE_BYTES)
    binary += String.fromCharCode(...bytes.subarray(at, at + SLICE_BYTES));
  return btoa(binary);
}

function bytesOf(base64: string): unknown {
  let binary: string;
  try {
    binary = atob(base64);
  } catch {
    return UNREADABLE;
  }
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

function isMessage(given: unknown): given is PipeMessage {
  if (!Array.isArray(given) || typeof given[0] !== "string") return false;
  const shape = SHAPES[given[0]];
  if (shape === undefined || given.length !== shape.length + 1) return false;
  for (let at = 0; at < shape.length; at++) if (!(shape[at] as Check)(given[at + 1])) return false;
  if (given[0] === "in") {
    const [values, origins] = [(given[6] as unknown[]).length, (given[8] as unknown[]).length];
    return (given[5] as unknown[]).length === values && (origins === 0 || origins === 2 * values);
  }
  return true;
}

type Check = (value: unknown) => boolean;
const count: Check = (value) => typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
const text: Check = (value) => typeof value === "string" && value.length <= 4_096;
const anything: Check = () => true;
const list: Check = (value) => Array.isArray(value);
const truth: Check = (value) => typeof value === "boolean";
const partition: Check = (value) => typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 4_096;
const partitions: Check = (value) => Array.isArray(value) && value.length <= 65_536 && value.every(partition);
const counts: Check = (value) => Array.isArray(value) && value.every(count);
const traces: Check = (value) =>
  Array.isArray(value) && value.every((one, at) => (at % 2 === 0 ? count(one) : text(one)));
const marks: Check = (value) => Array.isArray(value) && value.every(counts);
const texts: Check = (value) => Array.isArray(value) && value.every(text);
const failures: Check = (value) =>
  Array.isArray(value) &&
  value.length <= 1_000 &&
  value.every((one) => Array.isArray(one) && text(one[0]) && count(one[1]) && text(one[2]) && text(one[3]));
const SHAPES: Readonly<Record<string, readonly Check[]>> = {
  open: [text, text, text, count, count],
  in: [text, count, count, count, partitions, list, anything, counts, traces],
  load: [text, count, count, partition],
  loaded: [text, count, count, partition, count, marks, anything],
  keep: [text, count, count, partition, count, marks, anything, truth],
  kept: [text, count, count],
  release: [text, count, partition],
  archive: [text, count, count, partition, count, anything],
  ack: [text, counts],
  nack: [text, count, count, failures, count],
  cursor: [text, count, anything],
  quiesce: [text, count, count],
  quiet: [text, count, count],
  end: [text, count],
  ended: [text, count, count, failures, count, texts],
  unstartable: [text, count, partition, text],
  fail: [text, text, text],
  close: [text],
  gone: [text, count],
  ping: [text],
  ask: [count, text],
  answer: [count, list],
  trace: [text, truth],
  traced: [text, list],
};
const BYTES = "$taskring.bytes";
/** A call has no more arguments than the stack holds. */
const SLICE_BYTES = 32 * 1024;
