/**
 * The last moments of a partition at its old owner: from when submits wait until the ring has decided who goes on.
 *
 * X1  In this order: submits parked and starts held; attempts ended; the remainder on its way to both disks at once, and
 *     with it, on this one, the seal; when the receiver has all of it, count and hash equal, and the seal is synced here:
 *     consent (ownership rules 13, 14).
 * X2  From consent until the document of that epoch is known the partition stays parked: neither resumed nor dropped.
 * X3  A seal without a consent binds nobody but this directory: a cut-over that breaks off takes it back.
 * X4  A seal whose epoch decided something else is void: the next one is made at once, also while the receiver still writes.
 * X6  Partitions that are about to be ready wait for each other for a moment: who comes too late for an epoch waits for two.
 * X5  In an epoch that this node did not see the ring may have given the transfer up and planned it again, and the receiver has
 *     then dropped its copy: after such a gap it is asked once more whether it has all of it.
 */

import type { Epoch } from "../ids.ts";
import type { RowChanges } from "../store.ts";
import type { TaskEngineContract } from "../tasks/engine-contract.ts";
import type { Commits } from "./commits.ts";
import type { Here } from "./here.ts";
import type { Hosting } from "./hosting.ts";
import type { OutgoingHooks } from "./outgoing.ts";
import { sealChange, unsealChange } from "./rows.ts";
import { backlogFits, type Transfer } from "./transfer.ts";

export interface CutOverParts {
  readonly engine: TaskEngineContract;
  readonly hosting: Hosting;
  readonly commits: Commits;
  readonly hooks: Pick<OutgoingHooks, "consent">;
  /** What waits to be sent of the transfer, and then that this was all. */
  sendLast(transfer: Transfer): void;
  /** Under way from this node. */
  all(): Iterable<Transfer>;
  /** The transfer is still the one under way of its partition. */
  isCurrent(transfer: Transfer): boolean;
}

export class CutOver {
  readonly #here: Here;
  readonly #parts: CutOverParts;

  constructor(here: Here, parts: CutOverParts) {
    this.#here = here;
    this.#parts = parts;
  }

  begin(transfer: Transfer): void {
    transfer.phase = "cut-over";
    transfer.cut = "draining";
    transfer.parkedAt = this.#here.now;
    this.#parts.hosting.park(transfer.id.partition, true);
  }

  /** X1, one step after another; called again whenever something it waits for may have happened. */
  advance(transfer: Transfer): void {
    if (transfer.cut === "draining" && this.#isDrained(transfer)) {
      transfer.cut = "flushing";
      transfer.retryAt = undefined;
      transfer.reason = "writing the remainder";
      this.#seal(transfer);
    } else if (transfer.cut === "flushing" && transfer.left) this.#sendRest(transfer);
    else if (transfer.cut === "last-sent") {
      if (!transfer.whole) transfer.reason = "waiting until the receiver has it on disk";
      else if (!transfer.sealed) transfer.reason = `sealing for epoch ${transfer.sealedFor}`;
      else if (!this.#awaitsOthers(transfer)) this.#consentAll();
    } else if (transfer.cut === "consented" && transfer.retryAt === undefined) this.#consent(transfer, true);
  }

  /** These changes of the partition go to this node's disk now, and nothing comes after them. */
  leaving(transfer: Transfer, changes: RowChanges): void {
    if (transfer.cut !== "flushing") return;
    transfer.sentAhead = changes;
    if (!transfer.left) transfer.lastProgress = this.#here.now;
    transfer.left = true;
    this.#sendRest(transfer);
  }

  /** X4. `gap`: what some epochs before this one decided is not known here. */
  follow(transfer: Transfer, epoch: Epoch, gap: boolean): void {
    if (gap && (transfer.cut === "last-sent" || transfer.cut === "consented")) {
      transfer.whole = false; // X5
      this.#parts.sendLast(transfer);
    }
    if (transfer.sealedFor === 0 || epoch < transfer.sealedFor) return;
    if (transfer.cut === "consented") transfer.cut = "last-sent";
    this.#seal(transfer);
  }

  /** The partition goes on here, and the ring has not been told anything else (X2). */
  breakOff(transfer: Transfer): void {
    if (transfer.cut === "no") return;
    const { hosting, commits } = this.#parts;
    if (transfer.sealedFor > 0) commits.add(transfer.id.partition, unsealChange()); // X3
    hosting.park(transfer.id.partition, false);
  }

  /** X6 */
  #awaitsOthers(transfer: Transfer): boolean {
    transfer.readyAt ??= this.#here.now;
    const by = transfer.readyAt + GATHER_MS;
    if (this.#here.now >= by) return false;
    if (![...this.#parts.all()].some((other) => isLeaving(other) && !isReady(other))) return false;
    transfer.retryAt = by;
    transfer.reason = "waiting for others to consent with";
    return true;
  }

  #consentAll(): void {
    for (const transfer of this.#parts.all()) {
      if (!isReady(transfer)) continue;
      transfer.cut = "consented";
      this.#consent(transfer, false);
    }
  }

  #isDrained(transfer: Transfer): boolean {
    const running = this.#parts.engine.inFlight(transfer.id.partition);
    if (running.length === 0 || transfer.forced) return true;
    const oldest = running.reduce((a, b) => (a.sinceMs < b.sinceMs ? a : b));
    const stuck = this.#here.now - oldest.sinceMs > HANDLER_GRACE_MS;
    transfer.reason = stuck
      ? `HANDLER_STUCK: ${oldest.app} ${oldest.taskType} does not return`
      : `waiting for ${running.length} handlers`;
    transfer.retryAt = this.#here.now + 1_000;
    return false;
  }

  /** At once, unless it is so much that it goes as the receiver takes it. */
  #sendRest(transfer: Transfer): void {
    if (backlogFits(transfer)) this.#parts.sendLast(transfer);
  }

  #seal(transfer: Transfer): void {
    const { commits, isCurrent } = this.#parts;
    const epoch = this.#here.document!.epoch + 1;
    transfer.sealedFor = epoch;
    transfer.sealed = false;
    transfer.readyAt = undefined;
    commits.add(transfer.id.partition, sealChange(epoch));
    commits.whenSynced(() => {
      if (!isCurrent(transfer) || transfer.sealedFor !== epoch) return;
      transfer.sealed = true;
      this.advance(transfer);
    });
  }

  #consent(transfer: Transfer, insist: boolean): void {
    transfer.reason = `waiting for epoch ${transfer.sealedFor}`;
    transfer.retryAt = this.#here.now + CONSENT_RETRY_MS;
    this.#parts.hooks.consent(transfer.sealedFor as Epoch, transfer.id.partition, transfer.to, insist);
  }
}

/** Its attempts have ended: what is left takes some syncs. */
function isLeaving({ stranded, cut }: Transfer): boolean {
  return stranded === undefined && (cut === "flushing" || cut === "last-sent");
}

function isReady(transfer: Transfer): boolean {
  return isLeaving(transfer) && transfer.whole && transfer.sealed;
}

/** X6: less than a decision takes on a busy machine. */
const GATHER_MS = 40;
const HANDLER_GRACE_MS = 25_000;
const CONSENT_RETRY_MS = 500;
