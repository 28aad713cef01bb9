#!/usr/bin/env bash
# Set up what is missing, then check the style and run the tests.

cd "$(dirname "$0")/.." || exit 1
set -euo pipefail

help_message="Set up what is missing, then check the style and run the tests.

Usage: $0 [--all] [pytest arguments]
 e.g.: $0
       $0 --all              # the slow tests too
       $0 tests/scoring/test_metrics.py -k eer
"
all=false
case ${1:-} in
  -h | --help)
    printf '%s' "$help_message"
    exit 0
    ;;
  --all)
    all=true
    shift
    ;;
esac

tools/setup.sh --tests
. ./path.sh
export OMP_NUM_THREADS=1    # many small tensors: threads only get in each other's way

if [ $# -eq 0 ]; then
  echo "== shellcheck" >&2
  git ls-files -z --cached --others --exclude-standard | grep -zE '\.sh$|^\.ci/run$' | xargs -0 shellcheck -x
  echo "== ruff" >&2
  ruff check .
  ruff format --check .
fi
echo "== pytest" >&2
marker=()
"$all" || marker=(-m "not slow")
exec python -m pytest "${marker[@]+"${marker[@]}"}" "$@"
