/** Pipe machines in virtual time, for tests that look at each step: links take 1 ms and lose nothing. */

import type { Pipeline } from "../../pipe/fitting.ts";
import type { Home, HomeEvents } from "../../pipe/home.ts";
import type { Routes } from "../../pipe/host.ts";
import { PipeNode } from "../../pipe/node.ts";
import type { Report } from "../../pipe/views.ts";
import type { NodeName } from "../../ring/ids.ts";
import { Agenda } from "../../services/testing/agenda.ts";

export class PipeWorld {
  readonly agenda: Agenda = new Agenda();
  readonly nodes: Map<string, PipeNode> = new Map();
  readonly lines: string[] = [];
  report: Report | undefined = undefined;
  readonly #pipeline: Pipeline;
  readonly #pumping = new Set<string>();
  readonly #timerAt = new Map<string, number>();
  #session = 0;

  /** Partitions are dealt to the nodes in turn. */
  constructor(pipeline: Pipeline, options: { readonly nodes?: readonly string[]; readonly ringSize?: number } = {}) {
    this.#pipeline = pipeline;
    const { nodes = ["a"], ringSize = 8 } = options;
    for (const name of nodes) this.#start(name, ringSize);
    const owners = Array.from({ length: ringSize }, (_, at) => nodes[at % nodes.length] as string);
    for (const node of this.nodes.values()) node.route({ epoch: 1, ringSize, owners, alive: new Set(nodes) });
  }

  open(events: Pick<HomeEvents, "checkpoint"> = {}): Home {
    const finished = (report: Report): void => this.#finished(report);
    return this.node("a").open({ id: "run", pipeline: this.#pipeline }, { ...events, finished });
  }

  node(name: string): PipeNode {
    const node = this.nodes.get(name);
    if (node === undefined) throw new Error(`no node ${name}`);
    return node;
  }

  /** It says and hears nothing any more. */
  kill(name: string): void {
    this.nodes.delete(name);
    this.#pumping.delete(name);
    this.#timerAt.delete(name);
  }

  /** As another process, which knows the ring but nothing of what went before. */
  restart(name: string, routes: Routes): void {
    this.kill(name);
    this.#start(name, routes.ringSize);
    this.node(name).route(routes);
  }

  say(line: string): void {
    this.lines.push(`${String(Math.round(this.agenda.now)).padStart(5)}  ${line}`);
  }

  /** A promise in virtual time. */
  later<T>(value: T, delayMs: number): PromiseLike<T> {
    return {
      // biome-ignore lint/suspicious/noThenProperty: it stands for a promise
      then: (resolve: ((value: T) => unknown) | null | undefined) => {
        this.agenda.after(delayMs, () => void resolve?.(value));
        return undefined as never;
      },
    };
  }

  runFor(durationMs: number): void {
    this.agenda.runUntil(this.agenda.now + durationMs);
  }

  get text(): string {
    return `${this.lines.join("\n")}\n`;
  }

  #finished(report: Report): void {
    this.report = report;
    const { state, accepted, acknowledged, failed, outputs, error } = report;
    this.say(
      `report: ${state}, ${accepted} accepted, ${acknowledged} acknowledged, ${failed} failed, ${outputs} outputs` +
        (error === undefined ? "" : `; ${error.code}: ${error.detail}`),
    );
  }

  #start(name: string, ringSize: number): void {
    const pump = (): void => this.#pump(name, node);
    const node: PipeNode = new PipeNode({
      self: name as NodeName,
      ringSize,
      graceMs: 1_000,
      host: {
        now: () => this.agenda.now,
        newSession: () => ++this.#session,
        wake: pump,
        send: (to, bytes) => {
          if (this.nodes.get(name) !== node) return false;
          const copy = bytes.slice();
          this.agenda.after(1, () => this.nodes.get(to)?.receive(name as NodeName, copy));
          return true;
        },
        settle: (promise, call) =>
          void promise.then(
            (value) => {
              call.resolved(value);
              pump();
            },
            (error: unknown) => call.rejected(error),
          ),
        pull: () => undefined,
        close: () => undefined,
        find: () => this.#pipeline,
      },
    });
    this.nodes.set(name, node);
  }

  #pump(name: string, node: PipeNode): void {
    const isThere = (): boolean => this.nodes.get(name) === node;
    if (this.#pumping.has(name) || !isThere()) return;
    this.#pumping.add(name);
    this.agenda.after(0, () => {
      if (!isThere()) return;
      this.#pumping.delete(name);
      const more = node.runSome(64);
      node.flush();
      if (more) this.#pump(name, node);
      const deadline = node.nextDeadline();
      if (deadline === undefined || deadline >= (this.#timerAt.get(name) ?? Number.POSITIVE_INFINITY)) return;
      this.#timerAt.set(name, deadline);
      this.agenda.at(deadline, () => {
        if (!isThere()) return;
        this.#timerAt.delete(name);
        node.tick();
        this.#pump(name, node);
      });
    });
  }
}
