#!/usr/bin/env node
/** The one program of the package, `ringctl`, also installed as `taskring`: parses the command line, runs it, exits. */

import module from "node:module";

// Before anything else is loaded: what Node compiled once is read back from its cache. Node 20 has none.
(module as { enableCompileCache?: () => unknown }).enableCompileCache?.();
const { run } = await import("./run.ts");

process.exitCode = await run(process.argv.slice(2));
// Whatever was printed has left by now or leaves before `exit` events end; nothing else may keep the process alive.
// An error of stdout is told in the turn after the write.
process.stdout.write("", () => setImmediate(() => process.exit()));
