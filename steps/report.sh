#!/usr/bin/env bash
# Make the results of a run: results.csv and other tables, RESULTS.md, curves and report.html; show the table.

cmd=run.py                  # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
seed=0                      # of the run; the draws of speakers follow from it
resamples=1000              # draws of speakers for the 95 % intervals and differences
corpus=                     # name of the corpus; default: the word in the file 'corpus' beside the first data
                            #   directory
published=conf/published.csv  # published figures of the systems, shown beside ours where the file exists
run_options=                # options of run.sh besides preset, seed and systems, for the command shown with the
                            #   results
help_message="Make the results of a run.

Usage: $0 [options] <exp-dir> <systems> <data-dir>...
 e.g.: $0 --seed 0 exp/mini 'ecapa iresnet18 ssa' data/eval

For each of <systems> (one word, names separated by blanks) and each ensemble and gate of <exp-dir>, evaluates all
scores of the lists <data-dir>/trials/*, compares the systems, and evaluates them by condition, such as duration or gender,
as given by the lists utt2* and spk2* of <data-dir>. Writes <exp-dir>/results/results.csv,
differences.csv, conditions.csv, thresholds.csv, RESULTS.md, det.png, training.png, and report.html: one page with all
tables and plots, clips of the hardest trials, and the contents of <exp-dir>/sweeps, <exp-dir>/analysis and
<exp-dir>/SYSTEM/analysis. Prints the main table. Lists without labels have scores, but no error rates.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -lt 3 ]; then
  usage
fi
exp=${1%/} names=$2
shift 2
read -r -a systems <<<"$names"
preset=${exp##*/}
results=$exp/results

[ -n "$corpus" ] || corpus=$(corpus_of "$1")
command="./run.sh --preset $preset --seed $seed --systems '$names'${run_options:+ $run_options}"

[ -f "$exp/ensembles" ] || die "$exp: the ensembles are not made: run steps/score_ensemble.sh first"
inputs=("$exp/ensembles")
[ ! -f "$exp/gates" ] || inputs+=("$exp/gates")
options=()
if [ -f "$published" ]; then
  inputs+=("$published")
  options+=(--published "$published")
fi
labeled=
for data; do
  trial_files "$data"
  for file in "$data"/trials/*; do
    if any_labels "$file"; then
      labeled=yes
    else
      log "$file: no labels: scored in $exp/SYSTEM/scores/${file##*/}, but there are no error rates"
    fi
  done
  [ ! -f "$data/enroll" ] || inputs+=("$data/enroll")
  for file in "$data"/{utt2,spk2,trials/}*; do [ ! -f "$file" ] || inputs+=("$file"); done
done
for system in "${systems[@]}"; do
  cosine=$exp/$system/scores/.cosine.done
  [ -f "$cosine" ] || die "$exp/$system has no cosine scores: run steps/score_cosine.sh first"
  inputs+=("$cosine")
  [ ! -f "$exp/$system/train.csv" ] || inputs+=("$exp/$system/train.csv")
done
while read -r name _; do systems+=("$name"); done < <(ensembles_of "$exp")
for system in "${systems[@]}"; do
  scores=$exp/$system/scores
  [ -f "$scores/.norm.done" ] || die "$exp/$system has no normalized scores: run steps/score_norm.sh first"
  [ -f "$scores/.calibration.done" ] || die "$exp/$system has no calibrated scores: run steps/calibrate.sh first"
  inputs+=("$scores/.norm.done" "$scores/.calibration.done")
done

if [ -z "$labeled" ]; then
  log "$exp: no list of trials has labels: no results and no report"
  exit 0
fi

marker=$results/.done
stamp=$(stamp "$corpus $seed $resamples $command $names" "${inputs[@]}")
mkdir -p "$results" "$exp/log"
remove_stale "$results"
if ! up_to_date "$marker" "$stamp" "$results: results are"; then
  launch "$exp/log/results.log" \
    python -m avsv.bin.results --corpus "$corpus" --preset "$preset" --seed "$seed" --git "$(code_revision)" \
    --resamples "$resamples" --command "$command" "${options[@]+"${options[@]}"}" --systems "${systems[*]}" \
    "$exp" "$results" "$@"
  mark_done "$marker" "$stamp" "$results"/*.{csv,png,md,txt}
  log "$results: results.csv, differences.csv, conditions.csv, thresholds.csv"
fi

# The report shows more than the results depend on: clips, and whatever other steps found.
for data; do
  for name in faces.scp faces.conf audio.scp wav.scp; do
    [ ! -f "$data/$name" ] || inputs+=("$data/$name")
  done
done
for file in "$results"/*.{csv,png} "$exp"/{sweeps,analysis,*/analysis}/{*.csv,*.png,command.txt}; do
  [ ! -f "$file" ] || inputs+=("$file")
done
marker=$results/.report.done
stamp=$(stamp "$seed $command $names" "${inputs[@]}")
if ! up_to_date "$marker" "$stamp" "$results: the report is"; then
  launch "$exp/log/report.log" \
    python -m avsv.bin.report --seed "$seed" --command "$command" "${options[@]+"${options[@]}"}" --systems "$names" \
    "$exp" "$results" "$@"
  mark_done "$marker" "$stamp" "$results/report.html"
  log "$results: report.html"
fi
cat "$results/table.txt"
# A figure that means little, for example of a network that cannot tell speakers apart, comes with a warning on every run.
for system in "${systems[@]}"; do show_warnings "$system" "$exp/$system/log/score_norm.log"; done
