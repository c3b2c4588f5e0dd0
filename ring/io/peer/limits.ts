/** Limits of the links between nodes, each with its unit and the reason for its default. */

export interface PeerLimits {
  /** Bytes that wait for one peer. */
  readonly queueBytes: number;
  /** Bytes of one frame, about; one message may be larger. */
  readonly frameBytes: number;
  /** Of frames that were handed to the transport and are not sent. */
  readonly aheadBytes: number;
  /** Largest message: below what the API's server takes. */
  readonly messageBytes: number;
  /** First and longest wait between two dials; half of it is random. */
  readonly backoffMs: { readonly first: number; readonly most: number };
  /** How long either side of a new link may take to say hello. */
  readonly helloMs: number;
  /** Pings on an otherwise silent link: a black hole is noticed after the sum (reliability rule 12). */
  readonly keepaliveMs: number;
  readonly keepaliveTimeoutMs: number;
  /** Peers that may be linked to this node at once. */
  readonly incoming: number;
}

export const PEER_LIMITS: PeerLimits = {
  queueBytes: 64 * 1024 * 1024,
  frameBytes: 256 * 1024,
  aheadBytes: 512 * 1024,
  messageBytes: 4 * 1024 * 1024 + 128 * 1024,
  backoffMs: { first: 100, most: 2_000 },
  helloMs: 3_000,
  keepaliveMs: 2_000,
  keepaliveTimeoutMs: 1_000,
  incoming: 1_024,
};
