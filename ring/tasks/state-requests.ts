/** What is asked of a key's state, and of what gave way to it. */

import type { Core } from "./core.ts";
import type { TaskAnswer, TaskRequest } from "./engine-contract.ts";
import { laneName } from "./lane-name.ts";
import type { Vnode } from "./model.ts";
import { stateKey } from "./rows.ts";
import { asideOf, asidePrefix } from "./state-rows.ts";
import { type States, stateOf } from "./states.ts";
import { Undone } from "./undone.ts";

/** `undefined`: the vnode has closed, or is held and may not be changed (requests.ts, Q2). */
type Answered = (answer: TaskAnswer | undefined) => void;

export class StateRequests {
  readonly #core: Core;
  readonly #states: States;
  readonly #undone: Undone;

  constructor(core: Core, states: States) {
    this.#core = core;
    this.#states = states;
    this.#undone = new Undone(core);
  }

  read(vnode: Vnode, { app, key }: Extract<TaskRequest, { type: "read-state" }>, answered: Answered): void {
    const lane = this.#core.apps.get(app)?.lanes.get(key);
    this.#states.read(vnode, stateKey(app, key, ""), lane?.stateGroup ?? -1, (_now, rows) =>
      answered(rows === undefined ? undefined : { type: "state", values: stateOf(rows) }),
    );
  }

  /** With `drop` they are gone when that is answered. */
  aside(vnode: Vnode, { app, key, drop }: Extract<TaskRequest, { type: "read-aside" }>, answered: Answered): void {
    this.#states.read(vnode, asidePrefix(app, key), -1, (_now, rows) => {
      if (rows === undefined) return answered(undefined);
      const answer = { type: "aside", values: asideOf(rows) } as const;
      if (!drop || rows.length === 0) return answered(answer);
      if (vnode.phase === "held") return answered(undefined);
      for (const row of rows) {
        const at = new Uint8Array(row.key);
        this.#core.erase(vnode, at);
        this.#undone.add(vnode, at);
      }
      vnode.aside.delete(laneName(app, key));
      this.#core.afterwards(vnode, (closed) => answered(closed ? undefined : answer));
    });
  }
}
