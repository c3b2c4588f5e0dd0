/**
 * What a handler returned or threw, as the engine takes it.
 *
 * Nothing that user code throws may throw again here: messages, names and stacks are read defensively and cut.
 */

import type { RingError } from "../../ring/errors.ts";
import { MOST_BACKOFF_MS } from "../../ring/tasks/limits.ts";
import { sharedText } from "../../ring/tasks/shared-text.ts";
import type { AttemptEnd, TaskFailure } from "../../ring/tasks/task.ts";
import { encodeValue } from "./value.ts";

export type Outcome = AttemptEnd["outcome"];

export function outcomeOfValue(value: unknown): Outcome {
  if (value === undefined) return DONE;
  let result: Uint8Array | undefined;
  try {
    result = encodeValue(value);
  } catch (error) {
    const { message } = describe(error);
    return permanent({ name: "ResultNotEncodable", message: `the handler's result: ${message}` });
  }
  if (result !== undefined && result.length > RESULT_BYTES) {
    const detail = `the handler's result has ${result.length} bytes, at most ${RESULT_BYTES}; store it elsewhere and return its address`;
    return permanent({ name: "PAYLOAD_TOO_LARGE", message: detail });
  }
  return { type: "done", result };
}

export function outcomeOfError(error: unknown): Outcome {
  const retryAfterMs = retryAfterOf(error);
  return {
    type: "failed",
    error: describe(error),
    permanent: read(error, "permanent") === true,
    ...(noRoom.has(error as object) ? { noRoom: true } : {}),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  };
}

/** The same error; an attempt that ends with it is made again, uncounted. */
export function ofNoRoom(error: RingError): RingError {
  noRoom.add(error);
  return error;
}

/** Name or code, message and first lines of the stack. */
export function describe(error: unknown): TaskFailure {
  const isObject = (typeof error === "object" && error !== null) || typeof error === "function";
  if (!isObject) return { name: "Thrown", message: cut(textOf(error), MESSAGE_CHARACTERS) };
  const code = read(error, "code");
  const name = typeof code === "string" && code !== "" ? code : read(error, "name");
  const message = read(error, "message");
  const stack = read(error, "stack");
  return {
    name: cut(typeof name === "string" && name !== "" ? name : "Error", NAME_CHARACTERS),
    message: cut(typeof message === "string" ? message : textOf(error), MESSAGE_CHARACTERS),
    ...(typeof stack === "string" ? { stack: sharedText(cutBytes(stack, STACK_BYTES)) } : {}),
  };
}

function permanent(error: TaskFailure): Outcome {
  return { type: "failed", error, permanent: true };
}

function retryAfterOf(error: unknown): number | undefined {
  const delay = read(error, "retryAfterMs");
  return typeof delay === "number" && delay >= 0 ? Math.min(Math.round(delay), MOST_BACKOFF_MS) : undefined;
}

/** A field of what was thrown; a getter that throws gives undefined. */
function read(from: unknown, field: string): unknown {
  if ((typeof from !== "object" && typeof from !== "function") || from === null) return undefined;
  try {
    return (from as Readonly<Record<string, unknown>>)[field];
  } catch {
    return undefined;
  }
}

function textOf(value: unknown): string {
  try {
    return String(value);
  } catch {
    return "something that has no text form";
  }
}

function cut(text: string, characters: number): string {
  return sharedText(text.length <= characters ? text : `${text.slice(0, characters - 1)}…`);
}

/** Whole lines, as many as fit. */
function cutBytes(text: string, bytes: number): string {
  if (text.length * 3 <= bytes || Buffer.byteLength(text) <= bytes) return text;
  const fitting = Buffer.from(text.slice(0, bytes), "utf8").subarray(0, bytes).toString("utf8");
  const lastLine = fitting.lastIndexOf("\n");
  return lastLine > 0 ? fitting.slice(0, lastLine) : fitting.slice(0, -1);
}

const noRoom = new WeakSet<object>();
/** Of every handler that returned nothing; shared. */
export const DONE: Outcome = { type: "done", result: undefined };
const RESULT_BYTES = 64 * 1024;
const NAME_CHARACTERS = 100;
const MESSAGE_CHARACTERS = 1_000;
const STACK_BYTES = 4 * 1024;
