#!/usr/bin/env bash
# Score the trials of data directories with the cosine of a system's embeddings, in every evaluation mode.

cmd=run.py      # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
modes=          # like 'AVxAV AxA'; default: all that the embeddings allow
max_lost=0.0    # largest share of a list's trials that may lack an embedding and be left out
subtract_mean=  # data directory whose mean embedding, per modality, is subtracted from all embeddings; default: none
help_message="Score the trials of data directories with the cosine of a system's embeddings.

Usage: $0 [options] <system-dir> <data-dir>...
 e.g.: $0 exp/mini/ssa data/dev data/eval

Scores every list <data-dir>/trials/LIST with <system-dir>/embeddings/SET.{A,V,AV}.scp, where SET is the name of the
data directory, into <system-dir>/scores/LIST/MODE.cos. In a mode with different sides (AVxA), a trial is scored in both
orders and the score is the mean. All ids in the lists are first checked against utt2spk. A side may be a model made of
several utterances (<data-dir>/enroll); lists without labels are scored too: see docs/data-directories.md.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -lt 2 ]; then
  usage
fi
system=${1%/}
shift

inputs=()
for data; do
  data=${data%/}
  need_embeddings "$system" "$data"
  trial_files "$data"
  inputs+=("$embedded" "${_trial_files[@]}")
done
if [ -n "$subtract_mean" ]; then
  need_embeddings "$system" "${subtract_mean%/}"
  inputs+=("$embedded")
fi
marker=$system/scores/.cosine.done
stamp=$(stamp "$modes $max_lost $subtract_mean" "${inputs[@]}")
! up_to_date "$marker" "$stamp" "$system: cosine scores are" || exit 0
mkdir -p "$system/log"
remove_stale "$system"/scores/*/

launch "$system/log/score_cosine.log" \
  python -m avsv.bin.score_cosine ${modes:+--modes "$modes"} --max-lost "$max_lost" \
  ${subtract_mean:+--subtract-mean "$subtract_mean"} \
  "$system/embeddings" "$system/scores" "$@"

grep 'left out' "$system/log/score_cosine.log" >&2 || true
mark_done "$marker" "$stamp" "$system"/scores/*/*.cos
log "$system: cosine scores in $(find "$system/scores" -name '*.cos' | wc -l) files"
