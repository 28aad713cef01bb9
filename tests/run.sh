#!/usr/bin/env bash
# Set up the environment if it is missing, then check the style and run the tests.

cd "$(dirname "$0")/.." || exit 1
set -euo pipefail

help_message="Set up what is missing, then check the style and run the tests, two test files at a time.

Usage: $0 [--all] [pytest arguments]
 e.g.: $0
       $0 --all                            # the slow tests too
       $0 tests/scoring/test_metrics.py -k eer
       $0 -m 'not slow and not recipe'     # all but the tests that run run.sh
       $0 -n 0 tests/io                    # in one process, for a debugger
The style is checked when no pytest arguments are given.

Markers of tests, for -m:
  slow      takes minutes; left out without --all
  recipe    runs run.sh
  cluster   starts a Slurm cluster on this machine; skipped without root or Slurm
  browser   opens a page in Chromium; skipped where there is none
"
marker=(-m "not slow")
case ${1:-} in
  -h | --help)
    printf '%s' "$help_message"
    exit 0
    ;;
  --all)
    marker=()
    shift
    ;;
esac

tools/setup.sh --tests
. ./path.sh
export OMP_NUM_THREADS=1    # many small tensors: threads only get in each other's way
unset PYTHONDONTWRITEBYTECODE    # hundreds of programs would each compile the package again

if [ $# -eq 0 ]; then
  echo "== shellcheck" >&2
  git ls-files -z --cached --others --exclude-standard | grep -zE '\.sh$|^\.ci/run$' | xargs -0 -n 8 -P 2 shellcheck -x
  echo "== ruff" >&2
  ruff check .
  ruff format --check .
fi
echo "== pytest" >&2
# The tests of a file stay together and in order: they share what its fixtures make.
parallel=(-n 2 --dist loadfile --no-loadscope-reorder)
exec python -m pytest "${parallel[@]}" "${marker[@]+"${marker[@]}"}" "$@"
