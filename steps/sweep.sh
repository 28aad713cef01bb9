#!/usr/bin/env bash
# Measure systems under corruptions of the test side: noise, rooms, codecs, blur, hidden faces, missing modalities, ...

nj=4                     # parallel jobs on the CPU; changes no result
cmd=run.py               # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
ngpu=0                   # GPUs, with a job on each; 0 computes on the CPU in --nj jobs
num_workers=4            # loader processes of each job on a GPU
config=conf/sweeps.yaml  # kinds of corruption and their levels
kinds=                   # some sweeps of the file, as in 'noise blur'; default: all
corrupted='test'         # test: enrollment is clean; both: both sides of a trial are corrupted
noise_dir=               # data directory with wav.scp and utt2type, for noise and babble; without it, these sweeps
                         #   are left out
seed=0                   # of all corruptions and of the drawn speakers
resamples=1000           # draws of speakers for the 95 % intervals
top_n=300                # cohort speakers of adaptive s-norm
corpus=                  # default: the word in the file 'corpus' beside the first data directory
help_message="Measure systems under corruptions of the test side.

Usage: $0 [options] <exp-dir> <systems> <cohort-data-dir> <data-dir>...
 e.g.: $0 --noise-dir data/musan exp/mini 'ecapa iresnet18 ssa' data/train data/eval

Corrupts the test side of all trials in <data-dir>/trials, embeds it with each of <systems> (one word, names separated
by blanks), and scores it with adaptive s-norm against the stored clean enrollment and cohort. Needs the embeddings of
all data directories. Writes <exp-dir>/sweeps/KIND.csv and KIND.png, and SWEEPS.md with all tables. Earlier measurements
are kept in <exp-dir>/sweeps/parts, so that only new systems and new sweeps are measured.
Of a gate (steps/score_gate.sh) among <systems>, the quality of the corrupted recordings is measured too.

The noises are a fixed quarter of each type in the list, chosen by the hash of their names. Training uses its whole list:
if the two lists are the same, a network may have heard these noises, at other places and with other voices.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -lt 4 ]; then
  usage
fi
exp=${1%/} names=$2 cohort=${3%/}
shift 3
read -r -a systems <<<"$names"
[ "$nj" -ge 1 ] || usage_error "--nj must be at least 1"
[ "$resamples" -ge 2 ] || usage_error "--resamples must be at least 2, better 1000"
[ "$top_n" -ge 2 ] || usage_error "--top-n must be at least 2"
[[ $corrupted =~ ^(test|both)$ ]] || usage_error "--corrupted is test or both, not '$corrupted'"
[ -n "$corpus" ] || corpus=$(corpus_of "$1")

need_file "$config" "$cohort/utt2spk"
common=("$cohort/utt2spk")
options=()
if [ -n "$noise_dir" ]; then
  need_file "$noise_dir/wav.scp" "$noise_dir/utt2type"
  common+=("$noise_dir/wav.scp" "$noise_dir/utt2type")
  options+=(--noise-dir "$noise_dir")
fi
for data; do
  data=${data%/}
  trial_files "$data"
  for name in utt2spk audio.scp faces.scp faces.conf .fbank.done .faces.done; do
    [ ! -f "$data/$name" ] || common+=("$data/$name")
  done
  common+=("$data"/trials/*)
  [ ! -f "$data/enroll" ] || common+=("$data/enroll")
done
stamps=()
for name in "${systems[@]}"; do
  system=$name
  inputs=("${common[@]}")
  gate=$exp/$name/scores/gate.csv
  if [ ! -f "$exp/$name/final.pt" ] && [ -f "$gate" ]; then
    system=${name%_gate}
    inputs+=("$gate")
    for data; do
      data=${data%/}
      [ -f "$data/.quality.done" ] || die "$data has no measured quality: run steps/measure_quality.sh first"
      inputs+=("$data/.quality.done" "$data"/utt2*_quality)
    done
  fi
  need_file "$exp/$system/final.pt"
  inputs+=("$exp/$system/final.pt")
  for data in "$cohort" "$@"; do
    data=${data%/}
    need_embeddings "$exp/$system" "$data"
    inputs+=("$embedded")
  done
  stamps+=("$(stamp "$corrupted $seed $resamples $top_n" "${inputs[@]}")")
done

out=$exp/sweeps
parts=$out/parts
marker=$out/.done
stamp=$(stamp "$corpus $kinds $names ${stamps[*]}" "$config")
! up_to_date "$marker" "$stamp" "$out: sweeps are" || exit 0
mkdir -p "$parts" "$exp/log"
remove_stale "$out" "$parts"/* "$exp/log"
options+=(--git "$(code_revision)" --config "$config" --kinds "$kinds" --systems "$names" --stamps "${stamps[*]}" --cohort "$cohort"
  --corrupted "$corrupted" --seed "$seed" --resamples "$resamples" --top-n "$top_n" --parts "$parts")
resources=()
if [ "$ngpu" -gt 0 ]; then
  nj=$ngpu
  options+=(--gpu --num-workers "$num_workers")
  resources=(--gpu 1)
fi

launch_jobs "corruptions of ${#systems[@]} systems" "$exp/log/sweep.*.progress" ${resources[@]+"${resources[@]}"} "$JOB=1:$nj" "$exp/log/sweep.$JOB.log" \
  python -m avsv.bin.sweep "${options[@]}" --job "$JOB" --num-jobs "$nj" --progress "$exp/log/sweep.$JOB.progress" \
  "$exp" "$out" "$@"

python -m avsv.bin.sweep --merge "${options[@]}" --corpus "$corpus" --preset "${exp##*/}" \
  "$exp" "$out" "$@" | while read -r line; do log "$line"; done

# Sweeps that were made before and still hold are shown too: the command makes them all.
made=$(cd "$out" && printf '%s ' *.csv)
command=(steps/sweep.sh --config "$config" --corrupted "$corrupted" --seed "$seed" --resamples "$resamples" --top-n "$top_n")
if [ -n "$kinds" ]; then
  made=${made//.csv/}
  command+=(--kinds "${made% }")
fi
[ -z "$noise_dir" ] || command+=(--noise-dir "$noise_dir")
command+=("$exp" "$names" "$cohort" "$@")
write_command "$out" "${command[@]}"
mark_done "$marker" "$stamp" "$out"/*.{csv,png,md}
log "$out: $(find "$out" -name '*.csv' | wc -l) sweeps of ${systems[*]}"
