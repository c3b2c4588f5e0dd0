/**
 * The lease in a real Redis, and the watch over whether it is still the same one.
 *
 * Seen to fail: by not comparing beats, and by granting it to a second process of the member.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RingError } from "../../ring/errors.ts";
import type { NodeName, Partition } from "../../ring/ids.ts";
import { parseRedisAddress } from "../../ring/io/store/redis/address.ts";
import { RedisLease } from "../../ring/io/store/redis/lease.ts";
import { openRedisStore } from "../../ring/io/store/redis/store.ts";
import { waitUntil } from "../../services/lab/lab.ts";
import { RedisServer } from "../../services/lab/redis.ts";
import { redisThere } from "../redis-there.ts";

describe.skipIf(!redisThere())("the lease in Redis", () => {
  let redis: RedisServer;

  beforeAll(async () => {
    redis = await RedisServer.open();
  });

  afterAll(() => redis[Symbol.asyncDispose]());

  test("P1: a Redis that went back by more than it may breaks the store; less is what a crash of it costs", async () => {
    const prefix = "older";
    await using watched = holder({ prefix, memberId: "a", olderMs: 1_500 });
    const back = async (beats: number): Promise<void> => {
      const line = String(await redis.ask("hget", `${prefix}:{ring}:nodes`, "n1"));
      const [expires, process, beat] = line.split(" ");
      await redis.ask(
        "hset",
        `${prefix}:{ring}:nodes`,
        "n1",
        `${expires} ${process} ${Math.max(0, Number(beat) - beats)}`,
      );
    };
    await waitUntil("it is held for a while", () => watched.grants > 3, 10_000);
    await back(2);
    const { grants } = watched;
    await waitUntil("it is renewed", () => watched.grants > grants + 12, 10_000);
    expect(watched.broken).toBeUndefined();
    await back(12);
    await waitUntil("it is noticed", () => watched.broken !== undefined, 5_000);
    expect(watched.broken?.code).toBe("STORE_BROKEN");
  });

  test("P5: a Redis whose memory is full takes renewals and openings, or nothing would end that makes room", async () => {
    await using small = await RedisServer.open();
    await using watched = new Holder({ url: small.url, prefix: "taskring", memberId: "a" });
    await using store = await openRedisStore({ address: small.url });
    const term = await store.open(P, FIRST);
    const row = { key: Uint8Array.of(1), value: new Uint8Array(10_000) };
    await store.commit([{ partition: P, term, changes: [row] }]);
    await waitUntil("it is held", () => watched.grants > 0, 10_000);
    await small.ask("config", "set", "maxmemory", "100kb");
    const { grants } = watched;
    await waitUntil("it is renewed", () => watched.grants > grants + 3, 5_000);
    expect((await store.open(P, FIRST)).opens).toBe(2);
    const next = await store.open(P, { ...FIRST, generation: 2 });
    expect(next.opens).toBe(1);
    expect(await store.commit([{ partition: P, term: next, changes: [{ key: row.key }] }])).toEqual({ refused: [] });
  });

  test("P7: of two processes of one member only one holds it, until the other gives it back", async () => {
    const prefix = "twice";
    const first = holder({ prefix, memberId: "a" });
    await waitUntil("the first holds it", () => first.grants > 0, 5_000);
    await using second = holder({ prefix, memberId: "b" });
    const { grants } = first;
    await waitUntil("it is renewed", () => first.grants > grants + 3, 10_000);
    expect(second.grants).toBe(0);
    await first[Symbol.asyncDispose]();
    await waitUntil("the second holds it", () => second.grants > 0, 5_000);
  });

  test("P8: why there is none is said: it is a replica, another has it", async () => {
    await using replica = await RedisServer.open({ settings: ["--replicaof", "127.0.0.1", String(redis.port)] });
    await using beside = new Holder({ url: replica.url, prefix: "replica", memberId: "a" });
    await using first = holder({ prefix: "said", memberId: "a" });
    await waitUntil("the first holds it", () => first.grants > 0, 5_000);
    await using second = holder({ prefix: "said", memberId: "b" });
    await waitUntil("both say it", () => beside.said.length > 0 && second.said.length > 0, 10_000);
    expect(beside.said).toEqual([expect.stringMatching(/READONLY/)]);
    expect(second.said).toEqual([expect.stringMatching(/another directory of node n1/)]);
    expect(first.said).toEqual([]);
  });

  test("P5: a lease that cannot be read is passed over, or written anew by its member: every member lost its own for it", async () => {
    const prefix = "garbage";
    await using watched = holder({ prefix, memberId: "a", olderMs: 200 });
    await waitUntil("it is held for a while", () => watched.grants > 3, 10_000);
    for (const garbage of [
      ["n2", "garbage"],
      ["n3", ""],
      ["n1", "garbage"],
    ] as const) {
      await redis.ask("hset", `${prefix}:{ring}:nodes`, ...garbage);
      const { grants } = watched;
      await waitUntil("it is renewed", () => watched.grants > grants + 2, 5_000);
    }
    expect(watched.broken).toBeUndefined();
  });

  test("P1: a disk too full to remember the store costs no node: it is remembered when there is room, and held then", async () => {
    let isFull = true;
    await using watched = holder({
      prefix: "full",
      memberId: "a",
      remember: async () => {
        if (isFull) throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
      },
    });
    await waitUntil("it is said", () => watched.said.length > 0, 10_000);
    expect({ said: watched.said, grants: watched.grants }).toEqual({
      said: [expect.stringMatching(/ENOSPC/)],
      grants: 0,
    });
    isFull = false;
    await waitUntil("it is held", () => watched.grants > 0, 5_000);
  });

  function holder(options: Omit<HolderOptions, "url">): Holder {
    return new Holder({ ...options, url: redis.url });
  }
});

const P = 7 as Partition;
const FIRST = { history: 1, generation: 1 };

interface HolderOptions {
  readonly url: string;
  readonly prefix: string;
  readonly memberId: string;
  readonly olderMs?: number;
  readonly remember?: () => Promise<void>;
}

class Holder implements AsyncDisposable {
  grants = 0;
  broken: RingError | undefined;
  readonly said: string[] = [];
  readonly #lease: RedisLease;

  constructor({ url, prefix, memberId, olderMs, remember }: HolderOptions) {
    this.#lease = new RedisLease({
      address: parseRedisAddress(`${url}/?prefix=${prefix}`),
      member: "n1" as NodeName,
      memberId,
      leaseMs: 500,
      storeId: undefined,
      ringId: () => "ring",
      newStoreId: () => "0".repeat(32),
      remember: remember ?? (async () => {}),
      onLease: () => {
        this.grants++;
      },
      onBroken: (error) => {
        this.broken = error;
      },
      ...(olderMs === undefined ? {} : { olderMs }),
      log: { warn: (fields) => void this.said.push(String((fields as { readonly detail: string }).detail)) },
    });
    this.#lease.start();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#lease[Symbol.asyncDispose]();
  }
}
