import { describe, expect, test } from "vitest";
import type { Payload, SubmitOptions } from "../../services/app.ts";
import { feedsApp, readKeyOf } from "../../services/feeds/app.ts";
import { hashText } from "../../services/feeds/entry.ts";
import { FeedError } from "../../services/feeds/errors.ts";
import type { FetchRequest, FetchResult } from "../../services/feeds/fetch.ts";
import { type EntryTask, feedIdOf, feedReader, type ReadContext, type ReadOutcome } from "../../services/feeds/read.ts";
import { SeenEntries } from "../../services/feeds/seen.ts";

const URL_A = "https://feeds.example/a.xml";
const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

/** Keeps what an attempt wrote only when it succeeds, as the engine does. */
class Lane {
  readonly stored = new Map<string, Payload>();
  readonly entries: EntryTask[] = [];
  readonly childOptions: SubmitOptions[] = [];
  readonly requests: FetchRequest[] = [];
  writes: string[] = [];
  now = 1_000_000;
  next: () => FetchResult | Promise<FetchResult> = () => ({ type: "not-modified" });

  #reads = 0;

  async read(
    options: { url?: string; id?: string; force?: boolean; attempt?: number; entryLimit?: number } = {},
  ): Promise<ReadOutcome> {
    const { attempt = 1, entryLimit, url = URL_A, ...rest } = options;
    const changes = new Map<string, Payload | undefined>();
    const children: SubmitOptions[] = [];
    const context: ReadContext = {
      attempt,
      signal: new AbortController().signal,
      log: quiet,
      submit: (type, child = {}) => {
        expect(type).toBe("entry");
        children.push(child);
        return child.idempotencyKey ?? "";
      },
      state: {
        get: <T>(name: string) =>
          structuredClone(changes.has(name) ? changes.get(name) : this.stored.get(name)) as T | undefined,
        put: (name, value) => void changes.set(name, structuredClone(value)),
        delete: (name) => void changes.set(name, undefined),
      },
    };
    const fetcher = {
      fetch: async (request: FetchRequest) => {
        this.requests.push(request);
        return await this.next();
      },
    };
    const read = feedReader({
      fetcher,
      attempts: 5,
      wallNow: () => this.now,
      ...(entryLimit === undefined ? {} : { entryLimit }),
    });
    const outcome = await read({ id: `read ${this.#reads++}`, json: <T>() => ({ url, ...rest }) as T }, context);
    for (const [name, value] of changes) value === undefined ? this.stored.delete(name) : this.stored.set(name, value);
    this.writes = [...changes.keys()];
    this.childOptions.push(...children);
    this.entries.push(...children.map((child) => child.payload as EntryTask));
    return outcome;
  }

  serve(ids: readonly (string | number)[], extra: object = {}): void {
    const items = ids.map((id) => `<item><guid>${id}</guid><title>T${id}</title></item>`).join("");
    this.serveText(`<rss version="2.0"><channel><title>t</title>${items}</channel></rss>`, extra);
  }

  serveText(text: string, extra: object = {}): void {
    this.next = () => ({ type: "body", url: URL_A, body: Buffer.from(text), ...extra });
  }

  fail(code: ConstructorParameters<typeof FeedError>[0]): void {
    this.next = () => {
      throw new FeedError(code, "as told");
    };
  }

  ids(): string[] {
    return this.entries.map((task) => task.entry.id);
  }
}

