/** What `ringctl demo` says while it goes on: one line for each thing that happens, with the seconds since the start. */

import type { Output } from "./output.ts";
import { type Paint, type Tint, tinted } from "./tint.ts";

export class Narrator {
  readonly #output: Output;
  readonly #startedAt = performance.now();
  readonly #paint: Paint;

  constructor(output: Output) {
    this.#output = output;
    const colour = process.stderr.isTTY === true && (process.env.NO_COLOR ?? "") === "" && process.env.TERM !== "dumb";
    this.#paint = colour ? tinted : (text) => text;
  }

  get seconds(): number {
    return (performance.now() - this.#startedAt) / 1_000;
  }

  /** A line with the time. */
  say(text: string, tint: Tint = "plain"): void {
    this.#line(`${this.#paint(this.seconds.toFixed(1).padStart(6), "dim")}  ${this.#paint(text, tint)}`);
  }

  /** Lines that belong to the one before. */
  quote(lines: (paint: Paint) => readonly string[]): void {
    for (const line of lines(this.#paint)) this.#line(`${" ".repeat(10)}${line}`.trimEnd());
  }

  blank(): void {
    this.#line("");
  }

  progress(done: number, whole: number, note: string): void {
    this.#output.progress(done, whole, note);
  }

  #line(text: string): void {
    this.#output.endProgress();
    if (this.#output.format === "table") process.stderr.write(`${text}\n`);
  }
}
