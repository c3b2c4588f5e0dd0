/**
 * The one catalogue of operating errors. A code is part of the public contract: its gRPC status, whether a retry of the
 * same call can succeed, and what an operator should do. Broken invariants are not here: they `assert` and stop the node.
 */

/** gRPC status names, so that this pure file needs no gRPC package. */
type Status =
  | "INVALID_ARGUMENT"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "PERMISSION_DENIED"
  | "UNAUTHENTICATED"
  | "RESOURCE_EXHAUSTED"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "UNAVAILABLE"
  | "DEADLINE_EXCEEDED"
  | "CANCELLED"
  | "INTERNAL"
  | "UNIMPLEMENTED";

export interface ErrorKind {
  readonly status: Status;
  /** The same call may succeed later without a change by the caller. */
  readonly retryable: boolean;
  readonly hint: string;
}

export type ErrorCode =
  | "APP_UNKNOWN"
  | "TASK_TYPE_UNKNOWN"
  | "APP_NAME_INVALID"
  | "INVALID_ARGUMENT"
  | "PAYLOAD_TOO_LARGE"
  | "QUEUE_FULL"
  | "RATE_LIMITED"
  | "NOT_OWNER"
  | "NO_OWNER"
  | "NO_LEASE"
  | "APP_NOT_HERE"
  | "WRONG_RING"
  | "NO_FAILOVER"
  | "STATE_AWAY"
  | "STATE_LOST"
  | "HANDLER_STUCK"
  | "RING_BUSY"
  | "PLAN_CHANGED"
  | "NOT_VOTER"
  | "STORE_BROKEN"
  | "DRAINING"
  | "UNAUTHENTICATED"
  | "FORBIDDEN"
  | "TASK_NOT_FOUND"
  | "NOT_FOUND"
  | "MEMBER_UNKNOWN"
  | "PIPELINE_UNKNOWN"
  | "PIPELINE_INVALID"
  | "RUN_FAILED"
  | "DEADLINE"
  | "CANCELLED"
  | "UNIMPLEMENTED"
  | "INTERNAL";

export const ERRORS: Readonly<Record<ErrorCode, ErrorKind>> = {
  APP_UNKNOWN: {
    status: "NOT_FOUND",
    retryable: false,
    hint: "no loaded app or template matches this name; see `ringctl app list`",
  },
  TASK_TYPE_UNKNOWN: { status: "NOT_FOUND", retryable: false, hint: "the app defines no task of this type" },
  APP_NAME_INVALID: {
    status: "INVALID_ARGUMENT",
    retryable: false,
    hint: "app names match ^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
  },
  INVALID_ARGUMENT: { status: "INVALID_ARGUMENT", retryable: false, hint: "correct the named field" },
  PAYLOAD_TOO_LARGE: {
    status: "INVALID_ARGUMENT",
    retryable: false,
    hint: "store large data elsewhere and submit its address",
  },
  QUEUE_FULL: {
    status: "RESOURCE_EXHAUSTED",
    retryable: true,
    hint: "the app's or the node's queue limit is reached; retry after the given delay",
  },
  RATE_LIMITED: {
    status: "RESOURCE_EXHAUSTED",
    retryable: true,
    hint: "this is asked for too often, or by too many at once; retry after the given delay",
  },
  NOT_OWNER: { status: "ABORTED", retryable: true, hint: "the ring changed; fetch the ring and send to the owner" },
  NO_OWNER: {
    status: "UNAVAILABLE",
    retryable: true,
    hint: "the owner is unreachable; another takes over when its lease has run out",
  },
  NO_LEASE: { status: "UNAVAILABLE", retryable: true, hint: "the node cannot reach a majority of voters" },
  APP_NOT_HERE: {
    status: "FAILED_PRECONDITION",
    retryable: true,
    hint: "the owner has not loaded this app; see `ringctl doctor`",
  },
  WRONG_RING: {
    status: "FAILED_PRECONDITION",
    retryable: false,
    hint: "the other side belongs to another ring; check --join and --data",
  },
  NO_FAILOVER: {
    status: "FAILED_PRECONDITION",
    retryable: false,
    hint: "the loss of one member would stop the ring; add members",
  },
  STATE_AWAY: { status: "UNAVAILABLE", retryable: true, hint: "the key's state is on a machine that is away" },
  STATE_LOST: { status: "INTERNAL", retryable: false, hint: "absorbed state was lost; run the pipeline again" },
  HANDLER_STUCK: {
    status: "FAILED_PRECONDITION",
    retryable: true,
    hint: "a handler does not return; `ringctl transfers force P` overrides it",
  },
  RING_BUSY: { status: "ABORTED", retryable: true, hint: "another ring change is being decided" },
  PLAN_CHANGED: {
    status: "ABORTED",
    retryable: false,
    hint: "the plan is not the one that was shown; run `ringctl plan` again",
  },
  NOT_VOTER: { status: "FAILED_PRECONDITION", retryable: true, hint: "this node does not vote; ask a voter" },
  STORE_BROKEN: {
    status: "UNAVAILABLE",
    retryable: false,
    hint: "a write to disk failed, or Redis refuses it or has lost what it held; see the log, mend the store, then restart the node",
  },
  DRAINING: { status: "UNAVAILABLE", retryable: true, hint: "the node is stopping; send to another" },
  UNAUTHENTICATED: { status: "UNAUTHENTICATED", retryable: false, hint: "send a valid token" },
  FORBIDDEN: { status: "PERMISSION_DENIED", retryable: false, hint: "the token does not allow this" },
  TASK_NOT_FOUND: { status: "NOT_FOUND", retryable: false, hint: "no such task, or its result is no longer kept" },
  NOT_FOUND: { status: "NOT_FOUND", retryable: false, hint: "no such thing; check the name" },
  MEMBER_UNKNOWN: { status: "NOT_FOUND", retryable: false, hint: "no such member; see `ringctl members`" },
  PIPELINE_UNKNOWN: { status: "NOT_FOUND", retryable: false, hint: "no loaded app defines this pipeline" },
  PIPELINE_INVALID: { status: "INVALID_ARGUMENT", retryable: false, hint: "correct the named field of the pipeline" },
  RUN_FAILED: { status: "ABORTED", retryable: false, hint: "see the run's report" },
  DEADLINE: { status: "DEADLINE_EXCEEDED", retryable: true, hint: "the deadline passed first" },
  CANCELLED: { status: "CANCELLED", retryable: false, hint: "cancelled by the caller" },
  UNIMPLEMENTED: { status: "UNIMPLEMENTED", retryable: false, hint: "this version does not do that" },
  INTERNAL: { status: "INTERNAL", retryable: false, hint: "a bug; please report it with the node's log" },
};

/** The one error class of the package. */
export class RingError extends Error {
  readonly code: ErrorCode;
  /** When to try again, in ms, where the thrower knows. */
  readonly retryAfterMs: number | undefined;
  /** Of a submit that was refused or has no outcome: submitted again with this id, the task runs once. */
  readonly taskId: string | undefined;

  constructor(
    code: ErrorCode,
    detail: string,
    options: { readonly cause?: unknown; readonly retryAfterMs?: number; readonly taskId?: string } = {},
  ) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "RingError";
    this.code = code;
    this.retryAfterMs = options.retryAfterMs;
    this.taskId = options.taskId;
  }
}

export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(ERRORS, text);
}
