#!/usr/bin/env bash
# Make the lists that describe CREMA-D: different actors for training, development and evaluation, and drawn trials.

cremad_root='' musan_root='' rirs_root='' seed=0 cmd=run.py nj=4 preset=small
help_message="Make the lists that describe CREMA-D.

Usage: $0 --cremad-root <dir> [--musan-root <dir>] [--rirs-root <dir>] [--seed <n>] <data-dir>

The folder of CREMA-D has AudioWAV/, VideoFlash/ and VideoDemographics.csv. Substitutes are generated if MUSAN or
RIRS_NOISES is not given.
"
set -euo pipefail
: "$cmd" "$nj" "$preset"    # run.sh passes these to every local/prepare_data.sh
. ./path.sh
. utils/parse_options.sh
if [ $# -ne 1 ]; then
  printf '%s' "$help_message" >&2
  exit 2
fi
data=$1
[ -d "$cremad_root" ] || usage_error "--cremad-root DIR: say where CREMA-D is"

new=$data/.new
rm -rf "$new"
python local/cremad.py --seed "$seed" "$cremad_root" "$new"
for corpus in musan rirs; do
  root=${corpus}_root
  [ -z "${!root}" ] || python local/noises.py "$corpus" "${!root}" "$new/$corpus"
done
mapfile -t files < <(cd "$new" && find . -type f | LC_ALL=C sort)
stamp=$(cd "$new" && stamp "$seed $musan_root $rirs_root" "${files[@]}")
if is_done "$data/.corpus.done" "$stamp"; then
  rm -rf "$new"    # stage 1 has removed unusable utterances from the old lists, and later stages compare the content
  log "$data: the lists are up to date"
  exit 0
fi
rm -rf "${data:?}"/{train,dev,eval,musan,rirs,substitutes,.corpus.done}
mv "$new"/* "$data/"
rmdir "$new"
if [ -z "$musan_root" ] || [ -z "$rirs_root" ]; then
  python local/substitutes.py --seed "$seed" ${musan_root:+--no-noises} ${rirs_root:+--no-rooms} "$data"
fi
mark_done "$data/.corpus.done" "$stamp"
