#!/usr/bin/env bash
# Run a recipe once for each of several seeds, and compare the systems over the seeds; run.sh calls this.

seeds=                    # as in '0 1 2'; default: those of the study
study=                    # name of a study in conf/studies; empty: the systems are compared with each other
exp=exp                   # the run with seed N goes to EXP/seedN
preset=mini               # its folders are EXP/seedN/PRESET
corpus_seed=0             # the corpus and its lists are the same for all seeds
stop_stage=11             # last stage of run.sh; the comparison needs the normalized scores of stage 8
help_message="Run a recipe once for each of several seeds, and compare the systems over the seeds.

Usage: $0 [options] <systems> <data-dir> <run.sh> [<argument of run.sh>...]
 e.g.: $0 --seeds '0 1 2' 'ecapa ssa' data/eval ./run.sh --preset mini

Calls run.sh with the arguments and --seeds -, --seed N, --exp EXP/seedN and --corpus-seed for each seed N. Writes, for the
trial lists of <data-dir>, EXP/seeds/PRESET/{seeds.csv,seed_differences.csv,SEEDS.md}, or, for a study,
EXP/studies/STUDY/PRESET/{seeds.csv,seed_differences.csv,contrasts.png,STUDY.md}. What is complete is skipped: a seed that
is added later costs only itself.
"

{  # bash reads all of this before it runs any of it: editing the file does not disturb a run
set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -lt 3 ]; then
  usage
fi
systems=$1 data=${2%/} run=$3
shift 3

options=()
out=$exp/seeds/$preset
if [ -n "$study" ]; then
  out=$exp/studies/$study/$preset
  options=(--study "conf/studies/$study.yaml")
  [ -n "$seeds" ] || seeds=$(python -m avsv.bin.compare_seeds --list-seeds "${options[@]}")
else
  options=(--systems "$systems")
fi
runs=()
for seed in $seeds; do
  [[ $seed =~ ^[0-9]+$ ]] || usage_error "--seeds takes whole numbers, not '$seed'"
  log "seed $seed: $exp/seed$seed"
  "$run" "$@" --seeds - --seed "$seed" --corpus-seed "$corpus_seed" --exp "$exp/seed$seed"
  runs+=("$exp/seed$seed/$preset")
done
if [ "$stop_stage" -lt 8 ]; then
  log "no comparison over seeds: it needs the normalized scores of stage 8, and the runs stop after stage $stop_stage"
  exit 0
fi
[ ${#runs[@]} -gt 1 ] || die "--seeds '$seeds': a comparison over seeds needs at least two"
[ -n "$study" ] || [ "$systems" != all ] || options=(--systems "$(awk '{ printf "%s ", $1 }' "${runs[0]}/systems")")
mkdir -p "$out"
python -m avsv.bin.compare_seeds "${options[@]}" --data "$data" --out "$out" "${runs[@]}"
log "$out"
exit
}
