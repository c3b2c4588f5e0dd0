/** P1, reliability rule 9: a member whose store is gone starts anew in silence, and what it had acknowledged is gone. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { connect } from "../../services/client/index.ts";
import { startHost } from "../../services/host/node-host.ts";
import { defineApp, task } from "../../services/index.ts";

const folder = mkdtempSync(join(tmpdir(), "lost-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("P1: a store that is gone is a fault to report, not a fresh start", async () => {
  const lines: string[] = [];
  const bind = { host: "127.0.0.1", port: 0 };
  const options = {
    apps: [defineApp("shop", { tasks: { later: task(() => undefined) } })],
    name: "a1",
    data: join(folder, "a1"),
    join: [],
    grpc: bind,
    http: bind,
    gossip: bind,
    logLevel: "info",
    logTo: (line: string) => void lines.push(line),
  };
  const serves = async (host: Awaited<ReturnType<typeof startHost>>): Promise<void> => {
    while (!host.node.holdsLease()) await new Promise((resolve) => setTimeout(resolve, 10));
  };
  const first = await startHost(options);
  await serves(first);
  const ring = connect({ addresses: [first.grpc] });
  await ring.submit({ app: "shop", type: "later", key: "k", delayMs: 3_600_000 });
  ring.close();
  await first.stop();

  rmSync(join(folder, "a1", "store"), { recursive: true }); // lost: a wrong `rm`, a volume that was not mounted, fsck
  lines.length = 0;
  await expect(startHost(options)).rejects.toMatchObject({ code: "STORE_BROKEN" });
}, 60_000);
