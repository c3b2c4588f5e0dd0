/**
 * The pipe engine beside the node: routed by the ring document, its messages on the peer stream as one kind of their own.
 *
 * They pass the node machine by: what they say is nobody else's business, and a million inputs a second are not events of it.
 */

import { PipeEngine } from "../../pipe/io/engine.ts";
import type { NodeName } from "../../ring/ids.ts";
import type { NodeDriver } from "../../ring/io/node.ts";
import type { NodeMessage } from "../../ring/node/messages.ts";
import type { Catalogue } from "../apps/catalogue.ts";
import type { NodeMetrics } from "../metrics/node-metrics.ts";
import type { Log } from "../runner/log.ts";
import { describe } from "../runner/outcome.ts";
import { outsideFittings } from "../runner/strays.ts";
import type { OpenSpans } from "./span-export.ts";
import { type FittingStray, watchFittings, watchLooks } from "./watched-fittings.ts";

export interface HostPipes extends Disposable {
  readonly engine: PipeEngine;
  /** Takes the pipe messages out and returns the others. */
  sift(from: NodeName, messages: readonly NodeMessage[]): readonly NodeMessage[];
  linked(peer: NodeName): void;
}

export function openPipes(options: {
  readonly node: NodeDriver;
  readonly apps: Catalogue;
  readonly send: (to: NodeName, message: NodeMessage) => boolean;
  readonly metrics: NodeMetrics;
  readonly spans: Pick<OpenSpans, "take">;
  readonly log: Log;
}): HostPipes {
  const { node, apps, send, metrics, spans, log } = options;
  const onStray = ({ error, ...stray }: FittingStray): void => {
    const described = describe(error);
    log.error({ ...stray, error: described }, "a stray error of a fitting");
    if (stray.run === undefined) return;
    const detail = `${stray.fitting}: an error outside of its calls: ${described.message}`;
    engine.node.runs.get(stray.run)?.fail("RUN_FAILED", detail);
  };
  const watched = watchFittings(onStray);
  const engine: PipeEngine = new PipeEngine({
    self: node.name,
    find: (name) => {
      const found = apps.pipeline(name);
      return found && watched(found);
    },
    outside: outsideFittings,
    look: watchLooks(onStray),
    names: () => apps.pipelineNames(),
    send: (to, bytes) => send(to, { type: "pipe", bytes }),
    onSpan: spans.take,
    onReport: ({ pipeline, state, acknowledged, failed, resent }) => {
      metrics.pipeRuns.add(1, pipeline, state);
      metrics.pipeInputs.add(acknowledged, pipeline, "acknowledged");
      metrics.pipeInputs.add(failed, pipeline, "failed");
      metrics.pipeInputs.add(resent, pipeline, "resent");
    },
  });
  const blocked = new Map<string, number>();
  metrics.registry.onCollect(() => {
    metrics.pipeRunsActive.set(engine.summaries().length);
    metrics.pipeQueueDepth.clear();
    for (const { pipe, fitting, queued, blockedMs } of engine.usage()) {
      metrics.pipeQueueDepth.set(queued, pipe, fitting);
      const key = `${pipe} ${fitting}`;
      metrics.pipeBlockedSeconds.add(Math.max(0, blockedMs - (blocked.get(key) ?? 0)) / 1_000, pipe, fitting);
      blocked.set(key, blockedMs);
    }
  });
  const follow = node.onDocument((document) => engine.document(document));
  const document = node.document();
  if (document !== undefined) engine.document(document);
  return {
    engine,
    sift: (from, messages) => {
      if (!messages.some((message) => message.type === "pipe")) return messages;
      const others: NodeMessage[] = [];
      for (const message of messages) {
        if (message.type === "pipe") engine.receive(from, message.bytes);
        else others.push(message);
      }
      return others;
    },
    linked: (peer) => engine.linkUp(peer),
    [Symbol.dispose]: () => {
      follow();
      engine[Symbol.dispose]();
    },
  };
}
