#!/usr/bin/env bash
# Fit gates that weigh voice and face by the quality of the recordings, and score with them: each is a system of its own.

cmd=run.py               # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
ngpu=0                   # 1: compute on a GPU; 0: on the CPU
num_workers=4            # loader processes on a GPU
config=conf/sweeps.yaml  # kinds and levels of corruption
noise_dir=               # data directory with wav.scp and utt2type, for noise and babble; without it, these kinds are
                         #   left out
rounds=10                # how often the test side of the development trials is corrupted
prior=0.5                # prior probability of a target trial that the fit is weighted for
seed=0                   # of all corruptions
top_n=300                # cohort speakers of adaptive s-norm
help_message="Fit gates that weigh voice and face by the quality of the recordings, and score with them.

Usage: $0 [options] <exp-dir> <systems> <cohort-data-dir> <development-data-dir> [<data-dir>...]
 e.g.: $0 --noise-dir data/musan exp/mini ssa data/train data/dev data/eval

For each of <systems> (one word, names separated by blanks), which take voice and face, corrupts the test side of the
development trials at random, with kinds and levels of the configuration and recordings of noise that sweeps do not use, and
fits from the measured quality (steps/measure_quality.sh) how far voice and face can be relied on. Writes
<exp-dir>/SYSTEM_gate/scores/gate.csv, and LIST/AVxAV.asnorm beside it: log-likelihood ratios in which both count as far as
they can be relied on. <exp-dir>/gates lists the gates, one line 'SYSTEM_gate SYSTEM/AVxAV SYSTEM/AxA SYSTEM/VxV' for each.
Evaluation trials are scored, but not used for the fit.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -lt 4 ]; then
  usage
fi
exp=${1%/} cohort=${3%/}
read -r -a systems <<<"$2"
shift 3
[ "$rounds" -ge 1 ] || usage_error "--rounds must be at least 1"
[ "$top_n" -ge 2 ] || usage_error "--top-n must be at least 2"

need_file "$config" "$cohort/utt2spk"
common=("$config" "$cohort/utt2spk")
options=(--config "$config" --cohort "$cohort" --rounds "$rounds" --prior "$prior" --seed "$seed" --top-n "$top_n")
if [ -n "$noise_dir" ]; then
  need_file "$noise_dir/wav.scp" "$noise_dir/utt2type"
  common+=("$noise_dir/wav.scp" "$noise_dir/utt2type")
  options+=(--noise-dir "$noise_dir")
fi
for data; do
  data=${data%/}
  trial_files "$data"
  [ -f "$data/.quality.done" ] || die "$data has no measured quality: run steps/measure_quality.sh first"
  common+=("${_trial_files[@]}" "$data/.quality.done" "$data"/utt2*_quality)
done
resources=()
if [ "$ngpu" -gt 0 ]; then
  options+=(--gpu --num-workers "$num_workers")
  resources=(--gpu 1)
fi

mkdir -p "$exp/log"
remove_stale "$exp" "$exp/log"
for system in "${systems[@]}"; do
  need_file "$exp/$system/final.pt"
  inputs=("${common[@]}" "$exp/$system/final.pt" "$exp/$system/scores/.norm.done")
  [ -f "$exp/$system/scores/.norm.done" ] || die "$exp/$system has no normalized scores: run steps/score_norm.sh first"
  for data in "$cohort" "$1"; do
    data=${data%/}
    need_embeddings "$exp/$system" "$data"
    inputs+=("$embedded")
  done
  name=${system}_gate
  marker=$exp/$name/scores/.norm.done
  stamp=$(stamp "$rounds $prior $seed $top_n" "${inputs[@]}")
  ! up_to_date "$marker" "$stamp" "$exp/$name: the gate is" || continue
  mkdir -p "$exp/$name/scores"
  remove_stale "$exp/$name/scores"
  launch ${resources[@]+"${resources[@]}"} "$exp/log/score_gate.$name.log" \
    python -m avsv.bin.score_gate "${options[@]}" "$exp" "$name" "$system" "$@"
  mark_done "$marker" "$stamp" "$exp/$name/scores/gate.csv" "$exp/$name"/scores/*/AVxAV.asnorm
  log "$(grep -m 1 "^$name: fitted" "$exp/log/score_gate.$name.log")"
done
names() { printf '%s\n' "${systems[@]}" | sed 's|.*|&_gate &/AVxAV &/AxA &/VxV|'; }
write_atomically "$exp/gates" names
