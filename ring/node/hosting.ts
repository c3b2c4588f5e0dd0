/**
 * The partitions that this node serves: brings each from its rows to service, and closes it when the ring says so.
 *
 * H1  A partition is served only while the newest document known names this node as its owner at that generation.
 * H2  A copy of rows is used only at the generation it was made for: opened here, arrived whole by a handoff that was
 *     consented to, or listed as stranded; anything else is dropped (consented, or given up by the ring) or quarantined
 *     (unexplained).
 * H5  What arrived whole is opened and read while the document that gives it to this node is on its way to the disk: it is
 *     served only when that document is known, as if it were sealed for it.
 * H7  What arrives goes into the engine as it comes (`loading-ahead.ts`); it is opened only with the decision.
 * H6  Older tasks start when all of them are durable here. That the ring takes them off its list ends their adoption, and
 *     until then they may come again (ownership rule 15): what has run of them stays known, and state written here wins.
 * H4  Rows of a shared store stay where they are: an owner opens them, which shuts the owner before it out.
 * H3  A sealed partition starts nothing until the document of the seal's epoch is known (ownership rule 13).
 */

import type { RingDocument, Stranded } from "../document.ts";
import type { Partition } from "../ids.ts";
import type { Row, RowChange, Term } from "../store.ts";
import type { TaskEngineContract } from "../tasks/engine-contract.ts";
import type { AttemptEnd } from "../tasks/task.ts";
import { Copies, type CopyFor, copyFor, isCopyOf, isStrandedHere, isTakenByForce, liesIn } from "./copies.ts";
import type { Copy } from "./effects.ts";
import type { Here } from "./here.ts";
import { LoadingAhead, setAside } from "./loading-ahead.ts";
import { splitRows } from "./rows.ts";

/** Tasks of earlier owners: none about, on their way, or on a machine that is away. */
export type Older = "none" | "awaited" | "away";

type Phase =
  | { readonly type: "inspecting"; readonly readId: number }
  /** A copy that is of no use, but for its seal. */
  | { readonly type: "sealed"; readonly sealedFor: number }
  | { readonly type: "clearing" }
  | { readonly type: "opening" }
  | { readonly type: "loading"; readonly readId: number }
  /** `sealedFor`: in doubt until that epoch's document is known. */
  | { readonly type: "serving"; readonly sealedFor: number | undefined }
  /** In service, but a transfer is cutting over: submits wait. */
  | { readonly type: "parked" };

interface Hosted {
  readonly partition: Partition;
  readonly generation: number;
  phase: Phase;
  term: Term | undefined;
  older: Older;
  /** H6 */
  olderHere: boolean;
  /** H5: the epoch that makes it this node's; 0 when it was known at the beginning. */
  readonly foreseenFor: number;
}

export class Hosting {
  readonly #here: Here;
  readonly #engine: TaskEngineContract;
  readonly #hosted = new Map<Partition, Hosted>();
  readonly #copies: Copies;
  readonly #ahead: LoadingAhead;
  readonly #reads = new Map<number, Partition>();
  /** Seals seen while a partition's rows are read. */
  readonly #sealed = new Map<Partition, number>();
  /** Attempts of an opening that the store shut out; their handlers still run. */
  readonly #running = new Map<Partition, Set<number>>();
  readonly #nextReadId: () => number;

  constructor(here: Here, engine: TaskEngineContract, copies: readonly Copy[], nextReadId: () => number) {
    this.#here = here;
    this.#engine = engine;
    this.#nextReadId = nextReadId;
    this.#ahead = new LoadingAhead(here, engine);
    this.#copies = new Copies(here, copies, (partition) => this.#hosted.has(partition));
  }

  /** Under which term changes of the partition are written now. */
  termOf(partition: Partition): Term | undefined {
    return this.#hosted.get(partition)?.term ?? this.#copies.incoming().get(partition);
  }

  serving(partition: Partition): boolean {
    const phase = this.#hosted.get(partition)?.phase;
    return phase?.type === "serving" && phase.sealedFor === undefined;
  }

  loaded(partition: Partition): boolean {
    const type = this.#hosted.get(partition)?.phase.type;
    return type === "serving" || type === "parked";
  }

  hosts(partition: Partition): boolean {
    return this.#hosted.has(partition);
  }

  get count(): number {
    return this.#hosted.size;
  }

  partitions(): IterableIterator<Partition> {
    return this.#hosted.keys();
  }