describe("one read", () => {
  test("hands on each new entry once, oldest first, keyed by the feed", async () => {
    const lane = new Lane();
    lane.serve([3, 2, 1]);
    expect(await lane.read({ id: "a" })).toMatchObject({
      type: "read",
      format: "rss",
      parser: "feedsmith",
      entries: 3,
      new: 3,
      edited: 0,
      cut: 0,
    });
    lane.serve([5, 4, 3, 2]);
    expect(await lane.read({ id: "a" })).toMatchObject({ entries: 4, new: 2 });
    expect(lane.ids()).toEqual(["1", "2", "3", "4", "5"]);
    expect(new Set(lane.childOptions.map((child) => child.key))).toEqual(new Set(["a"]));
    expect(lane.entries[0]).toMatchObject({
      feedId: "a",
      feedUrl: URL_A,
      change: "new",
      entry: { id: "1", title: "T1" },
    });
  });

  test("names the same children when it is run again", async () => {
    const lane = new Lane();
    lane.serve([2, 1]);
    await lane.read();
    lane.stored.clear(); // as after a crash before the acknowledgement was synced
    lane.serve([3, 2, 1]);
    await lane.read();
    const keys = lane.childOptions.map((child) => child.idempotencyKey);
    expect(keys.slice(2, 4)).toEqual(keys.slice(0, 2));
    expect(new Set(keys).size).toBe(3);
  });

  test("hands an entry on again when its content was edited", async () => {
    const lane = new Lane();
    const text = (title: string) =>
      `<rss version="2.0"><channel><title>t</title><item><guid>1</guid><title>${title}</title></item></channel></rss>`;
    lane.serveText(text("before"));
    await lane.read();
    lane.serveText(text("after"));
    expect(await lane.read()).toMatchObject({ new: 0, edited: 1 });
    expect(lane.entries.map((task) => task.change)).toEqual(["new", "edited"]);
    lane.serveText(`${text("after")} `);
    expect(await lane.read()).toMatchObject({ new: 0, edited: 0 });
  });

  test("hands an edit on that takes an earlier one back, under a name of its own", async () => {
    const lane = new Lane();
    for (const title of ["one", "two", "one", "two"]) {
      lane.serveText(
        `<rss version="2.0"><channel><title>t</title><item><guid>1</guid><title>${title}</title></item></channel></rss>`,
      );
      await lane.read();
    }
    expect(lane.entries.map((task) => task.entry.title)).toEqual(["one", "two", "one", "two"]);
    expect(new Set(lane.childOptions.map((child) => child.idempotencyKey)).size).toBe(4);
  });

  test("does not parse a body that it has parsed before, and writes nothing", async () => {
    const lane = new Lane();
    lane.serve([1]);
    await lane.read();
    expect(await lane.read()).toEqual({ type: "unchanged" });
    expect(lane.writes).toEqual([]);
  });

  test("sends the validators of the last body, and forgets those that did not come again", async () => {
    const lane = new Lane();
    lane.serve([1], { etag: '"1"', lastModified: "yesterday" });
    await lane.read();
    lane.next = () => ({ type: "not-modified" });
    expect(await lane.read()).toEqual({ type: "not-modified" });
    expect(lane.requests[1]).toMatchObject({ etag: '"1"', lastModified: "yesterday", validatedUrl: URL_A });
    lane.serve([2], { lastModified: "today" });
    await lane.read();
    await lane.read();
    expect(lane.requests[3]).toMatchObject({ lastModified: "today" });
    expect(lane.requests[3]).not.toHaveProperty("etag");
  });

  test("of an empty channel is a read", async () => {
    const lane = new Lane();
    lane.serve([]);
    expect(await lane.read()).toMatchObject({ type: "read", entries: 0, new: 0 });
  });

  test.each([undefined, null, "x", {}, { url: 1 }, { url: URL_A, id: "a b" }])(
    "with the payload %j becomes a dead letter at once",
    async (payload) => {
      const read = feedReader({ fetcher: { fetch: () => Promise.reject(new Error("never")) }, attempts: 5 });
      const task = { id: "read", json: <T>() => payload as T };
      await expect(read(task, undefined as never)).rejects.toMatchObject({ permanent: true });
    },
  );
});

