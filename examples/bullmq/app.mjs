/** After: the same work as an app of a ring, which tells a queue that has not moved. Redis by the environment variable REDIS. */

import { defineApp, PermanentError, task } from "taskring";
import { openJobs } from "taskring/bridge";

const { hostname: host, port } = new URL(process.env.REDIS ?? "redis://127.0.0.1:6379");
const audit = openJobs({ type: "bullmq", queue: "audit", connection: { host, port: Number(port || 6379) } });

const send = task(
  async (mail, ctx) => {
    const { to, subject } = mail.json();
    if (!to) throw new PermanentError("nobody to send it to");
    ctx.log.info("mail", { to, subject });
    await audit.addFrom(mail, {
      name: "sent",
      data: { to, at: Date.now() },
      options: { removeOnComplete: { age: 3_600 } },
    });
  },
  { concurrency: 16, attempts: 5 },
);

export const apps = [defineApp("mail", { tasks: { send } })];
