/** What the log says of a node's end. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { type Host, startHost } from "../../services/host/node-host.ts";

const folder = mkdtempSync(join(tmpdir(), "taskring-ending-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const INFO = 30;
const ERROR = 50;

test.each([
  ["that is stopped is news", { code: 0, level: INFO, end: (host: Host) => void host.stop() }],
  [
    "whose store is broken is an error, with the reason",
    { code: 74, level: ERROR, end: (host: Host) => void host.node.step({ type: "store-broken", detail: "EIO" }) },
  ],
])(
  "the end of a node %s",
  async (_name, { code, level, end }) => {
    const free = { host: "127.0.0.1", port: 0 };
    const lines: { readonly msg: string; readonly level: number; readonly reason?: string }[] = [];
    const host = await startHost({
      name: "a1",
      apps: [],
      data: join(folder, String(code)),
      join: [],
      grpc: free,
      gossip: free,
      http: free,
      logTo: (line) => void lines.push(JSON.parse(line)),
    });
    end(host);
    expect(await host.ended).toBe(code);
    const last = lines.filter(({ msg }) => msg === "the node ends");
    expect(last).toMatchObject([{ level, reason: code === 0 ? "stopped" : "the store failed: EIO" }]);
  },
  60_000,
);
