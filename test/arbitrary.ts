/** Property tests see the same values in every run; `SEED=N` shows them others, `SEED=random` new ones each time. */

import fc from "fast-check";

const seed: string = process.env.SEED ?? "1";
if (seed !== "random") fc.configureGlobal({ seed: Number(seed) });

export { fc };
