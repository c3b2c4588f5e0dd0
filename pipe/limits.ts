/** Limits of pipelines, each with its unit and the reason for its value. */

/** Inputs that wait in one worker's queue; riak_pipe's value. A fitting may choose 1 to 4,096. */
export const QUEUE_LIMIT_DEFAULT = 64;
export const QUEUE_LIMIT_MOST = 4_096;
/** Inputs that a worker may have sent to itself and not yet begun: recursion never waits, so it must be bounded. */
export const OVERFLOW_LIMIT = 10_000;
/** Calls of one worker at once. */
export const CONCURRENCY_MOST = 1_024;
export const FITTINGS_MOST = 64;
export const RETRIES_MOST = 1_000;
/** Inputs of one fitting that a node has sent to one peer and that are not acknowledged: what may be sent twice. */
export const WINDOW_INPUTS = 4_096;
/** Of the messages that hold these inputs: a few large inputs fill the links' buffers as many small ones do. */
export const WINDOW_CHARACTERS: number = 16 * 1024 * 1024;
/** Frames that one peer has not confirmed, of all runs, beyond which a fitting has no more than one message with it. */
export const KEPT_BYTES: number = 64 * 1024 * 1024;
/** Inputs of one message between nodes. */
export const MESSAGE_INPUTS = 256;
/**
 * Outputs that one call has made and that have no end yet: a generator is asked for no more before half of them have one. What is on
 * its way is to be a small part of what V8's young generation takes between two scavenges, or it is promoted and fills the old one.
 * With peers the way is longer.
 */
export const CALL_OUTPUTS = 512;
export const CALL_OUTPUTS_WITH_PEERS = 4_096;
/** Outputs that wait for a reader of the results. */
export const SINK_LIMIT = 1_024;
/** Sends of one run that wait for room at once; each is one promise. */
export const SENDERS_MOST = 10_000;
/** Failures of a run that are kept with their text; beyond, they are counted. */
export const FAILURES_KEPT = 100;
/** Characters of an input or an error that a report shows. */
export const SHOWN_CHARACTERS = 200;
/** Checkpoints of one call that are not acknowledged; the call waits for the oldest. */
export const SEGMENTS_MOST = 16;
/** Of a cursor, as JSON: it is kept, and travels, with its input. */
export const CURSOR_CHARACTERS: number = 64 * 1024;
/** Spans below one, on each node: a fan-out of a sampled input has no million of them. */
export const SPANS_BELOW = 100;
/** Of the inputs of a run whose own context is sampled, unless it says otherwise. */
export const SPAN_RATIO_DEFAULT = 0.001;
/** Runs of one node at once. */
export const RUNS_MOST = 1_000;
/** Ended runs whose late messages are recognised. */
export const ENDED_KEPT = 10_000;
/** Bytes (UTF-8) of one message between nodes; the peer stream takes 4 MiB. */
export const MESSAGE_BYTES: number = 3 * 1024 * 1024;
/** Inputs after which a fitting may have its state stored, and how soon after the first of them it is in any case. */
export const CHECKPOINT_EVERY_MOST = 100_000;
export const KEEP_AFTER_MS = 20;
export const RETRY_FIRST_MS = 100;
export const RETRY_MOST_MS = 10_000;
