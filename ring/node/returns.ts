/**
 * When a member that was taken for dead gets partitions again (flap damping).
 *
 * T1  A new process of it (a restart) at once; each further one within an hour waits twice as long.
 * T2  The process that it was before (it stood still, or was cut off) only after it has been alive without a break for a
 *     time that doubles with each return: a node that freezes again and again loses its partitions once, not each time.
 */

import type { NodeName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { MemberNotice } from "../membership/events.ts";

export class Returns {
  readonly #lives = new Map<NodeName, Life>();
  readonly #past = new Map<NodeName, { readonly times: number; readonly last: Instant }>();

  notice(now: Instant, { type, member }: MemberNotice): void {
    const start = member.tags.get("starts");
    const known = this.#lives.get(member.name);
    // A suspicion breaks what was steady, also when it is refuted in time.
    const broken = type === "member-dead" || (type === "member-suspect" && known !== undefined);
    if (broken) this.#lives.set(member.name, { type: "dead", start });
    else if (type === "member-up" && known?.type === "dead") {
      const same = start !== undefined && start === known.start;
      if (same) this.#lives.set(member.name, { type: "back", since: now, start });
      else this.#lives.delete(member.name);
    } else if (known?.type === "back" && start !== known.start) this.#lives.delete(member.name);
  }

  mayReturn(now: Instant, name: NodeName): boolean {
    const known = this.#past.get(name);
    const times = known === undefined ? 0 : this.#timesOf(now, name);
    const life = this.#lives.get(name);
    if (life?.type === "dead") return false;
    if (life?.type === "back") return now - life.since >= Math.min(STEADY_MOST_MS, STEADY_MS * 2 ** times); // T2
    if (times === 0 || known === undefined) return true;
    return now - known.last >= Math.min(MOST_MS, RESTART_WAIT_MS * 2 ** (times - 1)); // T1
  }

  /** The ring has taken it back. */
  returned(now: Instant, name: NodeName): void {
    this.#past.set(name, { times: this.#timesOf(now, name) + 1, last: now });
    this.#lives.delete(name);
  }

  #timesOf(now: Instant, name: NodeName): number {
    const known = this.#past.get(name);
    return known === undefined || now - known.last > MEMORY_MS ? 0 : known.times;
  }
}

/** Since it was last taken for dead; nothing for one that never was, or came back as another process. */
type Life =
  | { readonly type: "dead"; readonly start: string | undefined }
  | { readonly type: "back"; readonly since: Instant; readonly start: string };

const MEMORY_MS = 3_600_000;
const MOST_MS = 600_000;
const RESTART_WAIT_MS = 4_000;
/** Longer than the stalls that are worth riding out: a stalled disk, a suspended machine, a long collection of garbage. */
const STEADY_MS = 10_000;
/** A minute without a break is steady, whatever was before. */
const STEADY_MOST_MS = 60_000;