  /** The epochs that partitions are sealed for and that are not known yet (H3). */
  doubts(): readonly number[] {
    const epochs = new Set<number>();
    for (const { phase } of this.#hosted.values())
      if ("sealedFor" in phase && phase.sealedFor !== undefined) epochs.add(phase.sealedFor);
    return [...epochs];
  }

  /** How a partition that is not served yet explains itself. */
  waitsFor(partition: Partition): string | undefined {
    const phase = this.#hosted.get(partition)?.phase;
    if (phase === undefined) return "not owned here";
    if ("sealedFor" in phase)
      return phase.sealedFor === undefined ? undefined : `in doubt until epoch ${phase.sealedFor} is known`;
    return phase.type;
  }

  /** Brings what is hosted in line with the newest document. */
  follow(document: RingDocument): void {
    for (let index = 0; index < document.ringSize; index++) {
      const partition = index as Partition;
      const mine = document.owners[index] === this.#here.self;
      const hosted = this.#hosted.get(partition);
      if (hosted !== undefined && hosted.foreseenFor > document.epoch) continue; // H5
      if (hosted !== undefined && (!mine || hosted.generation !== document.generations[index]))
        this.#close(hosted, document);
      if (!mine) {
        if (hosted === undefined) {
          if (!isPlannedFor(document, this.#here, partition)) this.#ahead.cancel(partition);
          this.#copies.follow(partition, document);
        }
        continue;
      }
      const now = this.#hosted.get(partition);
      if (now === undefined) {
        if (!this.#running.has(partition)) this.#begin(partition, document);
      } else this.#followOlder(now, document);
    }
    for (const hosted of this.#hosted.values()) {
      const { phase } = hosted;
      if (!("sealedFor" in phase) || phase.sealedFor === undefined || document.epoch < phase.sealedFor) continue;
      if (phase.type === "sealed") this.#inspect(hosted);
      else this.#unseal(hosted);
    }
  }

  /** Rows of a handoff came, in order, the first ones or more (H7). */
  arriving(partition: Partition, changes: readonly RowChange[], isFirst: boolean): void {
    if (isFirst) this.#loadAhead(partition);
    this.#ahead.arrive(partition, changes);
  }

  /** All of them are durable here. */
  arrived(partition: Partition): void {
    this.#ahead.whole(partition);
  }

  get hasArrived(): boolean {
    return this.#ahead.hasArrived;
  }

  loadArrived(): void {
    this.#ahead.load();
  }

  /** H5 */
  foresee(document: RingDocument): void {
    for (const [partition, { generation }] of this.#copies.incoming()) {
      if (document.owners[partition] !== this.#here.self || this.#hosted.has(partition)) continue;
      if (document.generations[partition] !== generation + 1 || isTakenByForce(document, partition, generation))
        continue;
      this.#begin(partition, document, document.epoch);
    }
  }

  opened(partition: Partition, term: Term): void {
    const hosted = this.#hosted.get(partition);
    if (hosted?.phase.type !== "opening" || term.generation !== hosted.generation) return;
    hosted.term = term;
    this.#copies.opened(partition, term);
    this.#sealed.delete(partition);
    if (this.#ahead.opened(partition, term, hosted.older)) return this.#loaded(hosted);
    this.#engine.open(this.#here.now, partition, term, hosted.older);
    this.#readFrom(hosted, undefined);
  }

  /** True if the read was one of these. */
  rows(readId: number, rows: readonly Row[], next: Uint8Array | undefined): boolean {
    const partition = this.#reads.get(readId);
    if (partition === undefined) return false;
    this.#reads.delete(readId);
    const hosted = this.#hosted.get(partition);
    if (hosted === undefined) return true;
    if (hosted.phase.type === "inspecting" && hosted.phase.readId === readId) this.#inspected(hosted, rows);
    else if (hosted.phase.type === "loading" && hosted.phase.readId === readId) this.#page(hosted, rows, next);
    return true;
  }

  dropped(partition: Partition): void {
    if (!this.#copies.dropped(partition)) return;
    const hosted = this.#hosted.get(partition);
    if (hosted?.phase.type === "clearing") this.#open(hosted);
  }

  /** Rows of a stranded entry of the partition are durable here; `isHere` says of which ones (H6). */
  absorbed(partition: Partition, isHere: (entry: Stranded) => boolean): void {
    const hosted = this.#hosted.get(partition);
    if (hosted?.older !== "awaited" || hosted.olderHere || !this.loaded(partition)) return;
    const listed = this.#here.document!.stranded.filter((entry) => entry.partition === partition);
    if (!listed.every((entry) => liesIn(entry, this.#here) || isHere(entry))) return;
    hosted.olderHere = true;
    this.#engine.olderDone(this.#here.now, partition, true);
  }

  /** It did not wait for older tasks, whatever who brings them knows of the ring: newer ones may have started (promise P3). */
  startedWithout(partition: Partition): boolean {
    return this.#hosted.get(partition)?.older === "away";
  }

  /** Its rows are here: what else lies under its partition is of an earlier ownership. */
  copyFor(entry: Stranded): CopyFor {
    return copyFor(this.#copies.get(entry.partition), entry);
  }

  /** A cut-over begins or ends: submits of the partition wait meanwhile. */
  park(partition: Partition, parked: boolean): void {
    const hosted = this.#hosted.get(partition);
    if (hosted === undefined || !this.loaded(partition)) return;
    hosted.phase = parked ? { type: "parked" } : { type: "serving", sealedFor: undefined };
    if (parked) this.#engine.hold(this.#here.now, partition);
    else this.#engine.release(this.#here.now, partition);
  }

  /** Rows of a handoff will arrive: whatever is there goes first. */
  expect(partition: Partition, term: Term): "ready" | "clearing" | "busy" {
    this.#ahead.cancel(partition);
    return this.#copies.expect(partition, term);
  }

  /** A handoff broke off: the rows that came are nobody's. */
  unexpect(partition: Partition): void {
    if (!this.#hosted.has(partition)) this.#ahead.cancel(partition);
    this.#copies.unexpect(partition);
  }

  /** Attempts ended: a partition that waits for those of its last opening may be opened (H4). */
  attemptsEnded(ends: readonly Pick<AttemptEnd, "attemptId">[]): void {
    for (const [partition, running] of this.#running) {
      for (const { attemptId } of ends) running.delete(attemptId);
      if (running.size > 0) continue;
      this.#running.delete(partition);
      const { document, self } = this.#here;
      if (document?.owners[partition] === self && !this.#hosted.has(partition)) this.#begin(partition, document);
    }
  }

  /** The changes of a refused group: a newer term owns the partition, so this node does not. */
  fenced(partition: Partition): void {
    const hosted = this.#hosted.get(partition);
    if (hosted === undefined) return;
    this.#here.note("fenced", `partition ${partition}: the store knows a newer owner`);
    const running = this.#engine.inFlight(partition).map(({ attemptId }) => attemptId);
    this.#ahead.cancel(partition);
    this.#engine.close(this.#here.now, partition);
    this.#hosted.delete(partition);
    if (this.#here.sharedStore !== true) return;
    // H4: if the ring names no newer owner, the store has lost something; what is there is read again.
    this.#running.set(partition, new Set(running));
    this.attemptsEnded([]);
  }

  #loadAhead(partition: Partition): void {
    const { document } = this.#here;
    const term = this.#copies.incoming().get(partition);
    if (document === undefined || term === undefined || this.#hosted.has(partition)) return;
    const at = { history: term.history, generation: term.generation + 1 };
    this.#ahead.begin(partition, at, olderOf(document, this.#here, partition));
  }

  #begin(partition: Partition, document: RingDocument, foreseenFor = 0): void {
    const generation = document.generations[partition]!;
    const hosted: Hosted = {
      partition,
      generation,
      phase: { type: "opening" },
      term: undefined,
      older: olderOf(document, this.#here, partition),
      olderHere: false,
      foreseenFor,
    };
    this.#hosted.set(partition, hosted);
    const arrived = this.#copies.taken(partition);
    const copy = this.#copies.get(partition);
    const isForced = copy !== undefined && isTakenByForce(document, partition, copy.generation);
    if (!arrived || isForced) this.#ahead.cancel(partition);
    else if (this.#ahead.serves(partition, generation, hosted.older)) return this.#open(hosted);
    if (this.#copies.isDropping(partition)) hosted.phase = { type: "clearing" };
    else if (copy === undefined || isCopyOf(copy, document.history, generation)) this.#open(hosted);
    else if (!arrived && isStrandedHere(document, this.#here, { partition, copy })) this.#open(hosted);
    else this.#inspect(hosted);
  }

  #inspect(hosted: Hosted): void {
    const readId = this.#nextReadId();
    hosted.phase = { type: "inspecting", readId };
    this.#reads.set(readId, hosted.partition);
    this.#here.emit({
      type: "read",
      readId,
      directory: { type: "own" },
      request: { partition: hosted.partition, rowLimit: 8, byteLimit: 4_096 },
    });
  }

  /** H2: a copy of another generation is good only if it arrived whole for this one, of an owner that gave its consent. */
  #inspected(hosted: Hosted, rows: readonly Row[]): void {
    const document = this.#here.document!;
    const copy = this.#copies.get(hosted.partition);
    const isForced = copy !== undefined && isTakenByForce(document, hosted.partition, copy.generation);
    const { sealedFor = 0, arrivedFor } = splitRows(rows).node;
    if (!isForced && arrivedFor === hosted.generation) return this.#open(hosted);
    if (sealedFor > document.epoch) {
      hosted.phase = { type: "sealed", sealedFor }; // H3: with the copy the seal would go
      return;
    }
    if (isForced) return this.#clear(hosted);
    if (rows.length > 0)
      this.#here.note(
        "copy-refused",
        `partition ${hosted.partition}: rows of generation ${copy?.generation ?? "?"} are not those of generation ${hosted.generation}`,
      );
    if (rows.length > 0)
      this.#here.emit({
        type: "quarantine",
        partition: hosted.partition,
        why: `not of generation ${hosted.generation}`,
      });
    this.#clear(hosted);
  }

  #clear(hosted: Hosted): void {
    hosted.phase = { type: "clearing" };
    this.#copies.drop(hosted.partition);
  }

  #open(hosted: Hosted): void {
    hosted.phase = { type: "opening" };
    this.#here.emit({
      type: "open",
      partition: hosted.partition,
      history: this.#here.document!.history,
      generation: hosted.generation,
    });
  }

  #readFrom(hosted: Hosted, after: Uint8Array | undefined): void {
    const readId = this.#nextReadId();
    hosted.phase = { type: "loading", readId };
    this.#reads.set(readId, hosted.partition);
    this.#here.emit({
      type: "read",
      readId,
      directory: { type: "own" },
      request: {
        partition: hosted.partition,
        rowLimit: PAGE_ROWS,
        byteLimit: PAGE_BYTES,
        ...(after === undefined ? {} : { after }),
      },
    });
  }

  #page(hosted: Hosted, rows: readonly Row[], next: Uint8Array | undefined): void {
    const { node, module } = splitRows(rows);
    setAside(this.#here, hosted.partition, this.#engine.load(hosted.partition, module));
    if (node.sealedFor !== undefined && node.sealedFor > this.#here.document!.epoch)
      this.#sealed.set(hosted.partition, node.sealedFor);
    if (next !== undefined) return this.#readFrom(hosted, next);
    this.#loaded(hosted);
  }

  /** All its rows are in the engine. */
  #loaded(hosted: Hosted): void {
    const sealed = Math.max(hosted.foreseenFor, this.#sealed.get(hosted.partition) ?? 0);
    this.#sealed.delete(hosted.partition);
    const sealedFor = sealed > this.#here.document!.epoch ? sealed : undefined; // it may have become known meanwhile
    hosted.phase = { type: "serving", sealedFor };
    if (sealedFor !== undefined) this.#engine.hold(this.#here.now, hosted.partition); // H3
    this.#engine.loaded(this.#here.now, hosted.partition);
  }

  #unseal(hosted: Hosted): void {
    hosted.phase = { type: "serving", sealedFor: undefined };
    this.#engine.release(this.#here.now, hosted.partition);
  }

  #followOlder(hosted: Hosted, document: RingDocument): void {
    const older = olderOf(document, this.#here, hosted.partition);
    if (older === hosted.older) return;
    if (hosted.olderHere && older !== "none") return; // H6: wherever their directory is by now
    const before = hosted.older;
    hosted.older = older;
    if (hosted.term === undefined) return;
    if (older === "none") this.#engine.olderDone(this.#here.now, hosted.partition);
    else if (before === "awaited" && older === "away") {
      // The adopter is gone: start with what there is; the rest comes back behind.
      this.#engine.close(this.#here.now, hosted.partition);
      this.#hosted.delete(hosted.partition);
      this.#begin(hosted.partition, document);
    } else hosted.older = before;
  }

  #close(hosted: Hosted, document: RingDocument): void {
    this.#ahead.cancel(hosted.partition);
    if (hosted.term !== undefined) this.#engine.close(this.#here.now, hosted.partition);
    this.#hosted.delete(hosted.partition);
    if (document.owners[hosted.partition] !== this.#here.self) this.#copies.discard(hosted.partition, document);
  }
}

function olderOf(document: RingDocument, here: Here, partition: Partition): Older {
  let older: Older = "none";
  for (const entry of document.stranded) {
    if (entry.partition !== partition || liesIn(entry, here)) continue; // its own lie where they are needed
    if (entry.where.type === "adopter") return "awaited";
    older = "away";
  }
  return older;
}

/** The ring means to give the partition to this node. */
function isPlannedFor(document: RingDocument, here: Here, partition: Partition): boolean {
  return document.next[partition] === here.self;
}

const PAGE_ROWS = 1_000;
const PAGE_BYTES = 1_048_576;