describe("trouble", () => {
  test("of the moment fails the attempt, and is recorded at the last", async () => {
    const lane = new Lane();
    lane.fail("UNREACHABLE");
    await expect(lane.read({ attempt: 4 })).rejects.toMatchObject({ code: "UNREACHABLE" });
    expect(lane.stored.size).toBe(0);
    expect(await lane.read({ attempt: 5 })).toMatchObject({ type: "failed", code: "UNREACHABLE", failures: 1 });
  });

  test("that lasts is recorded at once; the feed is asked less and less, then paused with the reason", async () => {
    const lane = new Lane();
    lane.fail("ADDRESS_REFUSED");
    let asked = 0;
    let last: ReadOutcome | undefined;
    for (let poll = 0; poll < 40_000 && last?.type !== "paused"; poll += 1) {
      last = await lane.read();
      asked += last.type === "failed" ? 1 : 0;
      lane.now += 60_000;
    }
    expect(asked).toBe(20);
    expect(last).toMatchObject({ type: "paused", code: "ADDRESS_REFUSED" });
    lane.serve([1]);
    expect(await lane.read()).toMatchObject({ type: "paused" });
    expect(await lane.read({ force: true })).toMatchObject({ type: "read", new: 1 });
    lane.serve([2]);
    expect(await lane.read()).toMatchObject({ type: "read", new: 1 });
  });

  test("of more new entries than an attempt may hand on is recorded, and none is", async () => {
    const lane = new Lane();
    const long = "\u0001".repeat(900); // six bytes each in JSON
    lane.serve(Array.from({ length: 2_000 }, (_, n) => `${long}${n}`));
    expect(await lane.read({ entryLimit: 2_000 })).toMatchObject({ type: "failed", code: "TOO_LARGE" });
    expect(lane.entries).toEqual([]);
  });

  test("a cancelled read is not the feed's failure", async () => {
    const lane = new Lane();
    lane.fail("CANCELLED");
    await expect(lane.read({ attempt: 5 })).rejects.toMatchObject({ code: "CANCELLED" });
  });

  test("what is not a feed does not disturb what was seen", async () => {
    const lane = new Lane();
    lane.serve([1]);
    await lane.read();
    lane.serveText("<html>maintenance</html>");
    expect(await lane.read()).toMatchObject({ type: "failed", code: "NOT_A_FEED" });
    lane.serve([2, 1]);
    expect(await lane.read()).toMatchObject({ type: "read", new: 1 });
  });

  test("a 304 to a first request is refused", async () => {
    expect(await new Lane().read()).toMatchObject({ type: "failed", code: "STATUS_REFUSED" });
  });
});

test("a feed that is gone is not asked again", async () => {
  const lane = new Lane();
  lane.next = () => ({ type: "gone" });
  expect(await lane.read()).toEqual({ type: "gone" });
  expect(await lane.read()).toEqual({ type: "gone" });
  expect(lane.requests).toHaveLength(1);
});

test("Retry-After is obeyed", async () => {
  const lane = new Lane();
  lane.next = () => ({ type: "deferred", status: 429, retryAfterMs: 90_000 });
  expect(await lane.read()).toEqual({ type: "deferred", status: 429, until: 1_090_000 });
  lane.now += 60_000;
  expect(await lane.read()).toEqual({ type: "waiting", until: 1_090_000 });
  lane.now += 60_000;
  lane.serve([1]);
  expect(await lane.read()).toMatchObject({ type: "read" });
  expect(lane.requests).toHaveLength(2);
});

test("a permanent redirect that holds for three reads becomes the address, until that fails", async () => {
  const moved = "https://new.example/a.xml";
  const lane = new Lane();
  for (let n = 1; n <= 3; n += 1) {
    lane.serve([n], { url: moved, movedTo: moved });
    await lane.read();
  }
  lane.serve([4], { url: moved });
  await lane.read();
  lane.serve([5], { url: moved });
  await lane.read();
  expect(lane.requests.map((request) => request.url)).toEqual([URL_A, URL_A, URL_A, moved, moved]);
  lane.fail("STATUS_REFUSED");
  await lane.read();
  lane.serve([6]);
  await lane.read();
  expect(lane.requests.at(-1)?.url).toBe(URL_A);
  expect(lane.entries.every((task) => task.feedUrl === URL_A)).toBe(true);
});

