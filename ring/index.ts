/** `taskring/ring`: the pure core, for those who embed it or compute owners themselves. No clock, no I/O. */

export { type ClaimRequest, claim, quotas } from "./claim.ts";
export type { Member, MemberStatus, RingDocument, StagedChange, Stranded } from "./document.ts";
export { decodeDocument, type EncodedDocument, encodeDocument } from "./document-codec.ts";
export { ERRORS, type ErrorCode, RingError } from "./errors.ts";
export { type Founding, foundRing } from "./founding.ts";
export { hashKey, type KeyAddress, murmur3, partitionOf, partitionOfHash } from "./hash.ts";
export type { AppName, Brand, Epoch, MemberId, NodeName, Partition, RingId } from "./ids.ts";
export { isAppName, parseAppName, parseNodeName } from "./ids.ts";
export type { Instant, Machine, Random } from "./machine.ts";
export { PROFILES, type SwimProfile } from "./membership/profile.ts";
export { Swim, type SwimOptions } from "./membership/swim.ts";
export type { NodeEffect, NodeEvent } from "./node/effects.ts";
export { NodeMachine } from "./node/node.ts";
export type { NodeOptions } from "./node/node-options.ts";
export { commitPlan, type Plan, planOf } from "./plan.ts";
export { preferenceOf, preferenceTable } from "./preference.ts";
export { preflist } from "./preflist.ts";
export type { RegisterEffect, RegisterEvent, RegisterOptions } from "./register/events.ts";
export { Register } from "./register/register.ts";
export { clearStaged, stageChange } from "./staging.ts";
export type { CommitResult, PageRequest, Row, RowChange, RowGroup, RowPage, TaskStore, Term } from "./store.ts";
export { checkSuccessor } from "./successor.ts";
export { TaskEngine, type TaskEngineOptions } from "./tasks/engine.ts";
