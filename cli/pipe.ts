/** `ringctl pipe …`: pipelines that are loaded, and runs of them. */

import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import type { Report } from "../pipe/views.ts";
import type { PipeList, PipeStatus } from "../services/client/pipe-calls.ts";
import type { RemoteRun } from "../services/client/pipe-run.ts";
import { answers, askNode, type CommandRun } from "./ask-node.ts";
import { parseDuration } from "./duration.ts";
import { EXIT, usage } from "./exit-codes.ts";
import type { Output } from "./output.ts";
import { printable, tableLines } from "./table.ts";

export function listPipes({ settings, output }: CommandRun): Promise<number> {
  return askNode(settings, async ({ client, call }) => {
    const { pipes, runs } = await client.pipes.list(call);
    output.show({
      kind: "Pipe",
      items: pipes,
      extra: { runs },
      lines: (paint) => [
        ...tableLines<PipeList["pipes"][number]>(
          [
            { title: "pipeline", text: ({ name }) => name },
            { title: "fittings", text: ({ fittings }) => fittings.join(" > ") },
          ],
          pipes,
          paint,
        ),
        ...(runs.length === 0
          ? []
          : ["", ...runs.map((run) => `run ${run.run}  ${run.pipeline}  opened by ${run.coordinator}`)]),
      ],
    });
    return EXIT.ok;
  });
}

/** Exit 0: every input was acknowledged. 8: some failed. 1: the run did not end well. */
export function runPipe({ args, settings, output, flags }: CommandRun): Promise<number> {
  const drain = flags.drain === true;
  const given = flags.input === undefined ? "-" : String(flags.input);
  if (given !== "-" && !given.startsWith("@")) throw usage("--input expects @FILE or -");
  return askNode(settings, async (node) => {
    const { client, address } = node;
    await answers(node);
    await using run = client.run(args[0] ?? "", { sink: drain ? "drain" : "results", address });
    const id = await run.opened;
    output.remark(`run ${id}`);
    let refused: unknown;
    const sending = feed(run, given, (error) => {
      refused ??= error;
    });
    const timer = setInterval(() => output.progress(run.accepted, 0, "inputs taken"), PROGRESS_MS);
    try {
      if (!drain)
        for await (const outputs of run.batches) for (const one of outputs) await printed(`${JSON.stringify(one)}\n`);
      await sending;
      const report = await run.report();
      output.endProgress();
      return told(output, report);
    } catch (error) {
      throw refused ?? error; // What was wrong with the input cancelled the run.
    } finally {
      clearInterval(timer);
      output.endProgress();
      sending.catch(() => undefined);
    }
  });
}

export function pipeStatus({ args, settings, output }: CommandRun): Promise<number> {
  return askNode(settings, async ({ client, call }) => {
    const status = await client.pipes.status(args[0] ?? "", call);
    const { workers, ...extra } = status;
    output.show({
      kind: "PipeWorker",
      items: workers,
      extra,
      lines: (paint) => [
        ...tableLines<PipeStatus["workers"][number]>(
          [
            { title: "fitting", text: ({ fitting }) => fitting },
            { title: "partition", text: ({ partition }) => String(partition) },
            { title: "node", text: ({ node }) => node },
            { title: "state", text: ({ state }) => state },
            { title: "queue", text: ({ queue, queueLimit }) => `${queue}/${queueLimit}` },
            { title: "blocked", text: ({ blocked }) => String(blocked) },
            { title: "blocked ms", text: ({ blockedMs }) => String(blockedMs) },
            { title: "work ms", text: ({ workMs }) => String(workMs) },
            { title: "idle ms", text: ({ idleMs }) => String(idleMs) },
            { title: "processed", text: ({ processed }) => String(processed) },
            { title: "failures", text: ({ failures }) => String(failures) },
          ],
          workers,
          paint,
        ),
        ...summaryLines(status),
      ],
    });
    return status.unreachable.length > 0 ? EXIT.partly : EXIT.ok;
  });
}

