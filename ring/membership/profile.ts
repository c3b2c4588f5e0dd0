/**
 * The numbers of the protocol, per kind of network. From memberlist's defaults, but for what is said at each.
 */

export interface SwimProfile {
  /** How long a probe may take, all ways tried; also the unit of the suspicion timeout. */
  readonly probeIntervalMs: number;
  /** One member is probed this often. In memberlist that is the same number. */
  readonly probeEveryMs: number;
  /** How long a direct ping may take before others are asked. Not scaled by local health. */
  readonly probeTimeoutMs: number;
  /** How many others are asked to ping a member that does not answer. */
  readonly indirectChecks: number;
  readonly suspicionMultiplier: number;
  /** The longest suspicion is this many times the shortest. */
  readonly suspicionMaxMultiplier: number;
  /** The time to refute for a member whose machine says that nothing listens at its port. */
  readonly refusedSuspicionMs: number;
  /** Before a suspect is declared dead it is told so directly, and has this long to answer. */
  readonly lastLookMs: number;
  /** A rumour is sent this many times ceil(log10(n + 1)). */
  readonly retransmitMultiplier: number;
  readonly gossipIntervalMs: number;
  /** Members told per interval. */
  readonly gossipNodes: number;
  /** A dead member is still told things for this long, so that it can refute. */
  readonly gossipToTheDeadMs: number;
  /** Up to 32 members; longer in larger rings. */
  readonly pushPullIntervalMs: number;
  /** How often one dead member is tried, so that a healed partition merges. Memberlist leaves this to serf. */
  readonly reconnectIntervalMs: number;
  readonly streamTimeoutMs: number;
  /** How long a member must be dead before its name may come back at another address. */
  readonly reclaimAfterMs: number;
  /** Dead and left members that are not to be kept are remembered for this long. */
  readonly forgetAfterMs: number;
  /** Local health scores go from 0 (well) to one less than this. */
  readonly healthLevels: number;
  /** A wake-up this late means that this process stood still, not that others did. */
  readonly stallMs: number;
  /** After a leave is spread, pings are still answered for this long. */
  readonly leavePropagateMs: number;
  /** A leave that could not be spread by then is given up. */
  readonly leaveTimeoutMs: number;
  readonly packetByteLimit: number;
}

/** Push/pull every 5 s instead of 30: with 30 a restarted member stayed dead in some views. */
const lan: SwimProfile = {
  probeIntervalMs: 1_000,
  probeEveryMs: 1_000,
  probeTimeoutMs: 500,
  indirectChecks: 3,
  suspicionMultiplier: 4,
  suspicionMaxMultiplier: 6,
  refusedSuspicionMs: 2_000,
  lastLookMs: 100,
  retransmitMultiplier: 4,
  gossipIntervalMs: 200,
  gossipNodes: 3,
  gossipToTheDeadMs: 30_000,
  pushPullIntervalMs: 5_000,
  reconnectIntervalMs: 10_000,
  streamTimeoutMs: 10_000,
  reclaimAfterMs: 0,
  forgetAfterMs: 24 * 3_600_000,
  healthLevels: 8,
  stallMs: 250,
  leavePropagateMs: 1_000,
  leaveTimeoutMs: 5_000,
  packetByteLimit: 1_400,
};

const wan: SwimProfile = {
  ...lan,
  probeIntervalMs: 5_000,
  probeEveryMs: 5_000,
  probeTimeoutMs: 3_000,
  suspicionMultiplier: 6,
  refusedSuspicionMs: 10_000,
  lastLookMs: 500,
  gossipIntervalMs: 500,
  gossipNodes: 4,
  gossipToTheDeadMs: 60_000,
  pushPullIntervalMs: 60_000,
  reconnectIntervalMs: 30_000,
  streamTimeoutMs: 30_000,
  stallMs: 1_000,
};

/**
 * One machine, or a quiet rack: a killed process is known to all within about a second. A process that stands still for
 * half a second is not taken for dead: only a machine's word that nothing listens makes a suspicion short.
 */
const fast: SwimProfile = {
  ...lan,
  probeIntervalMs: 250,
  probeEveryMs: 100,
  probeTimeoutMs: 120,
  suspicionMultiplier: 6,
  refusedSuspicionMs: 400,
  lastLookMs: 50,
  retransmitMultiplier: 6,
  gossipIntervalMs: 60,
  stallMs: 60,
  gossipToTheDeadMs: 15_000,
  reconnectIntervalMs: 5_000,
  leavePropagateMs: 300,
  leaveTimeoutMs: 2_000,
};

export const PROFILES: { readonly lan: SwimProfile; readonly wan: SwimProfile; readonly fast: SwimProfile } = {
  lan,
  wan,
  fast,
};
