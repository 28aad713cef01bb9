#!/usr/bin/env bash
# Turn normalised scores into log-likelihood ratios, with a linear calibration fitted on development trials.

cmd=run.py                    # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's own run.pl, slurm.pl, queue.pl
prior=0.01                    # of a target trial, near which the calibration is best
help_message="Turn normalised scores into log-likelihood ratios.

Usage: $0 [options] <exp-dir> <systems> <development-data-dir>
 e.g.: $0 exp/mini 'ecapa iresnet18 ssa' data/dev

For each of <systems> (one word, names separated by blanks) and each ensemble in <exp-dir>/ensembles, fits scale and
offset of every mode by prior-weighted logistic regression on the trials of the development data, and writes
<exp-dir>/SYSTEM/scores/LIST/MODE.llr for all its lists, and scores/calibration.csv. Evaluation trials take no part.
Options:
  --cmd <launcher>       how to run the job ($cmd)
  --prior <p>            prior probability of a target trial that the fit is weighted for ($prior)
"

set -euo pipefail
echo "$0 $*" >&2
. ./path.sh
. utils/parse_options.sh

if [ $# -ne 3 ]; then
  printf '%s' "$help_message" >&2
  exit 2
fi
exp=${1%/} data=${3%/}
read -r -a systems <<<"$2"

need_file "$data/utt2spk" "$data"/trials/*
[ -f "$exp/ensembles" ] || die "$exp: the ensembles are not made: run steps/score_ensemble.sh first"
while read -r name _; do systems+=("$name"); done <"$exp/ensembles"

todo=()
stamps=()
for system in "${systems[@]}"; do
  scores=$exp/$system/scores
  [ -f "$scores/.norm.done" ] || die "$exp/$system has no normalised scores: run steps/score_norm.sh first"
  stamp=$(stamp "$prior" "$scores/.norm.done" "$data/utt2spk" "$data"/trials/*)
  is_done "$scores/.calibration.done" "$stamp" && continue
  todo+=("$system")
  stamps+=("$stamp")
  rm -f "$scores/.calibration.done"
  remove_stale "$scores" "$scores"/*/
done
if [ ${#todo[@]} -eq 0 ]; then
  log "$exp: calibrated scores are up to date"
  exit 0
fi
mkdir -p "$exp/log"

$cmd "$exp/log/calibrate.log" \
  python -m avsv.bin.calibrate --prior "$prior" "$exp" "$data" "${todo[@]}"

for index in "${!todo[@]}"; do mark_done "$exp/${todo[index]}/scores/.calibration.done" "${stamps[index]}"; done
log "$exp: calibrated ${todo[*]} on $data"