export function tracePipe({ args, settings, output, flags }: CommandRun): Promise<number> {
  const forMs = flags.for === undefined ? 0 : parseDuration(String(flags.for), "--for");
  const many = (name: string): readonly string[] =>
    Array.isArray(flags[name]) ? (flags[name] as readonly string[]) : [];
  return askNode(settings, async (node) => {
    const { client, address } = node;
    await answers(node);
    const events = client.pipes.trace(args[0] ?? "", {
      address,
      forMs,
      fittings: many("fitting"),
      types: many("type"),
    });
    for await (const event of events)
      output.item(event, (paint) =>
        `${paint(event.type.padEnd(8), "dim")}  ${event.fitting} ${event.partition}  ${event.node}  ${printable(event.text)}`.trimEnd(),
      );
    return EXIT.ok;
  });
}

export function cancelPipe({ args, settings, output }: CommandRun): Promise<number> {
  return askNode(settings, async ({ client, call }) => {
    await client.pipes.cancel(args[0] ?? "", call);
    output.show({ kind: "Cancelled", items: [{ run: args[0] }], lines: () => [`${args[0]} is cancelled`] });
    return EXIT.ok;
  });
}

async function feed(run: RemoteRun, given: string, failed: (error: unknown) => void): Promise<void> {
  const input = given === "-" ? process.stdin : createReadStream(given.slice(1));
  let chunk: unknown[] = [];
  let line = 0;
  try {
    for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      line += 1;
      if (text.trim() === "") continue;
      chunk.push(parsed(text, line));
      if (chunk.length < CHUNK) continue;
      await run.sendMany(chunk);
      chunk = [];
    }
    if (chunk.length > 0) await run.sendMany(chunk);
    run.end();
  } catch (error) {
    failed(isOfSystem(error) ? usage(`--input ${given} cannot be read: ${error.message}`) : error);
    run.cancel();
    throw error;
  }
}

/** Of what is called here only the reading of the input asks the system. */
function isOfSystem(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "syscall" in error;
}

function parsed(text: string, line: number): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw usage(`input line ${line} is not JSON: ${text.slice(0, 60)}`);
  }
}

/** Waits where stdout takes no more, so that a slow reader of the pipe slows the run. */
function printed(text: string): Promise<void> | undefined {
  if (process.stdout.write(text)) return undefined;
  return new Promise((resolve) => process.stdout.once("drain", resolve));
}

function told(output: Output, report: Report): number {
  const { state, accepted, acknowledged, failed, resent, outputs } = report;
  const text = `${state}: ${accepted} accepted, ${acknowledged} acknowledged, ${failed} failed, ${resent} sent again, ${outputs} results`;
  process.stderr.write(
    output.format === "table"
      ? `${text}\n`
      : `${JSON.stringify({ apiVersion: "ringctl/v1", kind: "RunReport", items: [report] })}\n`,
  );
  if (output.format === "table")
    for (const failure of report.failures.slice(0, FAILURES_SHOWN))
      process.stderr.write(`  ${failure.fitting} ${printable(failure.input)}: ${printable(failure.error)}\n`);
  if (report.error !== undefined && output.format === "table")
    process.stderr.write(`  ${report.error.code}: ${printable(report.error.detail)}\n`);
  if (state !== "done") return EXIT.failure;
  return Number(failed) > 0 ? EXIT.partly : EXIT.ok;
}

function summaryLines({ progress, bottleneck, unreachable, report }: PipeStatus): string[] {
  return [
    ...(bottleneck === "" ? [] : [`bottleneck: ${bottleneck}`]),
    ...(progress === null || progress === undefined
      ? []
      : [
          `${progress.accepted} accepted, ${progress.acknowledged} acknowledged, ${progress.inFlight} in flight, ${progress.failed} failed, ${progress.perSecond}/s`,
        ]),
    ...(report === null || report === undefined
      ? []
      : [`ended: ${report.state}, ${report.acknowledged} acknowledged, ${report.failed} failed`]),
    ...(unreachable.length === 0 ? [] : [`no answer from ${unreachable.join(", ")}`]),
  ];
}

const CHUNK = 256;
const PROGRESS_MS = 200;
const FAILURES_SHOWN = 10;
