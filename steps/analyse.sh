#!/usr/bin/env bash
# Look at the geometry of systems' embeddings: angles, silhouettes, a projection to the plane.

cmd=run.py                    # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's own run.pl, slurm.pl, queue.pl
seed=0                        # of the samples and the projection
help_message="Look at the geometry of systems' embeddings.

Usage: $0 [options] <exp-dir> <systems> <data-dir>
 e.g.: $0 exp/mini 'ecapa iresnet18 ssa' data/eval

Writes for each of <systems> (one word, names separated by blanks) <exp-dir>/SYSTEM/analysis/geometry.csv (angles
within and between identities, between voice and face of a clip, silhouettes), angles.png and projection.png.
Options:
  --cmd <launcher>       how to run the job ($cmd)
  --seed <n>             of the samples and the projection ($seed)
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

need_file "$data/utt2spk"
todo=()
stamps=()
for system in "${systems[@]}"; do
  embedded=$exp/$system/embeddings/.${data##*/}.done
  [ -f "$embedded" ] || die "$exp/$system has no embeddings of $data: run steps/extract_embeddings.sh first"
  stamp=$(stamp "$seed" "$embedded" "$data/utt2spk")
  is_done "$exp/$system/analysis/.done" "$stamp" && continue
  todo+=("$system")
  stamps+=("$stamp")
  rm -f "$exp/$system/analysis/.done"
  remove_stale "$exp/$system/analysis"
done
if [ ${#todo[@]} -eq 0 ]; then
  log "$exp: analyses are up to date"
  exit 0
fi
mkdir -p "$exp/log"

$cmd "$exp/log/analyse.log" \
  python -m avsv.bin.analyse --seed "$seed" "$exp" "$data" "${todo[@]}"

for index in "${!todo[@]}"; do mark_done "$exp/${todo[index]}/analysis/.done" "${stamps[index]}"; done
log "$exp: angles and projections of ${todo[*]} on $data"
