# Sets the environment: sourced by every script and, on a cluster, by every job. Changes nothing on the machine.
# shellcheck shell=bash
AVSV_ROOT=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
export AVSV_ROOT
if [ ! -f "$AVSV_ROOT/.venv/.complete" ]; then
  echo "path.sh: no Python environment in $AVSV_ROOT/.venv: run '$AVSV_ROOT/tools/setup.sh' once" >&2
  return 1
fi
export PATH="$AVSV_ROOT/.venv/bin:$AVSV_ROOT/utils:$PATH"
export PYTHONPATH="$AVSV_ROOT${PYTHONPATH:+:$PYTHONPATH}"
export LC_ALL=C PYTHONUNBUFFERED=1
