/**
 * How much of one fitting may be with one peer and not acknowledged: so many inputs, and so many characters of the messages that
 * hold them (a character is at most three bytes).
 *
 * V1  With nothing there it is not full: whoever waits for room is released by an acknowledgement, and so there is one to come.
 * V2  What is in no message yet counts as much as an input of the last one did, or as it is at least. A first guess is
 *     high, so that large inputs fill the window with the first message and not with a hundred of them.
 */

import { MESSAGE_INPUTS } from "./limits.ts";

export interface WindowLimits {
  readonly inputs: number;
  readonly characters: number;
}

export class Window {
  readonly #limits: WindowLimits;
  #inputs = 0;
  #characters = 0;
  #unsent = 0;
  #unsentCharacters = 0;
  /** Of an input. */
  #mean = FIRST_CHARACTERS;

  constructor(limits: WindowLimits) {
    this.#limits = limits;
  }

  get inputs(): number {
    return this.#inputs;
  }

  get isFull(): boolean {
    return this.#inputs >= this.#limits.inputs || this.#characters + this.#unsentCharacters >= this.#limits.characters;
  }

  /** Enough for a message. */
  get fillsMessage(): boolean {
    return this.#unsent >= MESSAGE_INPUTS || this.#unsentCharacters >= MESSAGE_CHARACTERS;
  }

  take(value: unknown): void {
    this.#inputs += 1;
    this.#unsent += 1;
    this.#unsentCharacters += Math.max(this.#mean, charactersAtLeast(value)); // V2
  }

  /** What was taken is being put into messages. */
  collected(): void {
    this.#unsent = 0;
    this.#unsentCharacters = 0;
  }

  sent(inputs: number, characters: number): void {
    this.#characters += characters;
    this.#mean = Math.ceil(characters / inputs);
  }

  released(inputs: number, characters: number): void {
    this.#inputs -= inputs;
    this.#characters -= characters;
  }

  /** Nothing is with the peer any more. */
  clear(): void {
    this.collected();
    this.#inputs = 0;
    this.#characters = 0;
  }
}

function charactersAtLeast(value: unknown): number {
  if (typeof value === "string") return value.length;
  return value instanceof Uint8Array ? value.length : 0;
}

const FIRST_CHARACTERS: number = 64 * 1024;
/** As many as go into one frame with others. */
const MESSAGE_CHARACTERS: number = 256 * 1024;
