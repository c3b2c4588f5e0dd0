/** `throttle` with the real clock. */

import { throttle as throttleWith } from "../built-ins.ts";
import type { Fitting } from "../fitting.ts";

/** At most `perSecond` inputs a second through each worker. */
export function throttle<T>(name: string, perSecond: number): Fitting<T, T> {
  return throttleWith<T>(name, perSecond, { wait });
}

function wait(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    signal.addEventListener("abort", done);
  });
}
