/**
 * What a handler throws to say more than "failed". Both are recognised by their fields, not by class, so that they work
 * across two copies of this package; any error with `permanent: true` or `retryAfterMs` counts.
 */

/** Trying again cannot help: the task becomes a dead letter at once. */
export class PermanentError extends Error {
  readonly permanent = true as const;

  constructor(message: string, options: { readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "PermanentError";
  }
}

/** Failed now; the next attempt comes after this delay instead of the back-off. It counts as an attempt. */
export class RetryLater extends Error {
  readonly retryAfterMs: number;

  constructor(retryAfterMs: number, message?: string) {
    super(message ?? `try again in ${retryAfterMs} ms`);
    this.name = "RetryLater";
    this.retryAfterMs = retryAfterMs;
  }
}
