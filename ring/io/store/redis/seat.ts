/**
 * The seat of a ring's only voter in a shared Redis: what its acceptor said, and whose word counts (`ring/node/sole-seat.ts`).
 *
 *   PREFIX:{ring}:seat   hash: of, holder (member ids), name (of the holder), token, history, epoch, run, state
 *
 * V1  Nothing is written but under the token that is there. A claim changes the token and reads what is written in one step.
 * V2  A claim on a seat that another holds counts only while token and the holder's lease are what the claimer has seen.
 * V3  What belongs to another voter is replaced only by what follows it: a newer document.
 * V4  A write without an answer is repeated until there is one: it says the same each time.
 * V5  One hash for each ring: it does not grow. A full memory refuses none of this (R4 of `scripts.ts`).
 */

import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { MemberId, NodeName } from "../../../ids.ts";
import type { SeatClaim, SeatFound, SeatResult, SeatWrite } from "../../../node/effects.ts";
import { decodeRegisterState, encodeRegisterState } from "../../register-codec.ts";
import type { SeatStore } from "../../seats.ts";
import { type RedisLink, RedisTrouble, scriptOf } from "./link.ts";

export class RedisSeat implements SeatStore {
  readonly #link: RedisLink;
  readonly #keys: readonly [string, string];
  readonly #member: { readonly name: NodeName; readonly id: MemberId };
  #closed = false;

  /** `link`: that of the lease, so that both are answered in the order they were asked. */
  constructor(link: RedisLink, options: { readonly prefix: string; readonly name: NodeName; readonly id: MemberId }) {
    this.#link = link;
    this.#keys = [`${options.prefix}:{ring}:seat`, `${options.prefix}:{ring}:nodes`];
    this.#member = options;
  }

  async claim({ of, seen, own, history, epoch }: SeatClaim): Promise<SeatResult> {
    const token = randomBytes(8).toString("hex");
    const args = [of, this.#member.id, this.#member.name, token, seen?.token ?? "", seen?.beat ?? ""];
    const written = own === undefined ? [history, epoch, 0, ""] : fieldsOf(own);
    try {
      const reply = await this.#link.script(CLAIM_SCRIPT, [...this.#keys], [...args, ...written], CALL_MS);
      const [verdict, wasOf, holder, wasToken, beat, run, state, isNewer] = reply as readonly [number, ...Buffer[]];
      if (Number(verdict) === 0) return { type: "held", token };
      if (Number(verdict) === 2)
        return { type: "held", token, kept: { state: decodeRegisterState(state!), run: Number(run) } };
      const found = seatFound([wasOf, holder, wasToken, beat].map(String));
      const { document } = Number(isNewer) === 1 ? decodeRegisterState(state!) : {};
      return { type: "refused", found, ...(document === undefined ? {} : { newer: document }) };
    } catch (error) {
      if (error instanceof RedisTrouble) return { type: "no-answer" };
      throw error;
    }
  }

  async write(seat: SeatWrite): Promise<boolean> {
    const args = [seat.token, ...fieldsOf(seat)];
    for (;;) {
      try {
        return Number(await this.#link.script(WRITE_SCRIPT, [this.#keys[0]], args, CALL_MS)) === 1;
      } catch (error) {
        // V4
        if (this.#closed || !(error instanceof RedisTrouble)) throw error;
        await delay(RETRY_MS);
      }
    }
  }

  async leave(token: string): Promise<void> {
    try {
      await this.#link.script(LEAVE_SCRIPT, [this.#keys[0]], [token, randomBytes(8).toString("hex")], CALL_MS);
    } catch (error) {
      if (!(error instanceof RedisTrouble)) throw error; // whoever waits for it takes it in time
    }
  }

  close(): void {
    this.#closed = true;
  }
}

/** Of whose seat, holder, token and the holder's lease, as the scripts give them. */
export function seatFound([of = "", holder = "", token = "", beat = ""]: readonly string[]): SeatFound | undefined {
  if (token === "") return undefined;
  return { of: of as MemberId, holder: holder === "" ? undefined : (holder as MemberId), token, beat };
}

function fieldsOf({ state, run }: Pick<SeatWrite, "state" | "run">): (string | number | Buffer)[] {
  const { history, epoch } = state.document ?? { history: 0, epoch: 0 };
  return [history, epoch, run, Buffer.from(encodeRegisterState(state))];
}

/**
 * KEYS: seat, nodes hash. ARGV: whose seat, claimer's id and name, its new token, token and lease as seen ("" for not; "dead"
 * for a lease: proved so), history and epoch of the claimer's document, then of the only voter itself run and state (0 and
 * "": another claims). Answers {verdict, of, holder, token, the holder's lease, run, state, whether the document kept is newer},
 * as they were. Verdicts: 0 held, with what the claim brought; 1 refused; 2 held, with what was kept.
 */
const CLAIM = `
redis.call('DEL', KEYS[1] .. ':none')
local was = redis.call('HMGET', KEYS[1], 'of', 'holder', 'token', 'name', 'run', 'state', 'history', 'epoch')
local beat = was[4] and redis.call('HGET', KEYS[2], was[4]) or ''
local own = ARGV[10] ~= ''
local newer = 1
if was[1] then
  newer = tonumber(ARGV[7]) - tonumber(was[7])
  if newer == 0 then newer = tonumber(ARGV[8]) - tonumber(was[8]) end
end
local verdict = 2
if not was[1] then verdict = own and 0 or 1
elseif was[1] ~= ARGV[1] then verdict = own and newer > 0 and 0 or 1
elseif was[2] == ARGV[2] then verdict = own and newer >= 0 and 0 or 2
elseif own and was[2] == '' then verdict = 2
elseif was[3] ~= ARGV[5] then verdict = 1
elseif beat ~= ARGV[6] and not (ARGV[6] == 'dead' and was[2] == ARGV[1]) then verdict = 1 end
if verdict ~= 1 then
  redis.call('HSET', KEYS[1], 'of', ARGV[1], 'holder', ARGV[2], 'name', ARGV[3], 'token', ARGV[4])
end
if verdict == 0 then
  redis.call('HSET', KEYS[1], 'history', ARGV[7], 'epoch', ARGV[8], 'run', ARGV[9], 'state', ARGV[10])
end
return {verdict, was[1] or '', was[2] or '', was[3] or '', beat or '', was[5] or '', was[6] or '', newer < 0 and 1 or 0}
`;

/** KEYS: seat. ARGV: token, history, epoch, run, state. Answers 1, or 0: somebody else has it (V1). */
const WRITE = `
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1] .. ':none')
redis.call('HSET', KEYS[1], 'history', ARGV[2], 'epoch', ARGV[3], 'run', ARGV[4], 'state', ARGV[5])
return 1
`;

/** KEYS: seat. ARGV: token, a new one. Nobody holds it then. */
const LEAVE = `
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'holder', '', 'name', '', 'token', ARGV[2])
return 1
`;

const CLAIM_SCRIPT = scriptOf(CLAIM);
const WRITE_SCRIPT = scriptOf(WRITE);
const LEAVE_SCRIPT = scriptOf(LEAVE);
const CALL_MS = 1_500;
const RETRY_MS = 100;
