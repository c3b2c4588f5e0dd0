/** What a node is made of: by the host on real sockets and disks, by the simulator in virtual time. */

import type { Member } from "../document.ts";
import type { Random } from "../machine.ts";
import type { Swim } from "../membership/swim.ts";
import type { RegisterState } from "../register/messages.ts";
import type { TaskEngineContract } from "../tasks/engine-contract.ts";
import type { AppSource } from "./app-source.ts";
import type { Copy } from "./effects.ts";

export interface NodeOptions {
  /** What this node's member record is, or would be. */
  readonly member: Omit<Member, "status">;
  readonly version: string;
  readonly swim: Swim;
  /** From the register file; a founder's holds the founding document. */
  readonly register: RegisterState;
  /** What the own directory holds. */
  readonly copies: readonly Copy[];
  readonly engine: TaskEngineContract;
  readonly apps: AppSource;
  readonly random: Random;
  readonly leaseMs: number;
  /** Every node sees the same rows. */
  readonly sharedStore?: boolean;
  /** An earlier process gave everything up for this epoch (`store-lease.ts`). */
  readonly givenFor?: number;
  /** Stage and commit the own join without an operator. */
  readonly autoJoin: boolean;
  /** Rows of one message of a transfer, at most. Default 250. */
  readonly chunkRows?: number;
}
