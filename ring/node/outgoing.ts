/**
 * Sends partitions away: handoffs of those this node serves, and stranded rows of directories it holds.
 *
 * Phases of a handoff: waiting → offered → snapshot → catch-up → cut-over → done; stranded rows never change, so theirs
 * end with the snapshot.
 * O1  The stream is ordered: applying its chunks one after another gives exactly the rows at the sender. Rows changed
 *     between the request of a page and its arrival are left out of the page: the change itself follows.
 * O2  Cut-over, in this order: submits parked and starts held, attempts ended, everything durable here, the last chunk
 *     durable there with equal count and hash, the seal durable here, consent given (ownership rules 13, 14).
 * O3  From consent until the document of that epoch is known the partition stays parked: neither resumed nor dropped.
 * O5  In a shared store the rows are there already: a handoff is a cut-over with an empty stream.
 * O4  What waits to be sent is bounded: when rows change faster than the receiver takes them, submits wait.
 */

import type { RingDocument, Stranded } from "../document.ts";
import type { Epoch, NodeName, Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { Row, RowChange } from "../store.ts";
import type { TaskEngineContract } from "../tasks/engine-contract.ts";
import type { Commits } from "./commits.ts";
import type { Directory } from "./effects.ts";
import type { Here } from "./here.ts";
import type { Hosting } from "./hosting.ts";
import type { TransferId, TransferMessage } from "./messages.ts";
import type { TransferView } from "./requests.ts";
import { isModuleKey, sealChange } from "./rows.ts";
import { changesBytes, hashChanges, keyText } from "./stream.ts";
import { handoffKey, strandedKey, strandedWanted, type Transfer, transferLimit, watched } from "./transfer.ts";

export interface OutgoingHooks {
  /** Give this consent to whoever proposes the epoch. */
  consent(epoch: Epoch, partition: Partition, to: NodeName, insist: boolean): void;
  nextReadId(): number;
  nonce(): number;
  /** Of a member's directory that this node holds. */
  holds(entry: Stranded): Directory | undefined;
}

export class Outgoing {
  readonly #here: Here;
  readonly #engine: TaskEngineContract;
  readonly #hosting: Hosting;
  readonly #commits: Commits;
  readonly #hooks: OutgoingHooks;
  readonly #transfers = new Map<string, Transfer>();
  #limit: number | undefined;
  paused: boolean = false;

  constructor(
    here: Here,
    parts: { engine: TaskEngineContract; hosting: Hosting; commits: Commits; hooks: OutgoingHooks },
  ) {
    this.#here = here;
    this.#engine = parts.engine;
    this.#hosting = parts.hosting;
    this.#commits = parts.commits;
    this.#hooks = parts.hooks;
  }

  get limit(): number {
    return this.#limit ?? transferLimit(this.#here.document?.ringSize ?? 0);
  }

  set limit(transfers: number) {
    this.#limit = transfers;
  }

  nextDeadline(): Instant | undefined {
    let earliest: Instant | undefined;
    for (const transfer of this.#transfers.values()) {
      const at = transfer.retryAt ?? (watched(transfer) ? transfer.lastProgress + patienceMs(transfer) : undefined);
      if (at !== undefined && (earliest === undefined || at < earliest)) earliest = at;
    }
    return earliest;
  }

  views(): TransferView[] {
    return [...this.#transfers.values()].map((transfer) => ({
      partition: transfer.id.partition,
      kind: transfer.id.kind,
      from: transfer.stranded?.member ?? this.#here.self,
      to: transfer.to,
      phase: transfer.phase,
      reason: transfer.reason,
      rows: transfer.changes,
      bytes: transfer.bytes,
      sinceMs: Math.round(this.#here.now - transfer.startedAt),
    }));
  }

  /** Overrides a handler that does not return (ownership rule 21). */
  force(partition: Partition): boolean {
    const transfer = this.#transfers.get(handoffKey(partition));
    if (transfer?.cut !== "draining") return false;
    transfer.forced = true;
    this.#here.note("transfer-forced", `partition ${partition}: handlers still run here`);
    this.#advance(transfer);
    return true;
  }

  /** What the document asks for, begun; what it no longer asks for, ended. */
  follow(document: RingDocument): void {
    for (const [key, transfer] of this.#transfers) {
      if (transfer.stranded === undefined ? !this.#wanted(transfer, document) : !strandedWanted(transfer, document))
        this.#end(key, transfer);
      else if (transfer.cut === "consented" && document.epoch >= transfer.sealedFor) this.#reseal(transfer); // the epoch went to another change
    }
    for (let index = 0; index < document.ringSize; index++) {
      const to = document.next[index];
      const partition = index as Partition;
      if (to === undefined || document.owners[index] !== this.#here.self || this.#transfers.has(handoffKey(partition)))
        continue;
      const id: TransferId = {
        partition,
        kind: "handoff",
        generation: document.generations[index]!,
        nonce: this.#hooks.nonce(),
      };
      this.#transfers.set(handoffKey(partition), this.#fresh(id, to, { type: "own" }, undefined));
    }
    for (const entry of document.stranded) {
      const to = document.owners[entry.partition];
      const key = strandedKey(entry);
      if (to === undefined || this.#transfers.has(key)) continue;
      const source = this.#hooks.holds(entry);
      if (source === undefined) continue;
      if (source.type === "own" && to === this.#here.self) continue; // lies where it is needed
      const id: TransferId = {
        partition: entry.partition,
        kind: "stranded",
        generation: entry.generation,
        nonce: this.#hooks.nonce(),
      };
      this.#transfers.set(key, this.#fresh(id, to, source, entry));
    }
    this.pump();
  }

  /** Offers waiting transfers as far as the limit allows, and watches those under way. */
  pump(): void {
    const now = this.#here.now;
    let active = 0;
    for (const transfer of this.#transfers.values()) if (isUnderWay(transfer)) active++;
    for (const transfer of this.#transfers.values()) {
      if (transfer.phase === "waiting") {
        if (transfer.retryAt !== undefined && transfer.retryAt > now) continue;
        const reason = this.#notYet(transfer, active);
        if (reason !== undefined) {
          transfer.reason = reason;
          // Whatever frees a slot pumps again; the other reasons have to be looked at.
          transfer.retryAt = active >= this.#most(transfer) ? undefined : now + RETRY_MS;
          continue;
        }
        active++;
        transfer.phase = "offered";
        transfer.reason = "waiting for the receiver";
        transfer.retryAt = undefined;
        transfer.lastProgress = now;
        const stranded = transfer.stranded;
        this.#send(transfer, {
          type: "transfer-offer",
          transfer: transfer.id,
          epoch: this.#here.document!.epoch,
          ...(stranded === undefined ? {} : { stranded }),
        });
      } else if (transfer.retryAt !== undefined && transfer.retryAt <= now) {
        transfer.retryAt = undefined;
        this.#advance(transfer);
      } else if (watched(transfer) && transfer.lastProgress + patienceMs(transfer) <= now) {
        this.#restart(transfer, `no progress for ${patienceMs(transfer) / 1_000} s`);
      }
    }
  }

  receive(from: NodeName, message: TransferMessage): void {
    const transfer = this.#find(message.transfer);
    if (transfer === undefined || transfer.to !== from) return;
    switch (message.type) {
      case "transfer-wait":
        if (transfer.phase === "offered") this.#restart(transfer, message.reason);
        return;
      case "transfer-abort":
        if (transfer.cut !== "sealing" && transfer.cut !== "consented") this.#restart(transfer, message.reason);
        return;
      case "transfer-begin":
        if (transfer.phase !== "offered") return;
        transfer.phase = "snapshot";
        transfer.reason = "sending rows";
        transfer.lastProgress = this.#here.now;
        if (this.#here.sharedStore !== true) return this.#read(transfer);
        transfer.scanned = true; // O5
        return this.#advance(transfer);
      case "transfer-ack":
        if (message.sequence > transfer.sequence || (message.sequence <= transfer.acked && !message.complete)) return;
        transfer.acked = Math.max(transfer.acked, message.sequence);
        transfer.lastProgress = this.#here.now;
        if (message.complete && transfer.cut === "last-sent") transfer.cut = "complete";
        this.#advance(transfer);
        if (!isUnderWay(transfer)) this.pump();
        return;
      default:
        return;
    }
  }

  linkDown(peer: NodeName): void {
    for (const transfer of this.#transfers.values()) {
      if (
        transfer.to === peer &&
        transfer.phase !== "waiting" &&
        transfer.cut !== "sealing" &&
        transfer.cut !== "consented"
      )
        this.#restart(transfer, "the link broke");
    }
  }

  rows(readId: number, rows: readonly Row[], next: Uint8Array | undefined): boolean {
    for (const transfer of this.#transfers.values()) {
      if (transfer.reading?.readId !== readId) continue;
      const { touched } = transfer.reading;
      transfer.reading = undefined;
      for (const row of rows) {
        if (isModuleKey(row.key) && !(touched.size > 0 && touched.has(keyText(row.key)))) transfer.backlog.push(row);
      }
      transfer.cursor = next;
      if (next === undefined) transfer.scanned = true;
      this.#advance(transfer);
      return true;
    }
    return false;
  }

  /** Changes of a served partition that are durable now. */
  synced(partition: Partition, changes: readonly RowChange[]): void {
    const transfer = this.#transfers.get(handoffKey(partition));
    if (transfer === undefined || transfer.phase === "waiting" || transfer.phase === "offered") return;
    if (this.#here.sharedStore === true) return; // O5
    for (const change of changes) {
      if (!isModuleKey(change.key)) continue;
      transfer.reading?.touched.add(keyText(change.key));
      transfer.backlog.push(change);
    }
    if (!transfer.scanned && transfer.backlog.length > BACKLOG_MOST)
      return this.#restart(transfer, "rows change faster than the receiver takes them");
    this.#advance(transfer);
  }

  /** Attempts ended: a cut-over may wait for that. */
  attemptsEnded(): void {
    for (const transfer of this.#transfers.values()) if (transfer.cut === "draining") this.#advance(transfer);
  }

  #fresh(id: TransferId, to: NodeName, source: Directory, stranded: Stranded | undefined): Transfer {
    return {
      id,
      to,
      source,
      stranded,
      startedAt: this.#here.now,
      phase: "waiting",
      reason: "",
      retryAt: undefined,
      reading: undefined,
      scanned: false,
      cursor: undefined,
      backlog: [],
      sequence: 0,
      acked: 0,
      changes: 0,
      bytes: 0,
      hash: 0,
      lastProgress: this.#here.now,
      cut: "no",
      sealedFor: 0,
      forced: false,
    };
  }

  #find(id: TransferId): Transfer | undefined {
    for (const transfer of this.#transfers.values())
      if (transfer.id.nonce === id.nonce && transfer.id.partition === id.partition) return transfer;
    return undefined;
  }

  /** Nobody waits while stranded tasks move. */
  #most(transfer: Transfer): number {
    return transfer.stranded === undefined ? this.limit : 2 * this.limit;
  }

  #notYet(transfer: Transfer, active: number): string | undefined {
    if (this.paused) return "transfers are paused";
    if (active >= this.#most(transfer)) return `${this.#most(transfer)} transfers at once`;
    if (!this.#here.linked(transfer.to)) return `${transfer.to} cannot be reached`;
    if (transfer.stranded !== undefined)
      return this.#hooks.holds(transfer.stranded) === undefined
        ? `the directory of ${transfer.stranded.member} is not held here`
        : undefined;
    if (!this.#hosting.serving(transfer.id.partition))
      return this.#hosting.waitsFor(transfer.id.partition) ?? "not served";
    if (this.#here.document!.stranded.some((entry) => this.#comesFirst(entry, transfer)))
      return "stranded tasks come first";
    return undefined;
  }

  /** Tasks that are about to be absorbed, or that lie where the partition is to go. Those of an absent machine find the new owner as well. */
  #comesFirst(entry: Stranded, transfer: Transfer): boolean {
    if (entry.partition !== transfer.id.partition) return false;
    return entry.where.type === "adopter" || entry.member === transfer.to || this.#here.linked(entry.member);
  }

  #advance(transfer: Transfer): void {
    if (transfer.phase === "waiting" || transfer.phase === "offered") return;
    this.#sendChunks(transfer);
    if (!transfer.scanned) {
      if (transfer.reading === undefined && transfer.backlog.length < BACKLOG_LOW) this.#read(transfer);
      return;
    }
    if (transfer.stranded !== undefined) return this.#finishStranded(transfer);
    if (transfer.cut === "no") {
      transfer.phase = "catch-up";
      const behind = transfer.backlog.length + (transfer.sequence - transfer.acked) * 100;
      if (behind > CATCH_UP_CLOSE && transfer.backlog.length <= BACKLOG_MOST) return; // O4
      transfer.phase = "cut-over";
      transfer.cut = "draining";
      this.#hosting.park(transfer.id.partition, true);
    }
    this.#cutOver(transfer);
  }

  /** O2, one step after another; called again whenever something it waits for may have happened. */
  #cutOver(transfer: Transfer): void {
    const { partition } = transfer.id;
    if (transfer.cut === "draining") {
      const running = this.#engine.inFlight(partition);
      if (running.length > 0 && !transfer.forced) {
        const oldest = running.reduce((a, b) => (a.sinceMs < b.sinceMs ? a : b));
        const stuck = this.#here.now - oldest.sinceMs > HANDLER_GRACE_MS;
        transfer.reason = stuck
          ? `HANDLER_STUCK: ${oldest.app} ${oldest.taskType} does not return`
          : `waiting for ${running.length} handlers`;
        transfer.retryAt = this.#here.now + 1_000;
        return;
      }
      transfer.cut = "flushing";
      transfer.reason = "writing the remainder";
      this.#commits.whenSynced(() => {
        if (this.#transfers.get(handoffKey(partition)) !== transfer || transfer.cut !== "flushing") return;
        this.#sendChunks(transfer);
        this.#sendLast(transfer);
      });
      return;
    }
    if (transfer.cut === "complete") this.#seal(transfer);
    else if (transfer.cut === "consented" && transfer.retryAt === undefined) this.#consent(transfer, true);
  }

  #sendLast(transfer: Transfer): void {
    // The window does not hold the remainder back: submits wait for it.
    while (transfer.backlog.length > 0) this.#sendChunk(transfer);
    transfer.cut = "last-sent";
    transfer.reason = "waiting until the receiver has it on disk";
    transfer.lastProgress = this.#here.now;
    transfer.sequence++;
    this.#send(transfer, {
      type: "transfer-chunk",
      transfer: transfer.id,
      sequence: transfer.sequence,
      changes: [],
      last: { changes: transfer.changes, hash: transfer.hash },
    });
  }

  #seal(transfer: Transfer): void {
    const { partition } = transfer.id;
    transfer.cut = "sealing";
    transfer.sealedFor = this.#here.document!.epoch + 1;
    transfer.reason = `sealing for epoch ${transfer.sealedFor}`;
    this.#commits.add(partition, sealChange(transfer.sealedFor));
    this.#commits.whenSynced(() => {
      if (this.#transfers.get(handoffKey(partition)) !== transfer || transfer.cut !== "sealing") return;
      if (this.#here.document!.epoch >= transfer.sealedFor) return this.#reseal(transfer);
      transfer.cut = "consented";
      this.#consent(transfer, false);
    });
  }

  /** The seal was for an epoch that decided something else: it is void (rule 13); seal for the next. */
  #reseal(transfer: Transfer): void {
    transfer.cut = "complete";
    this.#seal(transfer);
  }

  #consent(transfer: Transfer, insist: boolean): void {
    transfer.reason = `waiting for epoch ${transfer.sealedFor}`;
    transfer.retryAt = this.#here.now + CONSENT_RETRY_MS;
    this.#hooks.consent(transfer.sealedFor as Epoch, transfer.id.partition, transfer.to, insist);
  }

  #finishStranded(transfer: Transfer): void {
    if (transfer.backlog.length > 0) return;
    if (transfer.cut === "no") this.#sendLast(transfer);
    else if (transfer.cut === "complete") transfer.reason = "absorbed; waiting for the ring to say so";
  }

  #read(transfer: Transfer): void {
    const readId = this.#hooks.nextReadId();
    transfer.reading = { readId, touched: new Set() };
    this.#here.emit({
      type: "read",
      readId,
      directory: transfer.source,
      request: {
        partition: transfer.id.partition,
        rowLimit: 1_000,
        byteLimit: CHUNK_BYTES,
        ...(transfer.cursor === undefined ? {} : { after: transfer.cursor }),
      },
    });
  }

  #sendChunks(transfer: Transfer): void {
    while (transfer.backlog.length > 0 && transfer.sequence - transfer.acked < WINDOW_CHUNKS) this.#sendChunk(transfer);
  }

  #sendChunk(transfer: Transfer): void {
    let count = 0;
    for (let bytes = 0; count < transfer.backlog.length && count < CHUNK_ROWS && bytes < CHUNK_BYTES; count++)
      bytes += changesBytes(transfer.backlog[count]!);
    const changes = transfer.backlog.splice(0, count);
    transfer.sequence++;
    transfer.changes += changes.length;
    for (const change of changes) transfer.bytes += changesBytes(change);
    transfer.hash = hashChanges(transfer.hash, changes);
    this.#send(transfer, { type: "transfer-chunk", transfer: transfer.id, sequence: transfer.sequence, changes });
  }

  #send(transfer: Transfer, message: TransferMessage): void {
    this.#here.send(transfer.to, message);
  }

  #restart(transfer: Transfer, reason: string, retryMs: number = RETRY_MS): void {
    const key = transfer.stranded === undefined ? handoffKey(transfer.id.partition) : strandedKey(transfer.stranded);
    if (transfer.cut !== "no" && transfer.stranded === undefined) this.#hosting.park(transfer.id.partition, false);
    const again = this.#fresh(
      { ...transfer.id, nonce: this.#hooks.nonce() },
      transfer.to,
      transfer.source,
      transfer.stranded,
    );
    again.reason = reason;
    again.retryAt = this.#here.now + retryMs;
    this.#transfers.set(key, again);
  }

  #wanted(transfer: Transfer, document: RingDocument): boolean {
    const { partition, generation } = transfer.id;
    return (
      document.owners[partition] === this.#here.self &&
      document.next[partition] === transfer.to &&
      document.generations[partition] === generation
    );
  }

  #end(key: string, transfer: Transfer): void {
    this.#transfers.delete(key);
    if (transfer.stranded !== undefined || transfer.phase === "waiting") return;
    const still = this.#here.document?.owners[transfer.id.partition] === this.#here.self;
    if (still) {
      // Not taken: resume here (O3 is over, the document is known).
      this.#send(transfer, { type: "transfer-abort", transfer: transfer.id, reason: "the plan changed" });
      if (transfer.cut !== "no") this.#hosting.park(transfer.id.partition, false);
    } else if (transfer.cut !== "no") {
      this.#here.note(
        "handoff-done",
        `partition ${transfer.id.partition} to ${transfer.to}: ${transfer.changes} rows, paused ${Math.round(this.#here.now - transfer.lastProgress)} ms after the last row`,
      );
    }
  }
}

/** Stranded rows that were absorbed wait only for the ring to say so: the next ones need not. */
function isUnderWay(transfer: Transfer): boolean {
  return transfer.phase !== "waiting" && (transfer.stranded === undefined || transfer.cut !== "complete");
}

/** An offer is answered at once, unless the receiver's link back was not up yet. */
function patienceMs(transfer: Transfer): number {
  return transfer.phase === "offered" ? OFFER_MS : STALL_MS;
}

const CHUNK_BYTES = 262_144;
const CHUNK_ROWS = 1_000;
/** Chunks sent ahead of the receiver's disk. */
const WINDOW_CHUNKS = 8;
/** Read the next page when fewer changes than this wait. */
const BACKLOG_LOW = 2_000;
/** Changes that wait for the receiver. */
const BACKLOG_MOST = 20_000;
/** Cut over when at most about this many changes are not durable at the receiver. */
const CATCH_UP_CLOSE = 500;
const RETRY_MS = 250;
const STALL_MS = 10_000;
const OFFER_MS = 3_000;
const HANDLER_GRACE_MS = 25_000;
const CONSENT_RETRY_MS = 500;
