import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type FeedServer, startFeedServer } from "../../examples/feed-server.ts";
import type { App, SubmitOptions, TaskContext, TaskView } from "../../services/app.ts";
import type { ReadOutcome } from "../../services/feeds/read.ts";
import { checkHistory } from "../../services/history/check.ts";
import { HistoryWriter } from "../../services/history/writer.ts";

interface Submitted {
  readonly app: string;
  readonly type: string;
  readonly options: SubmitOptions;
  readonly id: string;
}

let server: FeedServer;
let directory = "";
let apps: readonly App[] = [];
let dispose = (): void => {};

/** One lane after the other, each with its state; children wait in `queue` until they are run. */
const states = new Map<string, Map<string, unknown>>();
const queue: Submitted[] = [];
let fence = 0n;
let minted = 0;

async function run(task: Submitted): Promise<unknown> {
  const app = apps.find((each) => each.definition.match === task.app);
  const handler = app?.tasks.get(task.type);
  if (handler === undefined) throw new Error(`${task.app} has no ${task.type}`);
  const key = task.options.key ?? task.id;
  const state = states.get(`${task.app}/${key}`) ?? new Map<string, unknown>();
  states.set(`${task.app}/${key}`, state);
  fence += 1n;
  const json = () => structuredClone(task.options.payload);
  const view = { id: task.id, app: task.app, type: task.type, key, attempt: 1, json } as unknown as TaskView;
  const context = {
    app: task.app,
    key,
    attempt: 1,
    token: { fence, stale: false },
    signal: new AbortController().signal,
    state: {
      get: (name: string) => state.get(name),
      put: (name: string, value: unknown) => void state.set(name, value),
      delete: (name: string) => void state.delete(name),
    },
    submit: (type: string, options: SubmitOptions = {}) => {
      minted += 1;
      const id = options.idempotencyKey ?? `child-${minted}`;
      queue.push({ app: options.app ?? task.app, type, options, id });
      return id;
    },
    log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
  } as unknown as TaskContext;
  return await handler(view, context);
}

function readAll(): Promise<unknown[]> {
  return Promise.all(
    server.feedUrls.map((url) => {
      minted += 1;
      return run({ app: "feeds", type: "feeds.read", id: `read-${minted}`, options: { key: url, payload: { url } } });
    }),
  );
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "taskring-history-"));
  vi.stubEnv("TASKRING_HISTORY_DIR", directory);
  server = await startFeedServer({ directory: fileURLToPath(new URL("../../examples/feeds/", import.meta.url)) });
  vi.stubEnv("TASKRING_DEMO_FEEDS", server.feedUrls.join("\n"));
  ({ apps } = await import("../../examples/demo-apps.ts"));
  const { processHistory } = await import("../../services/history/recorded.ts");
  dispose = () => processHistory()?.[Symbol.dispose]();
});

afterAll(async () => {
  vi.unstubAllEnvs();
  await server[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

describe("the demo's apps", () => {
  test("read every sample feed once, then hear from each that nothing is new", async () => {
    const first = (await readAll()) as ReadOutcome[];
    expect(first.map((outcome) => outcome.type)).toEqual(server.feedUrls.map(() => "read"));
    expect(queue.filter((task) => task.type === "entry")).toHaveLength(80);
    const second = (await readAll()) as ReadOutcome[];
    expect(second.map((outcome) => outcome.type)).toEqual(server.feedUrls.map(() => "not-modified"));
    expect(server.answers).toEqual(
      new Map([
        [200, 11],
        [304, 11],
      ]),
    );
  });

  test("poll each of the feeds that they were given", () => {
    const feeds = apps.find((app) => app.definition.match === "feeds");
    expect([...(feeds?.definition.schedules.values() ?? [])].map(({ key }) => key)).toEqual(server.feedUrls);
  });

  test("count sessions, and leave a history that the checker accepts", async () => {
    using client = new HistoryWriter({ directory, role: "client" });
    for (let seq = 0; seq < 3; seq += 1) {
      const id = `touch-${seq}`;
      client.accepted({ id, app: "auth", key: "profile-1", seq });
      expect(
        await run({ app: "auth", type: "session.touch", id, options: { key: "profile-1", payload: { seq } } }),
      ).toEqual({ touches: seq + 1 });
    }
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await run(next);
    client.flush();
    dispose();
    const verdict = checkHistory(directory, { strict: true });
    expect(verdict.rules.filter((result) => result.violations > 0)).toEqual([]);
    expect(verdict).toMatchObject({ ok: true, accepted: 3, attempts: 22 + 80 + 80 + 3 });
  });
});

test("the publisher serves nothing outside of its directory", async () => {
  for (const path of ["/../package.json", "/..%2fpackage.json", "/.hidden.xml", "/nothing.xml", "/", "/%"]) {
    expect((await fetch(`${server.url}${path}`)).status, path).toBe(404);
  }
});
