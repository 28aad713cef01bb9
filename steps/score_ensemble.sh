#!/usr/bin/env bash
# Average the normalised scores of several systems: each ensemble becomes a system of its own.

cmd=run.py                    # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's own run.pl, slurm.pl, queue.pl
config=conf/ensembles.yaml    # NAME: [SYSTEM, SYSTEM/MODE, ...]
help_message="Average the normalised scores of several systems.

Usage: $0 [options] <exp-dir> <systems>
 e.g.: $0 exp/mini 'ecapa iresnet18 ssa'

For every ensemble of the configuration whose members are all among <systems> (one word, names separated by blanks),
writes <exp-dir>/NAME/scores/LIST/MODE.asnorm, the mean per trial over its members' scores. <exp-dir>/ensembles lists
what was made, one line 'NAME SYSTEM/MODE ...' each. An ensemble that lacks a member is left out, with a line.
Options:
  --cmd <launcher>       how to run the job ($cmd)
  --config <file>        the ensembles ($config)
"

set -euo pipefail
echo "$0 $*" >&2
. ./path.sh
. utils/parse_options.sh

if [ $# -ne 2 ]; then
  printf '%s' "$help_message" >&2
  exit 2
fi
exp=${1%/}
read -r -a systems <<<"$2"

need_file "$config"
inputs=("$config")
for system in "${systems[@]}"; do
  marker=$exp/$system/scores/.norm.done
  [ -f "$marker" ] || die "$exp/$system has no normalised scores: run steps/score_norm.sh first"
  inputs+=("$marker")
done
marker=$exp/.ensembles.done
stamp=$(stamp "$2" "${inputs[@]}")
made=true
if [ -f "$exp/ensembles" ]; then
  while read -r name _; do is_done "$exp/$name/scores/.norm.done" "$stamp" || made=false; done <"$exp/ensembles"
fi
if is_done "$marker" "$stamp" && [ "$made" = true ]; then
  log "$exp: ensembles are up to date"
  exit 0
fi
rm -f "$marker"
if [ -f "$exp/ensembles" ]; then
  while read -r name _; do rm -f "$exp/$name/scores/.norm.done"; done <"$exp/ensembles"
fi
mkdir -p "$exp/log"
remove_stale "$exp" "$exp"/*/scores/*/

$cmd "$exp/log/score_ensemble.log" \
  python -m avsv.bin.score_ensemble --config "$config" "$exp" "${systems[@]}"

while read -r name members; do
  mark_done "$exp/$name/scores/.norm.done" "$stamp"
  log "$name: mean of $members"
done <"$exp/ensembles"
# An ensemble that the configuration names and the run does not make is no error, but it must be seen.
grep 'left out' "$exp/log/score_ensemble.log" >&2 || true
mark_done "$marker" "$stamp"
