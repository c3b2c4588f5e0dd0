/**
 * The ring document: one immutable value per epoch that says who is a member, who votes and who owns each partition.
 *
 * Epoch e+1 is one decision of the voters of epoch e (`register/`); nothing else changes the ring.
 * D1  `owners`, `next` and `generations` have `ringSize` entries.
 * D2  A partition's generation rises by one at every change of its owner and never falls.
 * D3  Voters are members; consecutive epochs differ by at most one voter.
 */

import type { Epoch, MemberId, NodeName, Partition, RingId } from "./ids.ts";

/** A member's place in the ring. */
export type MemberStatus = "joining" | "valid" | "leaving" | "exiting" | "down";

export interface Member {
  readonly name: NodeName;
  readonly id: MemberId;
  readonly status: MemberStatus;
  /** Share of partitions relative to others. 0 to 1,000, default 100; 0 owns nothing. */
  readonly weight: number;
  /** It says itself that it does badly: it owns nothing until it has been well for a while (`node/wellness.ts`). */
  readonly unwell?: true;
  /** Failure zone, or absent. */
  readonly zone?: string;
  /** Machine id: members with the same one may adopt each other's directory. */
  readonly machine: string;
  /** Absolute path of its data directory on its machine. */
  readonly directory: string;
}

/** Tasks of a partition that stayed on a member's disk when its owner was changed by force (ownership rule 15). */
export interface Stranded {
  readonly partition: Partition;
  /** Whose directory holds them, and at which generation it owned them. */
  readonly member: NodeName;
  readonly memberId: MemberId;
  readonly generation: number;
  /** That ownership began by force: what a handoff had brought before it, whole or not, is not what its owner had. */
  readonly byForce?: true;
  /** `adopter`: a peer has opened the directory, the new owner waits for the older tasks. `away`: the new owner starts at once. */
  readonly where: { readonly type: "adopter"; readonly adopter: NodeName } | { readonly type: "away" };
}

export type StagedChange =
  | { readonly type: "join"; readonly member: Omit<Member, "status"> }
  | { readonly type: "leave"; readonly name: NodeName }
  | { readonly type: "replace"; readonly name: NodeName; readonly by: NodeName }
  | { readonly type: "force-remove"; readonly name: NodeName }
  | { readonly type: "down"; readonly name: NodeName }
  | { readonly type: "set-weight"; readonly name: NodeName; readonly weight: number }
  | { readonly type: "set-zone"; readonly name: NodeName; readonly zone?: string };

export interface RingDocument {
  readonly version: 1;
  readonly ringId: RingId;
  /** Raised only by `ringctl recover` (ownership rule 6). */
  readonly history: number;
  readonly epoch: Epoch;
  /** A power of two from 8 to 4096. */
  readonly ringSize: number;
  /** Sorted by name. */
  readonly members: readonly Member[];
  /** Sorted by name. */
  readonly voters: readonly NodeName[];
  /** Indexed by partition; absent entries (undefined) only while a ring has no valid member. */
  readonly owners: readonly (NodeName | undefined)[];
  /** Where a transfer takes the partition; undefined for most. */
  readonly next: readonly (NodeName | undefined)[];
  readonly generations: readonly number[];
  readonly stranded: readonly Stranded[];
  /** Newest last, at most 64. */
  readonly staged: readonly StagedChange[];
  /** Ids of the last applied plans, newest last, at most 32, so that a retried commit answers ok. */
  readonly applied: readonly string[];
}
