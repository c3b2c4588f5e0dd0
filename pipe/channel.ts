/**
 * Messages to one peer arrive once and in order, over links that break, for as long as both processes live.
 *
 * Frames are numbered within a session and kept until the peer has confirmed them; a new link repeats them. Layout: version,
 * sender's session, the peer's session as known (0: unknown), number (0: nothing but the header), confirmed number, body.
 * C1  A session is one process, or one life of it in the eyes of the peer: a new one means that everything sent and not
 *     confirmed by its owner's runs is lost, and `lost` says so once.
 * C2  Frames for a session that is not mine any more are answered with mine and dropped.
 * C3  A frame that the link will never take would hold up all that follow: what is too large for a message gets no number, and
 *     messages share a frame only while it is far below what the link takes.
 * C4  After the last number that the header has room for comes 1 again: a few weeks of work have so many frames, and 0 is none.
 */

import { fitsMessage } from "./size.ts";

export interface ChannelOptions {
  /** A new session number, unique in the ring's life: 1 to 2^52. */
  readonly newSession: () => number;
  readonly send: (bytes: Uint8Array) => boolean;
  readonly receive: (body: string) => void;
  /** The peer has forgotten us, or is another process (C1). */
  readonly lost: () => void;
  /** The highest number of a frame, far above how many wait to be confirmed; the same at both ends. Default 2^32 - 1. */
  readonly numbers?: number;
}

export class Channel {
  readonly #options: ChannelOptions;
  readonly #numbers: number;
  #session: number;
  #peerSession = 0;
  #nextOut = 1;
  #confirmedOut = 0;
  #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #received = 0;
  #confirmedIn = 0;
  #pending: string[] = [];
  #pendingCharacters = 0;
  #sentAt = 0;
  /** Since the peer confirmed something. */
  #repeats = 0;
  #gap = false;
  garbage = 0;

  constructor(options: ChannelOptions) {
    this.#options = options;
    this.#numbers = options.numbers ?? NUMBERS;
    this.#session = options.newSession();
  }

  /** An encoded message leaves with the next `flush`. False: it is too large, and never leaves (C3). */
  push(message: string): boolean {
    if (!fitsMessage(message)) return false;
    if (this.#pending.length > 0 && this.#pendingCharacters + message.length > FRAME_CHARACTERS) this.#frame();
    this.#pending.push(message);
    this.#pendingCharacters += message.length;
    return true;
  }

  flush(now: number): void {
    if (this.#pending.length > 0) this.#frame();
    if (this.#confirmedIn !== this.#received || this.#gap) this.#bare();
    this.#gap = false;
    if (this.#kept.length > 0 && this.#sentAt === 0) this.#sentAt = now;
  }

  /** Something was sent and is not confirmed. */
  get waits(): boolean {
    return this.#kept.length > 0;
  }

  /** The peer has not said a word about what was sent for a while: more of the same would only be kept. */
  get stands(): boolean {
    return this.#repeats >= STANDS_REPEATS;
  }

  /** Of frames that are not confirmed. */
  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** Repeats what is not confirmed: the link is new, or nothing was confirmed for long. */
  repeat(now: number): void {
    this.#sentAt = now;
    for (const frame of this.#kept) this.#transmit(frame);
    if (this.#kept.length === 0) this.#bare();
  }

  tick(now: number): void {
    if (this.#kept.length > 0 && this.#sentAt > 0 && now - this.#sentAt > REPEAT_MS) {
      this.#repeats += 1;
      this.repeat(now);
    }
  }

  /** The peer counts as lost: what it still says belongs to a life that is over. */
  forget(): void {
    this.#session = this.#options.newSession();
    this.#peerSession = 0;
    this.#reset();
  }

  take(bytes: Uint8Array): void {
    if (bytes.length < HEADER_BYTES || bytes[0] !== VERSION) {
      this.garbage += 1;
      return;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const session = view.getFloat64(1);
    const mine = view.getFloat64(9);
    const number = view.getUint32(17);
    const confirmed = view.getUint32(21);
    if (!(session >= 1)) {
      this.garbage += 1;
      return;
    }
    if (this.#peerSession !== session) {
      const known = this.#peerSession !== 0;
      if (known) {
        this.#reset(); // C1: whatever the peer knew of us is gone as well, so our session may go on from 1.
      }
      this.#peerSession = session;
      if (known) this.#options.lost();
    }
    if (mine !== 0 && mine !== this.#session) {
      this.#bare(); // C2
      return;
    }
    if (mine !== 0) this.#confirm(confirmed);
    if (number === 0) return;
    const expected = this.#after(this.#received);
    if (number !== expected) {
      this.#gap = true; // Repeated, or something before it is missing: say how far it has come.
      return;
    }
    this.#received = expected;
    this.#options.receive(decoder.decode(bytes.subarray(HEADER_BYTES)));
  }

  #confirm(confirmed: number): void {
    const apart = confirmed - this.#confirmedOut;
    const arrived = apart < 0 && confirmed > 0 ? apart + this.#numbers : apart; // C4
    if (arrived <= 0 || arrived > this.#kept.length) return;
    for (let at = 0; at < arrived; at++) this.#keptBytes -= (this.#kept[at] as Uint8Array).length;
    this.#kept = this.#kept.slice(arrived);
    this.#confirmedOut = confirmed;
    this.#repeats = 0;
    this.#sentAt = 0;
  }

  #frame(): void {
    const body = encoder.encode(this.#pending.join(","));
    this.#pending = [];
    this.#pendingCharacters = 0;
    const frame = new Uint8Array(HEADER_BYTES + body.length);
    frame.set(body, HEADER_BYTES);
    new DataView(frame.buffer).setUint32(17, this.#nextOut);
    this.#nextOut = this.#after(this.#nextOut);
    this.#kept.push(frame);
    this.#keptBytes += frame.length;
    this.#transmit(frame);
  }

  /** C4 */
  #after(number: number): number {
    return number === this.#numbers ? 1 : number + 1;
  }

  #bare(): void {
    this.#transmit(new Uint8Array(HEADER_BYTES));
  }

  #transmit(frame: Uint8Array): void {
    const view = new DataView(frame.buffer);
    view.setUint8(0, VERSION);
    view.setFloat64(1, this.#session);
    view.setFloat64(9, this.#peerSession);
    view.setUint32(21, this.#received);
    this.#confirmedIn = this.#received;
    this.#options.send(frame);
  }

  #reset(): void {
    this.#nextOut = 1;
    this.#confirmedOut = 0;
    this.#kept = [];
    this.#keptBytes = 0;
    this.#received = 0;
    this.#confirmedIn = 0;
    this.#pending = [];
    this.#pendingCharacters = 0;
    this.#sentAt = 0;
    this.#repeats = 0;
  }
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const VERSION = 1;
const NUMBERS = 0xffff_ffff;
const HEADER_BYTES = 25;
const FRAME_CHARACTERS = 256 * 1024;
/** Without a word of confirmation the frames are sent again; on a link that works they arrive twice and are dropped. */
const REPEAT_MS = 1_000;
const STANDS_REPEATS = 3;
