/**
 * Shapes of the public messages as @grpc/proto-loader gives and takes them with the options of `load.ts`.
 *
 * What they mean stands in the `.proto` files. Absent messages are read as null; fields marked optional there are absent.
 */

export type TaskStateName =
  | "TASK_STATE_UNKNOWN"
  | "QUEUED"
  | "DELAYED"
  | "RUNNING"
  | "RETRYING"
  | "DONE"
  | "DEAD"
  | "CANCELLED";

export interface SubmitReply {
  readonly taskId: string;
  readonly partition: number;
  readonly owner: string;
  readonly epoch: number;
  readonly duplicate: boolean;
  readonly state: TaskStateName;
}

export interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly retryAfterMs: number;
}

export interface SubmitResult {
  readonly accepted?: SubmitReply | null;
  readonly refused?: Refusal | null;
}

export interface TaskIdRequest {
  readonly taskId: string;
}

export interface TaskIdsRequest {
  readonly taskIds: readonly string[];
}

export interface WaitRequest {
  readonly taskId: string;
  readonly timeoutMs: number;
}

export interface Task {
  readonly taskId: string;
  readonly app: string;
  readonly type: string;
  readonly key: string;
  readonly state: TaskStateName;
  readonly attempts: number;
  readonly partition: number;
  readonly acceptedAtMs: number;
  readonly dueAtMs?: number;
  readonly endedAtMs?: number;
  readonly error?: { readonly name: string; readonly message: string; readonly stack: string } | null;
  readonly result?: Uint8Array;
  readonly waits: string;
}

export interface ListTasksRequest {
  readonly app: string;
  readonly key: string;
  readonly state: TaskStateName;
  readonly limit: number;
}

export interface ListDeadRequest {
  readonly app: string;
  readonly pageToken: string;
  readonly limit: number;
}

export interface ListTasksReply {
  readonly tasks: readonly Task[];
  readonly nextPageToken: string;
  readonly unreachable: readonly string[];
}

export interface KeyRequest {
  readonly app: string;
  readonly key: string;
}

export interface KeyReply {
  readonly app: string;
  readonly key: string;
  readonly partition: number;
  readonly owner: string;
  readonly paused: boolean;
  readonly queued: number;
  readonly running: boolean;
  readonly head?: Task | null;
  readonly waits: string;
}

export interface Limits {
  readonly queued?: number;
  readonly running?: number;
  readonly perSecond?: number;
  readonly weight?: number;
}

export interface App {
  readonly app: string;
  readonly match: string;
  readonly version: string;
  readonly existence: string;
  readonly paused: boolean;
  readonly limits: Limits | null;
  readonly queued: number;
  readonly running: number;
  readonly dead: number;
  readonly children: number;
  readonly oldestWaitMs: number;
  /** Of `Describe`: members that did not answer; what they hold is not in the sums. */
  readonly unreachable?: readonly string[];
}

export interface ListAppsReply {
  readonly apps: readonly App[];
  readonly unreachable: readonly string[];
}

export interface SetLimitsRequest {
  readonly app: string;
  readonly limits: Limits | null;
}

export interface PartitionStatus {
  readonly partition: number;
  readonly queued: number;
  readonly delayed: number;
  readonly running: number;
  readonly dead: number;
  readonly schedules: number;
  readonly runnable: boolean;
  readonly oldestWaitMs: number;
}

export interface Warning {
  readonly code: string;
  readonly detail: string;
}

export interface NodeStatus {
  readonly name: string;
  readonly version: string;
  readonly state: string;
  readonly epoch: number;
  readonly history: number;
  readonly leaseMs?: number;
  readonly queued: number;
  readonly running: number;
  readonly dead: number;
  readonly children: number;
  readonly partitions: readonly PartitionStatus[];
  readonly stranded: readonly {
    readonly member: string;
    readonly partition: number;
    readonly rows: number;
    readonly where: string;
  }[];
  readonly apps: readonly { readonly match: string; readonly version: string }[];
  readonly warnings: readonly Warning[];
  readonly store: {
    readonly rows: number;
    readonly bytes: number;
    readonly commits: number;
    readonly syncs: number;
    readonly quarantined: number;
    readonly broken: string;
  } | null;
  readonly adopting: readonly string[];
}

export interface StatusReply {
  readonly nodes: readonly NodeStatus[];
  readonly unreachable: readonly { readonly node: string; readonly code: string; readonly message: string }[];
}

