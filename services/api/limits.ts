/** The limits of the gRPC edge, each with its unit and the reason for its default. */

import { MESSAGE_BYTES_MOST } from "../../proto/submit-stream.ts";

export interface ApiLimits {
  /** Largest message: batches of 4 MiB and their framing. */
  readonly messageBytes: number;
  /** Tasks without an outcome on one SubmitStream. A larger window buys only latency. */
  readonly creditTasks: number;
  /** Bytes of the same. */
  readonly creditBytes: number;
  /** Waits without an answer on one SubmitStream: a result has up to 64 KiB, and a client may read slowly. */
  readonly creditWaits: number;
  /** Tasks in one frame of SubmitStream. */
  readonly frameTasks: number;
  /** Tasks that all SubmitStreams take in before the event loop goes round (intake.ts), and a frame of each that comes after. */
  readonly turnTasks: number;
  /** Tasks in one SubmitBatch. */
  readonly batchTasks: number;
  /** Streams at once on one connection. */
  readonly streamsPerConnection: number;
  /** Of a connection, and of each of its streams: what may be sent ahead of what is read, at least HTTP/2's 65,535 (`proto/window.ts`). */
  readonly windowBytes: number;
  /** Connections at once; further ones are closed at once. Far below the usual limit of open files. */
  readonly connections: number;
  /** From its beginning to the end of its preface; who is later is cut off. */
  readonly prefaceMs: number;
  /** Idle HTTP/2 pings: a black-holed peer is noticed after the sum of both (reliability rule 12). */
  readonly keepaliveMs: number;
  readonly keepaliveTimeoutMs: number;
  /** A connection is asked to close (GOAWAY) after this time, so that clients spread again; 0 for never. */
  readonly connectionAgeMs: number;
  /** How long a connection that was asked to close may take for what runs on it. */
  readonly connectionGraceMs: number;
  /** Deadline of what the node is asked on behalf of a call that has none. */
  readonly askMs: number;
  /** Longest Wait. */
  readonly waitMs: number;
  /** Events that wait for a slow reader of Watch or Events, before its stream ends with RESOURCE_EXHAUSTED. */
  readonly eventQueue: number;
  /** Retry delay told by a draining node: long enough for a client to find another. */
  readonly drainRetryMs: number;
}

export const API_LIMITS: ApiLimits = {
  messageBytes: MESSAGE_BYTES_MOST,
  creditTasks: 4_096,
  creditBytes: 4 * 1024 * 1024,
  creditWaits: 256,
  frameTasks: 1_024,
  turnTasks: 480,
  batchTasks: 1_000,
  streamsPerConnection: 256,
  windowBytes: 256 * 1024,
  connections: 4_096,
  prefaceMs: 3_000,
  keepaliveMs: 10_000,
  keepaliveTimeoutMs: 5_000,
  connectionAgeMs: 0,
  connectionGraceMs: 30_000,
  askMs: 10_000,
  waitMs: 600_000,
  eventQueue: 1_000,
  drainRetryMs: 250,
};

/** With a store that answers from afar larger bursts make it no faster: 5 to 9 % slower, measured. */
export const SHARED_STORE_LIMITS: Pick<ApiLimits, "windowBytes"> = { windowBytes: 65_535 };
