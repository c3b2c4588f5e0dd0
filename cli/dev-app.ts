/** The app that `ringctl dev` runs where none is given: something to submit to, look at and break. */

import { type App, defineApp, PermanentError, task } from "../services/app.ts";

const LONGEST_MS = 120_000;

const hello: App = defineApp("hello", {
  version: "1",
  tasks: {
    /** Counts the greetings of its key. */
    greet: task((view, context) => {
      const greetings = (context.state.get<number>("greetings") ?? 0) + 1;
      context.state.put("greetings", greetings);
      return { hello: view.key, greetings };
    }),
    /** Ends as a dead letter, to be looked at with `ringctl dead`. */
    fail: task(() => {
      throw new PermanentError("this task always fails");
    }),
    /** Takes 10 seconds, or `{"ms":…}`. */
    slow: task(
      async (view, context) => {
        const { ms = 10_000 } = view.payload.length === 0 ? {} : view.json<{ readonly ms?: number }>();
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, Math.min(ms, LONGEST_MS));
          context.signal.addEventListener("abort", () => {
            clearTimeout(timer);
            resolve();
          });
        });
        context.signal.throwIfAborted();
        return { sleptMs: ms };
      },
      { timeoutMs: LONGEST_MS + 5_000 },
    ),
  },
});

export const apps: readonly App[] = [hello];
