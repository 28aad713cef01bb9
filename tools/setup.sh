#!/usr/bin/env bash
# Set up the machine: system packages through the package manager where that is allowed, a .venv from the lock file.
# Silent and instant when nothing is missing; run.sh and tests/run.sh call it first.

set -euo pipefail

tests=false
if [ "$*" = --tests ]; then
  tests=true
elif [ $# -gt 0 ]; then
  cat <<EOF
Install what the recipes need: sox, ffmpeg and espeak-ng through apt-get (where this user may), and the Python
packages of requirements.lock into .venv. Does nothing when nothing is missing.

Usage: $0 [--tests]

With --tests, root also gets Slurm, munge and Chromium, which some tests start for themselves; without them these are
skipped.
EOF
  case $1 in -h | --help) exit 0 ;; *) exit 2 ;; esac
fi

root=$(dirname "$(dirname "$(readlink -f "$0")")")
venv=$root/.venv
lock=$root/requirements.lock
complete=$venv/.complete    # holds the checksum of the lock file that .venv was made from

say() { echo "setup: $*" >&2; }
die() { echo "setup: error: $*" >&2; exit 1; }

missing_packages() {
  command -v sox >/dev/null || echo sox
  command -v ffmpeg >/dev/null || echo ffmpeg
  command -v espeak-ng >/dev/null || echo espeak-ng
  command -v python3 >/dev/null || echo python3
  # Debian ships ensurepip apart from python3; without it no environment can be made.
  [ -f "$complete" ] || python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

install_packages() {
  local apt=(apt-get)
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || die "missing: $*. Ask an administrator to run: apt-get install -y $*"
    apt=(sudo -n apt-get)
  fi
  command -v apt-get >/dev/null || die "missing: $*. Install them with this system's package manager and run again"
  say "installing system packages: $*"
  export DEBIAN_FRONTEND=noninteractive
  { "${apt[@]}" update -qq && "${apt[@]}" install -y -qq --no-install-recommends "$@"; } >"$log" 2>&1 ||
    { tail -n 10 "$log" >&2; die "apt-get failed (log above). By hand: ${apt[*]} install -y $*"; }
}

# Only root can start Slurm's daemons, so other users need not have these packages.
missing_for_tests() {
  [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return 0
  [ -x /usr/sbin/slurmctld ] && [ -x /usr/sbin/slurmd ] && [ -x /usr/bin/sbatch ] || echo slurm-wlm
  [ -x /usr/sbin/munged ] || echo munge
  command -v chromium >/dev/null || echo chromium
}

# Without a network, this must neither wait long nor fail: the tests report that they are skipped.
install_for_tests() {
  say "installing system packages for the tests: $*"
  export DEBIAN_FRONTEND=noninteractive
  local apt=(timeout 150 apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15)
  { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "$@"; } >/dev/null 2>&1 ||
    say "apt-get failed: the tests that need $* will be skipped"
}

install_environment() {
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die "python3 is $(python3 -V 2>&1 | cut -d' ' -f2); 3.10 or newer is needed"
  local started=$SECONDS uv_pin
  say "making $venv from requirements.lock (a few minutes, about 6 GB)"
  rm -rf "$venv"
  python3 -m venv "$venv" >"$log" 2>&1 || { tail -n 10 "$log" >&2; die "python3 -m venv failed (log above)"; }
  uv_pin=$(grep '^uv==' "$lock")
  # uv is several times faster than pip; pip is the fallback because only it reads a site's pip.conf.
  { "$venv/bin/python" -m pip install -q "$uv_pin" &&
    "$venv/bin/uv" pip install -q --compile-bytecode --python "$venv/bin/python" -r "$lock"; } >"$log" 2>&1 ||
    "$venv/bin/python" -m pip install -q -r "$lock" >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; die "installing requirements.lock failed (log above)"; }
  "$venv/bin/python" -c 'import cv2' 2>"$log" ||
    { tail -n 1 "$log" >&2; die "OpenCV lacks system libraries. Run: apt-get install -y libgl1 libglib2.0-0"; }
  md5sum <"$lock" >"$complete.tmp"
  mv "$complete.tmp" "$complete"
  say "environment ready after $((SECONDS - started)) s"
}

packages=$(missing_packages | tr '\n' ' ')
test_packages=
"$tests" && test_packages=$(missing_for_tests | tr '\n' ' ')
if [ -z "${packages// /}${test_packages// /}" ] && [ -f "$complete" ] &&
  [ "$(cat "$complete")" = "$(md5sum <"$lock")" ]; then
  exit 0
fi

log=$(mktemp)
trap 'wait; rm -f "$log"' EXIT
# Two set-ups at once would delete each other's work: the second waits, then finds nothing to do.
exec 9>"$root/.setup.lock"
flock 9
# shellcheck disable=SC2046,SC2086  # a list of package names
[ -z "${packages// /}" ] || install_packages $packages
# While the environment is made.
# shellcheck disable=SC2086  # the same
[ -z "${test_packages// /}" ] || install_for_tests $test_packages &
if [ ! -f "$complete" ] || [ "$(cat "$complete")" != "$(md5sum <"$lock")" ]; then
  install_environment
fi
