#!/usr/bin/env bash
# Train several systems, each after the systems that it is initialized from: one after the other, or some at a time.

cmd=run.py                # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
train_jobs=1              # systems that train at the same time, each with --nodes x --ngpu GPUs
seed=0                    # this and the following are for each training, see steps/train.sh
ngpu=0                    # GPUs of each node
nodes=1                   # nodes of a Slurm cluster that train one system together
num_workers=2             # loader processes of each training process
weights_dir=data/weights  # where utils/download_weights.sh puts published weights
help_message="Train several systems, each after the systems that it is initialized from.

Usage: $0 [options] <train-data-dir> <dev-data-dir> <exp-dir> <system>...
 e.g.: $0 --train-jobs 2 data/train data/dev exp/mini ecapa iresnet18 ssa

Reads <exp-dir>/systems, <exp-dir>/conf/fbank.yaml and <exp-dir>/conf/systems/SYSTEM.yaml, which avsv.bin.configure
writes, and trains each system in <exp-dir>/SYSTEM with steps/train.sh. Uses the noises and room responses in musan and rirs
next to the training data, if these exist.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -lt 4 ]; then
  usage
fi
[ "$train_jobs" -ge 1 ] || usage_error "--train-jobs must be at least 1"
train=${1%/} dev=${2%/} exp=${3%/}
shift 3
need_file "$exp/systems" "$exp/conf/fbank.yaml"
corpora=$(dirname "$train")

train_command() {   # <system>: sets the array command
  local augment=() init
  init=$(awk -v name="$1" -v dir="$exp" '$1 == name {
    for (i = 3; i <= NF; i++) {   # ROLE=SYSTEM of this run, or ROLE=FOLDER of another
      role = source = $i; sub(/=.*/, "", role); sub(/^[a-z]*=/, "", source)
      printf "%s%s=%s", (i > 3 ? " " : ""), role, (source ~ /\// ? source : dir "/" source)
    } }' "$exp/systems")
  [ ! -f "$corpora/musan/wav.scp" ] || augment+=(--noise-dir "$corpora/musan")
  [ ! -f "$corpora/rirs/wav.scp" ] || augment+=(--rir-dir "$corpora/rirs")
  command=(steps/train.sh --cmd "$cmd" --ngpu "$ngpu" --nodes "$nodes" --num-workers "$num_workers" --seed "$seed"
    ${augment[@]+"${augment[@]}"} --fbank-config "$exp/conf/fbank.yaml" --init "$init" --weights-dir "$weights_dir"
    "$exp/conf/systems/$1.yaml" "$train" "$dev" "$exp/$1")
}

if [ "$train_jobs" -eq 1 ]; then
  for name; do
    train_command "$name"
    "${command[@]}"
  done
  exit 0
fi

# On one machine the GPUs are shared out here; a cluster shares out its own.
options=()
[ "$ngpu" -eq 0 ] || [[ ${cmd%% *} != *run.* ]] || options=(--gpu "$ngpu")
mkdir -p "$exp/log"
while [ $# -gt 0 ]; do
  # Those of the remaining systems that start from none of the others.
  read -r -a now <<<"$(awk -v names="$*" 'BEGIN { split(names, name, " "); for (i in name) waits[name[i]] }
    $1 in waits { for (i = 3; i <= NF; i++) { sub(/.*=/, "", $i); if ($i in waits) next }; printf "%s ", $1 }' "$exp/systems")"
  [ ${#now[@]} -gt 0 ] || die "$exp/systems does not name all of: $*"
  progress=()
  for index in "${!now[@]}"; do
    train_command "${now[index]}"
    printf '%q ' "${command[@]}" >"$exp/log/train.$((index + 1)).sh"
    progress+=("$exp/${now[index]}/log/train.progress")
  done
  log "training ${now[*]}, $train_jobs at a time: $exp/log/train.*.log"
  start_progress "steps of those begun" "${progress[@]}"
  cmd=run.py launch --max-jobs-run "$train_jobs" ${options[@]+"${options[@]}"} "$JOB=1:${#now[@]}" "$exp/log/train.$JOB.log" \
    bash "$exp/log/train.$JOB.sh"
  stop_progress
  later=()
  for index in "${!now[@]}"; do
    grep -F "train.sh: $exp/${now[index]}: " "$exp/log/train.$((index + 1)).log" >&2 || true
  done
  for name; do [[ " ${now[*]} " == *" $name "* ]] || later+=("$name"); done
  set -- ${later[@]+"${later[@]}"}
done
