/**
 * The seat of a ring's only voter in a real Redis: one holder at a time, whatever comes late.
 *
 * Seen to fail: each test by one line of the scripts, in `test/mutants/redis.json`.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { foundRing } from "../../ring/founding.ts";
import type { Epoch, MemberId, NodeName, RingId } from "../../ring/ids.ts";
import { parseRedisAddress } from "../../ring/io/store/redis/address.ts";
import { RedisLink } from "../../ring/io/store/redis/link.ts";
import { RedisSeat } from "../../ring/io/store/redis/seat.ts";
import type { SeatResult, SeatState } from "../../ring/node/effects.ts";
import { RedisServer } from "../../services/lab/redis.ts";
import { redisThere } from "../redis-there.ts";

describe.skipIf(!redisThere())("the seat of an only voter in Redis", () => {
  let redis: RedisServer;

  beforeAll(async () => {
    redis = await RedisServer.open();
  });

  afterAll(() => redis[Symbol.asyncDispose]());

  test("P7: who took it goes on from the last word that was written, and whoever had it writes no more", async () => {
    using first = open("takes", A);
    using second = open("takes", B);
    const token = tokenOf(await first.seat.claim({ of: A.id, history: 1, epoch: 5, own: said(5, 1) }));
    expect(await first.seat.write({ ...said(5, 7), token })).toBe(true);
    const found = foundBy(await second.seat.claim({ of: A.id, history: 1, epoch: 5 }));
    expect(found).toMatchObject({ of: A.id, holder: A.id, token });
    const taken = await second.seat.claim({ of: A.id, history: 1, epoch: 5, seen: found });
    expect(taken).toMatchObject({ type: "held", kept: { ...said(5, 7) } });
    expect(await first.seat.write({ ...said(5, 8), token })).toBe(false);
    expect(await second.seat.write({ ...said(5, 9), token: tokenOf(taken) })).toBe(true);
    // The member itself does not get it back while another speaks for it.
    const again = await first.seat.claim({ of: A.id, history: 1, epoch: 5, own: said(5, 8) });
    expect(again).toMatchObject({ type: "refused", found: { holder: B.id } });
  });

  test("P7: it is not taken from a holder whose lease was renewed since it was looked at", async () => {
    using first = open("lives", A);
    using second = open("lives", B);
    await redis.ask("hset", "lives:{ring}:nodes", A.name, `1000 ${A.id} 1`);
    await first.seat.claim({ of: A.id, history: 1, epoch: 5, own: said(5, 1) });
    const seen = foundBy(await second.seat.claim({ of: A.id, history: 1, epoch: 5 }));
    await redis.ask("hset", "lives:{ring}:nodes", A.name, `2500 ${A.id} 2`);
    expect(await second.seat.claim({ of: A.id, history: 1, epoch: 5, seen })).toMatchObject({ type: "refused" });
    // But for one whose process is proved to be gone.
    const { token } = seen;
    expect(await second.seat.claim({ of: A.id, history: 1, epoch: 5, seen: { token, beat: "dead" } })).toMatchObject({
      type: "held",
    });
  });

  test("P7: a proof that the member is dead says nothing of another that speaks for it", async () => {
    using first = open("proof", A);
    using second = open("proof", B);
    using third = open("proof", C);
    await first.seat.claim({ of: A.id, history: 1, epoch: 5, own: said(5, 1) });
    const seen = foundBy(await second.seat.claim({ of: A.id, history: 1, epoch: 5 }));
    const token = tokenOf(await second.seat.claim({ of: A.id, history: 1, epoch: 5, seen }));
    await redis.ask("hset", "proof:{ring}:nodes", B.name, `1000 ${B.id} 1`);
    expect(await third.seat.claim({ of: A.id, history: 1, epoch: 5, seen: { token, beat: "dead" } })).toMatchObject({
      type: "refused",
    });
  });

  test("P7: a voter that comes after it takes its place with a newer document only, and an older one learns that", async () => {
    using first = open("after", A);
    using second = open("after", B);
    const token = tokenOf(await first.seat.claim({ of: A.id, history: 1, epoch: 5, own: said(5, 1) }));
    const same = await second.seat.claim({ of: B.id, history: 1, epoch: 5, own: said(5, 1, B) });
    expect(same).toMatchObject({ type: "refused" });
    expect(same).not.toHaveProperty("newer");
    const next = await second.seat.claim({ of: B.id, history: 1, epoch: 6, own: said(6, 1, B) });
    expect(next).toEqual({ type: "held", token: expect.any(String) });
    expect(await first.seat.write({ ...said(5, 8), token })).toBe(false);
    const behind = await first.seat.claim({ of: A.id, history: 1, epoch: 5, own: said(5, 8) });
    expect(behind).toMatchObject({ type: "refused", newer: { epoch: 6 } });
  });

  test("P7: the member claims again at once after a restart, and goes on from what others said once they leave it", async () => {
    using first = open("again", A);
    using second = open("again", B);
    await first.seat.claim({ of: A.id, history: 1, epoch: 5, own: said(5, 1) });
    const restarted = await first.seat.claim({ of: A.id, history: 1, epoch: 5, own: said(5, 2) });
    expect(restarted).toEqual({ type: "held", token: expect.any(String) }); // its own disk knows as much
    const seen = foundBy(await second.seat.claim({ of: A.id, history: 1, epoch: 5 }));
    const taken = await second.seat.claim({ of: A.id, history: 1, epoch: 5, seen });
    expect(taken).toMatchObject({ kept: said(5, 2) });
    const token = tokenOf(taken);
    await second.seat.write({ ...said(5, 9), token });
    await second.seat.leave(token);
    const left = await first.seat.claim({ of: A.id, history: 1, epoch: 5, own: said(5, 2) });
    expect(left).toMatchObject({ type: "held", kept: said(5, 9) });
  });

  test("nobody speaks for a member that never wrote anything there", async () => {
    using second = open("never", B);
    expect(await second.seat.claim({ of: A.id, history: 1, epoch: 5 })).toEqual({ type: "refused", found: undefined });
  });

  test("P5: a Redis whose memory is full takes it, or nothing would be decided that makes room", async () => {
    await using small = await RedisServer.open();
    using first = open("full", A, small.url);
    await first.seat.claim({ of: A.id, history: 1, epoch: 5, own: said(5, 1) });
    await small.ask("set", "ballast", "x".repeat(200_000));
    await small.ask("config", "set", "maxmemory", "100kb");
    const token = tokenOf(await first.seat.claim({ of: A.id, history: 1, epoch: 5, own: said(5, 1) }));
    expect(await first.seat.write({ ...said(5, 2), token })).toBe(true);
  });

  function open(prefix: string, member: typeof A, url: string = redis.url): Disposable & { readonly seat: RedisSeat } {
    const link = new RedisLink(parseRedisAddress(`${url}/?prefix=${prefix}`), member.name);
    const seat = new RedisSeat(link, { prefix, ...member });
    return {
      seat,
      [Symbol.dispose]: () => {
        seat.close();
        link.close();
      },
    };
  }
});

const A = { name: "a" as NodeName, id: "a".repeat(32) as MemberId };
const B = { name: "b" as NodeName, id: "b".repeat(32) as MemberId };
const C = { name: "c" as NodeName, id: "c".repeat(32) as MemberId };

/** What an acceptor knows: a document of that epoch, and a promise of that round. */
function said(epoch: number, round: number, { name, id }: typeof A = A): SeatState {
  const member = { name, id, weight: 100, machine: name, directory: `/${name}` };
  const founded = foundRing({ ringId: "r".repeat(32) as RingId, ringSize: 8, member });
  return {
    run: 77,
    state: {
      version: 1,
      member: name,
      memberId: id,
      starts: 1,
      document: { ...founded, epoch: epoch as Epoch },
      promised: { round, member: name, starts: 1 },
      accepted: undefined,
    },
  };
}

function tokenOf(result: SeatResult): string {
  if (result.type !== "held") throw new Error(JSON.stringify(result));
  return result.token;
}

function foundBy(result: SeatResult): NonNullable<Extract<SeatResult, { type: "refused" }>["found"]> {
  if (result.type !== "refused" || result.found === undefined) throw new Error(JSON.stringify(result));
  return result.found;
}
