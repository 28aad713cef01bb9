#!/usr/bin/env bash
# Embed every utterance of data directories with a trained system, in parallel jobs.

nj=4           # parallel jobs on the CPU; changes no result
cmd=run.py     # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
ngpu=0         # GPUs, with a job on each; 0 computes on the CPU in --nj jobs
num_workers=4  # loader processes of each job on a GPU
modes=         # as in 'AV A'; nothing for all modes of the system
help_message="Embed every utterance of data directories with a trained system, in parallel jobs.

Usage: $0 [options] <system-dir> <data-dir>...
 e.g.: $0 --nj 8 exp/mini/ssa data/train data/dev data/eval

Writes <system-dir>/embeddings/SET.MODE.ark and .scp, where SET is the name of a data directory and MODE what the
embedding is made from: A, V or AV. Utterances that lack a modality of a mode have no embedding in it; they are counted
and listed in SET.MODE.missing. Modes in which a whole set lacks a modality are left out. Data directories that are
already embedded are skipped.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -lt 2 ]; then
  usage
fi
system=${1%/}
shift
[ "$nj" -ge 1 ] || usage_error "--nj must be at least 1"
need_file "$system/final.pt" "$system/config.yaml"
for data; do need_file "$data/utt2spk"; done

out=$system/embeddings
sets=()
stamps=()
for data; do
  data=${data%/}
  inputs=("$system/final.pt")
  for name in utt2spk feats.scp audio.scp faces.scp faces.conf utt2{audio,video}_worth .fbank.done .faces.done; do
    [ ! -f "$data/$name" ] || inputs+=("$data/$name")
  done
  stamp=$(stamp "$modes" "${inputs[@]}")
  is_done "$out/.${data##*/}.done" "$stamp" && continue
  sets+=("$data")
  stamps+=("$stamp")
done
if [ ${#sets[@]} -eq 0 ]; then
  log "$system: embeddings are up to date"
  exit 0
fi

logdir=$system/log
parts=$out/parts
mkdir -p "$logdir" "$parts"
# From here on the old embeddings are not to be trusted, whichever options the next run has.
for data in "${sets[@]}"; do rm -f "$out/.${data##*/}.done"; done
remove_stale "$out" "$parts" "$logdir"
options=(--parts "$parts" --modes "$modes")
resources=()
if [ "$ngpu" -gt 0 ]; then
  nj=$ngpu
  options+=(--gpu --num-workers "$num_workers")
  resources=(--gpu 1)
fi

launch_jobs "embeddings of $system" "$logdir/extract.*.progress" ${resources[@]+"${resources[@]}"} "$JOB=1:$nj" "$logdir/extract.$JOB.log" \
  utils/once.sh "$parts/.$JOB.done" "$nj ${stamps[*]} ${sets[*]}" \
  python -m avsv.bin.extract_embeddings "${options[@]}" --job "$JOB" --num-jobs "$nj" \
  --progress "$logdir/extract.$JOB.progress" "$system" "$out" "${sets[@]}"
python -m avsv.bin.extract_embeddings --merge "${options[@]}" --num-jobs "$nj" "$system" "$out" "${sets[@]}" |
  while read -r line; do log "$system: $line"; done

for index in "${!sets[@]}"; do
  name=${sets[index]##*/}
  mark_done "$out/.$name.done" "${stamps[index]}" "$out/$name".{A,V,AV}.{ark,scp}
done
rm -rf "$parts"
log "$system: embeddings of ${sets[*]##*/}"
