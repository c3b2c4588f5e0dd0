#!/usr/bin/env node
/** The one program of the package, `ringctl`, also installed as `taskring`: parses the command line, runs it, exits. */

import { run } from "./run.ts";

process.exitCode = await run(process.argv.slice(2));
// Whatever was printed has left by now or leaves before `exit` events end; nothing else may keep the process alive.
process.stdout.write("", () => process.exit());