describe("P5: the memory of entries is bounded", () => {
  const entry = (id: number | string) => ({ id: String(id), title: "", contentHash: hashText(String(id)) });
  const state = () => {
    const values = new Map<string, Payload>();
    return {
      values,
      get: <T>(name: string) => values.get(name) as T | undefined,
      put: (name: string, value: Payload) => void values.set(name, value),
      delete: (name: string) => void values.delete(name),
    };
  };

  test("at its limit, and an entry that stays in the document is not handed on twice", () => {
    const stored = state();
    const handedOn = new Map<string, number>();
    const pinned = Array.from({ length: 50 }, (_, n) => entry(`pinned ${n}`));
    for (let poll = 0; poll < 400; poll += 1) {
      const seen = new SeenEntries(stored, 1_000);
      const document = [...pinned, ...Array.from({ length: 50 }, (_, n) => entry(poll * 10 + n))];
      seen.judge(document).forEach((novelty, at) => {
        const id = document[at]?.id ?? "";
        if (novelty === "new") handedOn.set(id, (handedOn.get(id) ?? 0) + 1);
      });
      expect(seen.size).toBeLessThanOrEqual(1_000);
      seen.store(stored);
    }
    expect(Math.max(...handedOn.values())).toBe(1);
    expect(handedOn.size).toBe(50 + 399 * 10 + 50);
    expect([...stored.values.values()].every((value) => value instanceof Uint8Array && value.length <= 4_096)).toBe(
      true,
    );
    expect(stored.values.size).toBeLessThanOrEqual(4);
  });

  test("at a limit that was lowered, and what it no longer holds is not left behind", () => {
    const stored = state();
    const before = new SeenEntries(stored, 2_000);
    before.judge(Array.from({ length: 2_000 }, (_, n) => entry(n)));
    before.store(stored);
    const after = new SeenEntries(stored, 500);
    expect(after.judge([entry(1_998), entry(1_999), entry(2_000)])).toEqual(["known", "known", "new"]);
    after.store(stored);
    expect([after.size <= 500, stored.values.size]).toEqual([true, 2]);
  });

  test("a poll that finds one new entry writes one chunk", () => {
    const stored = state();
    const first = new SeenEntries(stored, 2_000);
    first.judge(Array.from({ length: 900 }, (_, n) => entry(n)));
    first.store(stored);
    expect(stored.values.size).toBe(4);
    const put: string[] = [];
    const second = new SeenEntries(stored, 2_000);
    expect(second.judge([entry(0), entry(900)])).toEqual(["known", "new"]);
    second.store({ ...stored, put: (name) => put.push(name) });
    expect(put).toEqual(["seen/3"]);
  });

  test("a chunk that is not ours is taken as empty", () => {
    const stored = state();
    stored.put("seen/0", "x");
    expect(new SeenEntries(stored, 100).judge([entry(1)])).toEqual(["new"]);
  });
});

test("an app of feeds polls each by a schedule, under the key that reads by hand use too", () => {
  const app = feedsApp("feeds", {
    feeds: [
      { url: URL_A, everyMs: 60_000 },
      { url: "https://b.example/", id: "b" },
    ],
    onEntry: () => {},
  });
  const schedules = [...app.definition.schedules.values()];
  expect(schedules.map(({ name, key, taskType }) => [name, key, taskType])).toEqual([
    [`poll-${feedIdOf(URL_A)}`, readKeyOf(URL_A), "feeds.read"],
    ["poll-b", "https://b.example/", "feeds.read"],
  ]);
  expect([...app.tasks.keys()]).toEqual(["feeds.read", "entry"]);
  expect(readKeyOf(`https://b.example/${"x".repeat(600)}`)).toHaveLength(16);
});

test("a read has longer than its fetch, whose timeout is then the one that is recorded", () => {
  const timeoutOf = (fetch: object) =>
    feedsApp("feeds", { fetch, onEntry: () => {} }).definition.types.get("feeds.read")?.timeoutMs;
  expect(timeoutOf({})).toBe(30_000);
  expect(timeoutOf({ totalTimeoutMs: 60_000 })).toBe(70_000);
});

test.each([{ entryLimit: 0 }, { entryLimit: 20_000 }, { entryLimit: 1.5 }, { seenLimit: 100_000 }, { seenLimit: -1 }])(
  "an app with %j, with which no read could end well, is refused",
  (limits) => {
    expect(() => feedsApp("feeds", { ...limits, onEntry: () => {} })).toThrow(TypeError);
  },
);

test.each([
  ["one id for two feeds", { url: "https://b.example/", id: "a" }],
  ["two ids for one feed", { url: URL_A, id: "b" }],
])("an app with %s, one of which would never be heard of, is refused", (_what, second) => {
  expect(() => feedsApp("feeds", { feeds: [{ url: URL_A, id: "a" }, second], onEntry: () => {} })).toThrow(TypeError);
});

test.each([[{ url: "file:///x" }], [{ url: URL_A, id: "no spaces" }]])("an app with the feed %j is refused", (feed) => {
  expect(() => feedsApp("feeds", { feeds: [feed], onEntry: () => {} })).toThrow();
});
