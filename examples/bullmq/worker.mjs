/** Before: a BullMQ worker. `node worker.mjs [redis://…]`. */

import { Worker } from "bullmq";

const { hostname: host, port } = new URL(process.argv[2] ?? "redis://127.0.0.1:6379");

new Worker(
  "mail",
  async (job) => {
    process.stdout.write(`mail to ${job.data.to}: ${job.data.subject}\n`);
  },
  { connection: { host, port: Number(port || 6379), maxRetriesPerRequest: null }, concurrency: 16 },
);