export interface HoldingsReply {
  readonly holdings: readonly Holding[];
  readonly usedBytes: number;
  readonly limitBytes: number;
  readonly logBytes: number;
  readonly logShortened: boolean;
  readonly sinceMs: number;
}

export interface Holding {
  readonly family: string;
  readonly app: string;
  readonly rows: number;
  readonly bytes: number;
  readonly partitions: number;
  readonly bound: string;
  readonly grownRows: number;
  readonly grownBytes: number;
}

export interface Member {
  readonly name: string;
  readonly status: string;
  readonly alive: string;
  readonly weight: number;
  readonly zone: string;
  readonly voter: boolean;
  readonly partitions: number;
  readonly grpcAddress: string;
  readonly httpAddress: string;
  readonly machine: string;
  readonly gossipAddress: string;
  readonly incarnation: number;
  readonly health: string;
  readonly unwell: boolean;
  readonly tags: Readonly<Record<string, string>>;
}

export interface MembersReply {
  readonly members: readonly Member[];
  readonly epoch: number;
  readonly viewChecksum: string;
  readonly ringChecksum: string;
}

export interface KeysRequest {
  readonly action: string;
  readonly key: string;
}

export interface GossipKey {
  readonly fingerprint: string;
  readonly bits: number;
  readonly primary: boolean;
}

export interface KeysReply {
  readonly node: string;
  readonly keys: readonly GossipKey[];
}

export interface RingReply {
  readonly ringId: string;
  readonly history: number;
  readonly epoch: number;
  readonly ringSize: number;
  readonly nodes: readonly { readonly name: string; readonly grpcAddress: string }[];
  readonly owners: readonly number[];
  readonly next: readonly number[];
  readonly generations: readonly number[];
  readonly voters: readonly string[];
}

export interface LocateReply {
  readonly partition: number;
  readonly owner: string;
  readonly nextOwner: string;
  readonly preflist: readonly string[];
  readonly epoch: number;
  readonly grpcAddress: string;
}

export interface StageRequest {
  readonly join?: { readonly name: string; readonly weight?: number; readonly zone?: string } | null;
  readonly leave?: string;
  readonly replace?: { readonly name: string; readonly by: string } | null;
  readonly forceRemove?: string;
  readonly down?: string;
  readonly setWeight?: { readonly name: string; readonly weight: number } | null;
  readonly setZone?: { readonly name: string; readonly zone: string } | null;
}

export interface StagedReply {
  readonly staged: readonly string[];
}

export interface PlanReply {
  readonly planId: string;
  readonly epoch: number;
  readonly ringSize: number;
  readonly staged: readonly string[];
  readonly steps: readonly { readonly type: string; readonly text: string }[];
  readonly members: readonly {
    readonly name: string;
    readonly statusBefore: string;
    readonly statusAfter: string;
    readonly weight: number;
    readonly zone: string;
    readonly partitionsBefore: number;
    readonly partitionsAfter: number;
  }[];
  readonly moves: readonly {
    readonly partition: number;
    readonly from: string;
    readonly to: string;
    readonly type: string;
    readonly tasks?: number;
  }[];
  readonly cancelled: readonly number[];
  readonly voters: readonly string[];
  readonly voterTarget: number;
  readonly warnings: readonly Warning[];
  readonly tasksToMove: number;
  readonly bytesToMove: number;
}

export interface CommitReply {
  readonly epoch: number;
}

export interface TransfersReply {
  readonly transfers: readonly {
    readonly partition: number;
    readonly kind: string;
    readonly from: string;
    readonly to: string;
    readonly phase: string;
    readonly reason: string;
    readonly rows: number;
    readonly bytes: number;
    readonly sinceMs: number;
  }[];
  readonly limit: number;
  readonly paused: boolean;
  readonly unreachable: readonly string[];
}

export interface TransferLimitRequest {
  readonly limit?: number;
  readonly paused?: boolean;
  readonly force?: number;
}

export interface ClusterEvent {
  readonly atMs: number;
  readonly type: string;
  readonly detail: string;
  readonly node: string;
}

/** By number, as in `TaskState` of tasks.proto. */
export const TASK_STATES: readonly TaskStateName[] = [
  "TASK_STATE_UNKNOWN",
  "QUEUED",
  "DELAYED",
  "RUNNING",
  "RETRYING",
  "DONE",
  "DEAD",
  "CANCELLED",
];
