/**
 * When a member that was taken for dead gets partitions again (flap damping).
 *
 * T1  A new process of it (a restart) at once; each further one within an hour waits twice as long, or until it has been
 *     alive for a minute.
 * T2  The process that it was before (it stood still, or was cut off) only after it has been alive without a break for a
 *     time that doubles with each such return: a node that freezes again and again loses its partitions once, not each
 *     time.
 * T3  Restarts and freezes are counted apart: what restarts often and then freezes once is steady after 10 s.
 */

import type { NodeName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { MemberNotice } from "../membership/events.ts";

export class Returns {
  readonly #lives = new Map<NodeName, Life>();
  readonly #restarts = new Map<NodeName, Past>();
  readonly #freezes = new Map<NodeName, Past>();

  notice(now: Instant, { type, member }: MemberNotice): void {
    const start = member.tags.get("starts");
    const known = this.#lives.get(member.name);
    // A suspicion breaks what was steady, also when it is refuted in time.
    const broken = type === "member-dead" || (type === "member-suspect" && known !== undefined);
    if (broken && known?.type === "new" && type === "member-suspect") known.since = now;
    else if (broken) this.#died(member.name, start);
    else if (type === "member-up" && known?.type === "dead") {
      const same = start !== undefined && start === known.start;
      this.#lives.set(member.name, same ? { type: "back", since: now, start } : { type: "new", since: now });
    } else if (known?.type === "back" && start !== known.start)
      this.#lives.set(member.name, { type: "new", since: now });
  }

  mayReturn(now: Instant, name: NodeName): boolean {
    const life = this.#lives.get(name);
    if (life?.type === "dead") return false;
    if (life?.type === "back") {
      const times = timesOf(now, this.#freezes.get(name));
      return now - life.since >= Math.min(STEADY_MOST_MS, STEADY_MS * 2 ** times); // T2
    }
    const past = this.#restarts.get(name);
    const times = timesOf(now, past);
    if (times === 0 || past === undefined) return true;
    // It may have restarted before anybody took it for dead: then it counts from the first look.
    if (life === undefined) this.#lives.set(name, { type: "new", since: now });
    else if (now - life.since >= STEADY_MOST_MS) return true;
    return now - past.last >= Math.min(MOST_MS, RESTART_WAIT_MS * 2 ** (times - 1)); // T1
  }

  /** Names that are no members of the ring are forgotten. */
  keep(isMember: (name: NodeName) => boolean): void {
    for (const names of [this.#restarts, this.#freezes])
      for (const name of names.keys()) if (!isMember(name)) names.delete(name);
  }

  /** Whoever died longest ago gives way; a member of the ring among them may return when it is there. */
  #died(name: NodeName, start: string | undefined): void {
    this.#lives.delete(name);
    this.#lives.set(name, { type: "dead", start });
    if (this.#lives.size > LIVES_MOST) this.#lives.delete(this.#lives.keys().next().value!);
  }

  /** The ring has taken it back. */
  returned(now: Instant, name: NodeName): void {
    const past = this.#lives.get(name)?.type === "back" ? this.#freezes : this.#restarts; // T3
    past.set(name, { times: timesOf(now, past.get(name)) + 1, last: now });
    this.#lives.delete(name);
  }
}

function timesOf(now: Instant, past: Past | undefined): number {
  return past === undefined || now - past.last > MEMORY_MS ? 0 : past.times;
}

interface Past {
  readonly times: number;
  readonly last: Instant;
}

/** Since it was last taken for dead; nothing for one that never was. `new`: it came back as another process. */
type Life =
  | { readonly type: "new"; since: Instant }
  | { readonly type: "dead"; readonly start: string | undefined }
  | { readonly type: "back"; readonly since: Instant; readonly start: string };

const MEMORY_MS = 3_600_000;
/** As membership's table. */
const LIVES_MOST = 8_192;
const MOST_MS = 600_000;
const RESTART_WAIT_MS = 4_000;
/** Longer than the stalls that are worth riding out: a stalled disk, a suspended machine, a long collection of garbage. */
const STEADY_MS = 10_000;
/** A minute without a break is steady, whatever was before. */
const STEADY_MOST_MS = 60_000;
