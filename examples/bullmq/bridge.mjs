/** Drains the BullMQ queue `mail` into the app `mail`: `node bridge.mjs NODE redis://…`. Ctrl-C hands over what is under way. */

import { drainQueue } from "taskring/bridge";
import { connect } from "taskring/client";

const [, , address = "127.0.0.1:7400", redis = "redis://127.0.0.1:6379"] = process.argv;
const { hostname: host, port } = new URL(redis);
const client = connect({ addresses: [address] });
const drain = await drainQueue({
  client,
  from: { type: "bullmq", queue: "mail", connection: { host, port: Number(port || 6379) } },
  // Mails to one address go out one at a time, in the order in which they were added.
  task: (job) => ({ app: "mail", type: "send", key: job.data.to }),
  onError: (error) => process.stderr.write(`${error.message}\n`),
});
process.stdout.write("draining mail\n");

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, async () => {
    await drain.close();
    client.close();
    process.stdout.write(`${JSON.stringify(drain.counts)}\n`);
  });
}
