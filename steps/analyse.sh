#!/usr/bin/env bash
# Analyze systems: geometry of their embeddings, cost, attention, and the utterances that are hard for them.

cmd=run.py  # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
seed=0      # of the samples and the projections
help_message="Analyze systems.

Usage: $0 [options] <exp-dir> <systems> <data-dir>
 e.g.: $0 exp/mini 'ecapa iresnet18 ssa' data/eval

Writes for each of <systems> (one word, names separated by blanks) to <exp-dir>/SYSTEM/analysis/
  geometry.csv    angles within and between identities, and between the voice and the face of a clip; silhouettes
  averaging.csv   correlation of the fused cosines with the means of the cosines of voice and face (1: a fusion that
                  only averages), of an audio-visual system
  angles.png      the angles as box plots
  projection.csv  utterances of some identities in the plane (UMAP), and projection.png
  cost.csv        parameters, multiply-adds and seconds of its networks for a clip of 3 s; needs SYSTEM/final.pt
  attention.csv   correlation of the temporal weights of voice and face in clips of 0.8 s, and attention.png of one
                  clip; only for trained systems with weight-enhanced pooling in both networks
  worth.csv       the attention of its poolings against the true worth of every moment, where data-dir has it
                  (utt2audio_worth, utt2video_worth)
  null.csv        how an audio-visual system represents a missing modality: the distance of embeddings without it from
                  their mean over the voices or faces of others
and to <exp-dir>/analysis/
  identities.csv  angles within each identity, and between voice and face of its clips, by system; identities.png shows
                  some of them
  hard.csv        if there are scores: about 20 utterances that the best voice and face systems most often get wrong, on
                  the list on which they err most, and the systems in whose embedding space they are outliers; hard.png
                  shows them (t-SNE)
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -ne 3 ]; then
  usage
fi
exp=${1%/} data=${3%/}
read -r -a systems <<<"$2"

need_file "$data/utt2spk"
todo=()
stamps=()
markers=()
for system in "${systems[@]}"; do
  need_embeddings "$exp/$system" "$data"
  markers+=("$embedded")
  inputs=("$embedded" "$data/utt2spk")
  for name in utt2{audio,video}_worth; do [ ! -f "$data/$name" ] || inputs+=("$data/$name"); done
  stamp=$(stamp "$seed" "${inputs[@]}")
  is_done "$exp/$system/analysis/.done" "$stamp" && continue
  todo+=("$system")
  stamps+=("$stamp")
  rm -f "$exp/$system/analysis/.done"
  remove_stale "$exp/$system/analysis"
done
mkdir -p "$exp/log"
if [ ${#todo[@]} -gt 0 ]; then
  launch "$exp/log/analyse.log" \
    python -m avsv.bin.analyse --seed "$seed" "$exp" "$data" "${todo[@]}"
  for index in "${!todo[@]}"; do
    system=${todo[index]}
    write_command "$exp/$system/analysis" steps/analyse.sh --seed "$seed" "$exp" "$system" "$data"
    mark_done "$exp/$system/analysis/.done" "${stamps[index]}" "$exp/$system"/analysis/*.{csv,png}
  done
  log "$exp: angles, projections and costs of ${todo[*]}"
fi

mkdir -p "$exp/analysis"
remove_stale "$exp/analysis"
stamp=$(stamp "$seed $2" "${markers[@]}" "$data/utt2spk")
if ! is_done "$exp/analysis/.identities.done" "$stamp"; then
  rm -f "$exp/analysis/.identities.done"
  launch "$exp/log/identities.log" \
    python -m avsv.bin.compare_identities --seed "$seed" "$exp" "$data" "$exp/analysis" "${systems[@]}"
  write_command "$exp/analysis" steps/analyse.sh --seed "$seed" "$exp" "$2" "$data"
  mark_done "$exp/analysis/.identities.done" "$stamp" "$exp"/analysis/identities.{csv,png}
fi

scored=()
for system in "${systems[@]}"; do
  for name in cosine norm; do
    [ ! -f "$exp/$system/scores/.$name.done" ] || scored+=("$exp/$system/scores/.$name.done")
  done
done
if [ ${#scored[@]} -eq 0 ]; then
  log "$exp: no hard samples without scores: run steps/score_cosine.sh first"
  exit 0
fi
marker=$exp/analysis/.done
trial_files "$data"
stamp=$(stamp "$seed $2" "${_trial_files[@]}" "${scored[@]}")
if is_done "$marker" "$stamp"; then
  [ ${#todo[@]} -gt 0 ] || log "$exp: analyses are up to date"
  exit 0
fi
rm -f "$marker" "$exp"/analysis/hard.{csv,png}
launch "$exp/log/hard_samples.log" \
  python -m avsv.bin.hard_samples --seed "$seed" "$exp" "$data" "$exp/analysis" "${systems[@]}"
mark_done "$marker" "$stamp" "$exp"/analysis/hard.{csv,png}
if [ -f "$exp/analysis/hard.csv" ]; then
  log "$exp: hard utterances of $data"
else
  log "$exp: no hard utterances: they are those of a system of the voice and one of the face, on a list with labels"
fi
