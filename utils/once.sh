#!/usr/bin/env bash
# Run a command unless its marker says that it has been done.
#
# Usage: once.sh <marker> <stamp> <command> [<arg>...]
#  e.g.: run.py JOB=1:4 log/x.JOB.log once.sh data/log/.x.JOB.done "$stamp" python -m avsv.bin.x ...
#
# Does nothing when <marker> holds <stamp>; else runs the command and, when it succeeds, writes <stamp> to <marker>.
# Wrapped around every parallel job, so that a step that was killed does not redo the jobs which had finished.
set -euo pipefail
# shellcheck source=utils/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -ge 3 ] || usage_error "usage: once.sh <marker> <stamp> <command> [<arg>...]"
marker=$1 stamp=$2
shift 2

if is_done "$marker" "$stamp"; then
  log "already done: $marker"
  exit 0
fi
rm -f "$marker"
"$@"
mark_done "$marker" "$stamp"
