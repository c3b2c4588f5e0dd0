/**
 * The one shape of every protocol here: a synchronous state machine that is told the time and returns the effects it wants.
 *
 * Boundary: nothing in `ring/` reads a clock, a random source, a file or a socket; `ring/io/` performs effects and
 * feeds their outcomes back as events, and the simulator does the same in virtual time.
 */

/** Milliseconds on the node's own monotonic clock. Comparable only within one process. */
export type Instant = number;

/** A protocol as a synchronous state machine. `step` never throws on a peer's bad message. */
export interface Machine<Event, Effect> {
  step(now: Instant, event: Event): readonly Effect[];
  /** When to be woken (with a `tick`) if nothing happens first. */
  nextDeadline(): Instant | undefined;
}

/** Uniform in [0, 1). The driver passes the system's, the simulator one that its seed decides. */
export type Random = () => number;
