#!/bin/sh
# ringctl: the program beside this file, with the flags of Node that a process may only be given at its start
# (services/host/node-flags.ts says why). Others go into NODE_OPTIONS, as does another size of the young generation.
program=$(readlink -f "$0") || exit 1
case ${NODE_OPTIONS-} in
*max-semi-space-size*) exec node "${program%/*}/ringctl.js" "$@" ;;
*) exec node --max-semi-space-size=32 "${program%/*}/ringctl.js" "$@" ;;
esac
