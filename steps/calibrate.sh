#!/usr/bin/env bash
# Turn normalized scores into log-likelihood ratios, with a linear calibration fitted on development trials.

cmd=run.py  # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
prior=0.01  # prior probability of a target trial that the fit is weighted for
quality=    # measures that the calibration uses besides the score, some of 'duration faces norm cohort'; default:
            #   none
help_message="Turn normalized scores into log-likelihood ratios.

Usage: $0 [options] <exp-dir> <systems> <development-data-dir> [<data-dir>...]
 e.g.: $0 exp/mini 'ecapa iresnet18 ssa' data/dev
       $0 --quality 'duration cohort' exp/mini 'ecapa iresnet18 ssa' data/dev data/eval

For each of <systems> (one word, names separated by blanks), each ensemble in <exp-dir>/ensembles and each gate in
<exp-dir>/gates, fits scale and offset of every mode by prior-weighted logistic regression on the trials of the
development data. Writes <exp-dir>/SYSTEM/scores/LIST/MODE.llr for all its lists, scores/calibration.csv, and
scores/thresholds.csv: the thresholds for given false-accept rates. Evaluation trials are not used.
With --quality, the regression also fits weights for quality measures of both utterances, and <data-dir>... are the data
directories of all other lists. The measures are the logarithm of the duration (utt2dur), in modes with video the
logarithm of the number of face crops (utt2num_faces), the norm of the embedding, and the mean score against the nearest
cohort speakers (steps/score_norm.sh). Each contributes the smaller and the larger of the two values. Ensembles lack the
last two.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -lt 3 ] || { [ $# -gt 3 ] && [ -z "$quality" ]; }; then
  usage
fi
exp=${1%/} data=${3%/}
read -r -a systems <<<"$2"
shift 3

trial_files "$data"
inputs=("${_trial_files[@]}")
options=()
if [ -n "$quality" ]; then
  options=(--quality "$quality" --others "$@" --)
  for dir in "$data" "$@"; do
    trial_files "$dir"
    inputs+=("${_trial_files[@]}")
    for name in utt2dur utt2num_faces; do [ ! -f "$dir/$name" ] || inputs+=("$dir/$name"); done
  done
fi
[ -f "$exp/ensembles" ] || die "$exp: the ensembles are not made: run steps/score_ensemble.sh first"
while read -r name _; do systems+=("$name"); done < <(ensembles_of "$exp")

todo=()
stamps=()
for system in "${systems[@]}"; do
  scores=$exp/$system/scores
  [ -f "$scores/.norm.done" ] || die "$exp/$system has no normalized scores: run steps/score_norm.sh first"
  stamp=$(stamp "$prior $quality" "$scores/.norm.done" "${inputs[@]}")
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

launch "$exp/log/calibrate.log" \
  python -m avsv.bin.calibrate --prior "$prior" "${options[@]+"${options[@]}"}" "$exp" "$data" "${todo[@]}"

for index in "${!todo[@]}"; do
  scores=$exp/${todo[index]}/scores
  mark_done "$scores/.calibration.done" "${stamps[index]}" "$scores"/*/*.llr "$scores"/{calibration,thresholds}.csv
done
# Lines 'SYSTEM MODE ...' of the modes that a system lacks.
omitted=$(sed -n 's|^.*/\([^/]*\)/scores: \([^:]*\): omitted: .*|\1 \2|p' "$exp/log/calibrate.log" |
  awk '$1 != last { printf "%s  %s:", last == "" ? "" : "\n", $1; last = $1 } { printf " %s", $2 } END { if (NR) print "" }')
fitted=()
for system in "${todo[@]}"; do
  [ "$(wc -l <"$exp/$system/scores/calibration.csv")" -eq 1 ] || fitted+=("$system")
done
[ ${#fitted[@]} -eq 0 ] || log "$exp: calibrated ${fitted[*]} on $data"
if [ -n "$omitted" ]; then
  log "warning: not calibrated, because target trials do not score higher than others:"
  printf '%s\n' "$omitted" >&2
fi
