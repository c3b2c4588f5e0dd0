/**
 * One bridge as a process of its own, to be killed: `node bridge-process.js JSON`. Says `ready` on stdout, ends with its
 * stdin, and then says its counts.
 */

import { drainQueue } from "../../services/bridge/drain.ts";
import type { QueueAddress } from "../../services/bridge/queue.ts";
import { connect } from "../../services/client/ring-client.ts";
import type { Numbered } from "./bridge-apps.ts";

export interface BridgeSettings {
  readonly addresses: readonly string[];
  readonly from: QueueAddress;
  readonly completeWhen: "durable" | "executed";
  readonly concurrency: number;
  readonly lockMs: number;
}

async function main({ addresses, ...options }: BridgeSettings): Promise<void> {
  const client = connect({ addresses });
  let last = "";
  const drain = await drainQueue<Numbered>({
    client,
    onError: (error) => {
      if (process.env.BRIDGE_SAYS !== undefined && error.message !== last) process.stderr.write(`${error.message}\n`);
      last = error.message;
    },
    ...options,
    task: ({ data }) => ({ app: "bridged", type: "job", key: data.key }),
  });
  process.on("SIGUSR2", () => process.stderr.write(`${JSON.stringify(drain.counts)}\n`));
  process.stdout.write("ready\n");
  process.stdin.resume();
  process.stdin.once("end", () => {
    void drain.close().then(() => {
      client.close();
      process.stdout.write(`${JSON.stringify(drain.counts)}\n`, () => process.exit(0));
    });
  });
}

await main(JSON.parse(process.argv[2] ?? "{}") as BridgeSettings);
