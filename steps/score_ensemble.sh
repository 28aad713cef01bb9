#!/usr/bin/env bash
# Combine the normalized scores of several systems: each ensemble becomes a system of its own.

cmd=run.py                  # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
config=conf/ensembles.yaml  # the ensembles: NAME: [SYSTEM, SYSTEM/MODE, ...]
prior=0.01                  # prior probability of a target trial that fitted weights are weighted for
help_message="Combine the normalized scores of several systems.

Usage: $0 [options] <exp-dir> <systems> [<development-data-dir>]
 e.g.: $0 exp/mini 'ecapa iresnet18 ssa' data/dev

For every ensemble of the configuration whose members are all among <systems> (one word, names separated by blanks),
writes <exp-dir>/NAME/scores/LIST/MODE.asnorm, the mean per trial over its members' scores. <exp-dir>/ensembles lists
the ensembles that were made, one line 'NAME SYSTEM/MODE ...' for each. Ensembles that lack a member are left out and
counted. With 'weights: fitted' in the configuration, the score is a weighted sum, with the weights of a logistic regression
on the trials of the development data, which are written to <exp-dir>/NAME/scores/weights.csv.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -ne 2 ] && [ $# -ne 3 ]; then
  usage
fi
exp=${1%/}
read -r -a systems <<<"$2"

need_file "$config"
inputs=("$config")
options=()
if [ $# -eq 3 ]; then
  trial_files "$3"
  inputs+=("${_trial_files[@]}")
  options=(--dev "$3")
fi
for system in "${systems[@]}"; do
  marker=$exp/$system/scores/.norm.done
  [ -f "$marker" ] || die "$exp/$system has no normalized scores: run steps/score_norm.sh first"
  inputs+=("$marker")
done
marker=$exp/.ensembles.done
stamp=$(stamp "$2 $prior" "${inputs[@]}")
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
remove_stale "$exp" "$exp"/*/scores/ "$exp"/*/scores/*/

launch "$exp/log/score_ensemble.log" \
  python -m avsv.bin.score_ensemble --config "$config" --prior "$prior" "${options[@]+"${options[@]}"}" "$exp" \
  "${systems[@]}"

while read -r name members; do
  mark_done "$exp/$name/scores/.norm.done" "$stamp" "$exp/$name"/scores/*/*.asnorm
  how=mean
  [ ! -f "$exp/$name/scores/weights.csv" ] || how="weighted sum"
  log "$name: $how of $members"
done <"$exp/ensembles"
grep 'left out' "$exp/log/score_ensemble.log" | grep -v 'not in this run$' >&2 || true
absent=$(grep -c 'left out, .* not in this run$' "$exp/log/score_ensemble.log" || true)
[ "$absent" -eq 0 ] || log "$absent other ensembles of $config are for systems that are not in this run"
mark_done "$marker" "$stamp"
