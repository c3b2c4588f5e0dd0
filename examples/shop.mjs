/** The app of the README: orders of one customer are handled one at a time, in order, with a counter beside them. */

import { defineApp, task } from "taskring";

const paid = task(
  async (order, ctx) => {
    const { total } = order.json();
    const orders = (ctx.state.get("orders") ?? 0) + 1;
    ctx.state.put("orders", orders); // stored together with the acknowledgement of this attempt
    ctx.submit("receipt", { key: ctx.key, payload: { total, orders } }); // sent when, and only if, this attempt is acknowledged
    return { orders };
  },
  { concurrency: 64, attempts: 5, backoff: { baseMs: 500, maxMs: 60_000 }, timeoutMs: 30_000 },
);

const receipt = task((mail, ctx) => {
  ctx.log.info("receipt", mail.json());
});

export const apps = [
  defineApp("shop", {
    tasks: { "order.paid": paid, receipt },
    limits: { queued: 100_000, running: 256 },
  }),
];
