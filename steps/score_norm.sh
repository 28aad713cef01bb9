#!/usr/bin/env bash
# Normalize the scores of a system's trials against a cohort of speakers, in every evaluation mode.

cmd=run.py        # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
modes=            # like 'AVxAV AxA'; default: all that the embeddings allow
max_lost=0.0      # largest share of a list's trials that may lack an embedding and be left out
variant=as-norm1  # as-norm1: each side against its own nearest speakers; as-norm2; s-norm: against all; MODULE:NAME
                  #   of your own
top_n=300         # nearest cohort speakers that count in as-norm1 and as-norm2, at most all
subtract_mean=    # data directory whose mean embedding, per modality, is subtracted from all embeddings; default:
                  #   none
num_threads=2     # threads of the job
help_message="Normalize the scores of a system's trials against a cohort of speakers (adaptive s-norm).

Usage: $0 [options] <system-dir> <cohort-data-dir> <data-dir>...
 e.g.: $0 --top-n 300 exp/mini/ssa data/train data/dev data/eval

The cohort consists of one mean embedding per speaker of <cohort-data-dir>, computed from the length-normalized embeddings
of whole utterances, in the modality of the side of the trial. Scores every list <data-dir>/trials/LIST into
<system-dir>/scores/LIST/MODE.asnorm; see steps/score_cosine.sh for modes and checks. Each utterance's mean score against
its nearest speakers (all of them for s-norm) goes to <system-dir>/scores/SET.MODALITY.cohort, for steps/calibrate.sh.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -lt 3 ]; then
  usage
fi
system=${1%/} cohort=$2
shift 2

need_file "$cohort/utt2spk"
inputs=("$cohort/utt2spk")
for data; do trial_files "$data"; inputs+=("${_trial_files[@]}"); done
for data in "$cohort" ${subtract_mean:+"$subtract_mean"} "$@"; do
  data=${data%/}
  need_embeddings "$system" "$data"
  inputs+=("$embedded")
done
marker=$system/scores/.norm.done
stamp=$(stamp "$modes $max_lost $variant $top_n $subtract_mean" "${inputs[@]}")
! up_to_date "$marker" "$stamp" "$system: normalized scores are" || exit 0
mkdir -p "$system/log"
remove_stale "$system/scores" "$system"/scores/*/

launch --num-threads "$num_threads" "$system/log/score_norm.log" \
  python -m avsv.bin.score_norm ${modes:+--modes "$modes"} --max-lost "$max_lost" --variant "$variant" \
  ${subtract_mean:+--subtract-mean "$subtract_mean"} --top-n "$top_n" --num-threads "$num_threads" "$system/embeddings" "$system/scores" "$cohort" "$@"

show_warnings "$system" "$system/log/score_norm.log"
mark_done "$marker" "$stamp" "$system"/scores/*/*.asnorm*
log "$system: normalized scores in $(find "$system/scores" -name '*.asnorm' | wc -l) files"
