/**
 * What goes to stdout, as a table for people or as JSON for programs; everything else goes to stderr.
 *
 * JSON is never poorer than the table: `json` is one envelope, `jsonl` one item a line (what belongs to no item comes last).
 */

import { printable } from "./table.ts";
import { type Paint, tinted } from "./tint.ts";

export type OutputFormat = "table" | "json" | "jsonl";

/** One answer, in both forms. */
export interface Sheet {
  /** Singular and capitalised: `Member`, `Plan`. */
  readonly kind: string;
  readonly items: readonly object[];
  /** What belongs to the list and not to an item. */
  readonly extra?: Readonly<Record<string, unknown>>;
  readonly lines: (paint: Paint) => readonly string[];
}

export interface Stream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

export interface OutputOptions {
  readonly format: OutputFormat;
  readonly stdout: Stream;
  readonly stderr: Stream;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export class Output {
  readonly format: OutputFormat;
  /** Somebody looks at stdout. */
  readonly interactive: boolean;
  readonly #stdout: Stream;
  readonly #stderr: Stream;
  readonly #env: OutputOptions["env"];
  #inProgress = false;

  constructor({ format, stdout, stderr, env }: OutputOptions) {
    this.format = format;
    this.interactive = stdout.isTTY === true;
    this.#stdout = stdout;
    this.#stderr = stderr;
    this.#env = env;
  }

  show(sheet: Sheet): void {
    this.#stdout.write(this.#rendered(sheet));
  }

  /** Shows it in the place of the one before, where somebody looks; else one after the other. */
  repaint(sheet: Sheet): void {
    if (this.interactive && this.format === "table") this.#stdout.write(`\x1b[H\x1b[2J\x1b[3J${this.#rendered(sheet)}`);
    else this.show(sheet);
  }

  /** One item of a stream. */
  item(item: object, line: (paint: Paint) => string): void {
    this.#stdout.write(`${this.format === "table" ? line(this.#paint(this.#stdout)) : JSON.stringify(item)}\n`);
  }

  /** A sentence for people: on stderr, and only where tables are asked for. */
  remark(text: string): void {
    if (this.format === "table") this.#stderr.write(`${this.#paint(this.#stderr)(text, "dim")}\n`);
  }

  /** A bar on stderr while long work goes on, where somebody looks. */
  progress(done: number, whole: number, note: string): void {
    if (this.#stderr.isTTY !== true || this.format !== "table") return;
    const filled = whole === 0 ? BAR : Math.round((BAR * done) / whole);
    const bar = `${"\u2588".repeat(filled)}${"\u2591".repeat(BAR - filled)}`;
    this.#stderr.write(
      `\r\x1b[K${this.#paint(this.#stderr)(bar, "accent")} ${done}/${whole} ${printable(note).slice(0, 40)}`,
    );
    this.#inProgress = true;
  }

  endProgress(): void {
    if (this.#inProgress) this.#stderr.write("\r\x1b[K");
    this.#inProgress = false;
  }

  #rendered({ kind, items, extra, lines }: Sheet): string {
    switch (this.format) {
      case "json":
        return `${JSON.stringify({ apiVersion: API_VERSION, kind, ...extra, items })}\n`;
      case "jsonl": {
        const last = extra === undefined ? [] : [{ kind: `${kind}Summary`, ...extra }];
        return [...items, ...last].map((item) => `${JSON.stringify(item)}\n`).join("");
      }
      case "table":
        return lines(this.#paint(this.#stdout))
          .map((line) => `${line.trimEnd()}\n`)
          .join("");
    }
  }

  #paint(stream: Stream): Paint {
    const plain = stream.isTTY !== true || (this.#env.NO_COLOR ?? "") !== "" || this.#env.TERM === "dumb";
    return plain ? (text) => text : tinted;
  }
}

const BAR = 24;
const API_VERSION = "ringctl/v1";
