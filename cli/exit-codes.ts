/**
 * Exit codes, part of the public contract, and the errors that lead to them.
 *
 * Whatever goes wrong ends as one `CliError`: a code, one sentence, a hint, whether the same command may succeed later.
 */

import { ERRORS, type ErrorCode, isErrorCode, RingError } from "../ring/errors.ts";

export type ExitCode = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 130;

/** An error ready to be shown. */
export class CliError extends Error {
  /** A code of the catalogue, or one of this program: `USAGE UNREACHABLE PORT_TAKEN CONFIRMATION_MISSING UNHEALTHY PARTLY`. */
  readonly code: string;
  readonly hint: string;
  readonly retryable: boolean;
  readonly exit: ExitCode;

  constructor(
    code: string,
    message: string,
    options: {
      readonly exit: ExitCode;
      readonly hint?: string;
      readonly retryable?: boolean;
      readonly cause?: unknown;
    },
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "CliError";
    this.code = code;
    this.hint = options.hint ?? "";
    this.retryable = options.retryable ?? false;
    this.exit = options.exit;
  }
}

export function usage(message: string, hint?: string): CliError {
  return new CliError("USAGE", message, { exit: EXIT.usage, ...(hint === undefined ? {} : { hint }) });
}

/** Whatever was thrown, as what is shown. An error that nobody foresaw is INTERNAL. */
export function cliErrorOf(error: unknown): CliError {
  if (error instanceof CliError) return error;
  if (error instanceof RingError) {
    const shown = delayed(fromCode(error.code, error.message, error), error.retryAfterMs);
    if (error.taskId === undefined || !UNSURE.has(error.code)) return shown;
    const { code, message, exit, retryable } = shown;
    const hint = `the task may have been accepted: submit it again with --id ${error.taskId}, and it runs once`;
    return new CliError(code, message, { exit, hint, retryable, cause: error });
  }
  const message = error instanceof Error ? error.message : String(error);
  return fromCode("INTERNAL", message, error);
}

/** The delay that the node gave is in the hint. */
function delayed(error: CliError, retryAfterMs: number | undefined): CliError {
  if (retryAfterMs === undefined) return error;
  const { code, message, exit, retryable, cause } = error;
  const hint = error.hint.replace("the given delay", `${Math.ceil(retryAfterMs)} ms`);
  return new CliError(code, message, { exit, hint, retryable, cause });
}

/** An error that came over the wire with its code. A code of a newer version counts as a failure. */
function fromCode(code: string, message: string, cause?: unknown): CliError {
  const known = isErrorCode(code) ? ERRORS[code] : undefined;
  return new CliError(code, message, {
    exit: isErrorCode(code) ? exitOf(code) : EXIT.failure,
    hint: known?.hint ?? "",
    retryable: known?.retryable ?? false,
    cause,
  });
}

/** After these it is not known whether a submitted task was accepted. */
const UNSURE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["NO_OWNER", "DEADLINE", "CANCELLED"]);

export function exitOf(code: ErrorCode): ExitCode {
  switch (code) {
    case "INVALID_ARGUMENT":
    case "APP_NAME_INVALID":
    case "PAYLOAD_TOO_LARGE":
    case "PIPELINE_INVALID":
      return EXIT.usage;
    case "APP_UNKNOWN":
    case "TASK_TYPE_UNKNOWN":
    case "TASK_NOT_FOUND":
    case "NOT_FOUND":
    case "MEMBER_UNKNOWN":
    case "PIPELINE_UNKNOWN":
      return EXIT.notFound;
    case "DEADLINE":
    case "NO_OWNER":
    case "NO_LEASE":
    case "DRAINING":
    case "STATE_AWAY":
      return EXIT.unreachable;
    case "UNAUTHENTICATED":
    case "FORBIDDEN":
      return EXIT.notAllowed;
    case "PLAN_CHANGED":
    case "RING_BUSY":
    case "NOT_OWNER":
    case "WRONG_RING":
      return EXIT.conflict;
    default:
      return EXIT.failure;
  }
}

export const EXIT: {
  readonly ok: 0;
  readonly failure: 1;
  readonly usage: 2;
  readonly notFound: 3;
  /** Or timed out. */
  readonly unreachable: 4;
  readonly notAllowed: 5;
  /** Or a stale plan. */
  readonly conflict: 6;
  readonly unhealthy: 7;
  readonly partly: 8;
  readonly interrupted: 130;
} = {
  ok: 0,
  failure: 1,
  usage: 2,
  notFound: 3,
  unreachable: 4,
  notAllowed: 5,
  conflict: 6,
  unhealthy: 7,
  partly: 8,
  interrupted: 130,
};
