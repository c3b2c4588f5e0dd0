#!/bin/sh
# ringctl: the program beside this file, with the flags of Node that a process may only be given at its start
# (services/host/node-flags.ts says why). Further ones go into NODE_OPTIONS.
program=$(readlink -f "$0")
exec node --max-semi-space-size=32 "${program%/*}/ringctl.js" "$@"
