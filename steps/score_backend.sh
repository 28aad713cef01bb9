#!/usr/bin/env bash
# Score a system's trials by LDA, WCCN or PLDA, learned from training embeddings, in every evaluation mode.

cmd=run.py                    # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's own run.pl, slurm.pl, queue.pl
backend=plda                  # lda, wccn or plda
lda_dim=                      # dimensions that LDA leaves: for lda, and before plda; empty: no LDA
adapt=                        # data directory to whose embeddings plda adapts, their speakers unknown; empty: none
within_share=0.75             # of the variance that the adaptation adds, what counts as within speakers
between_share=0.25            # and as between speakers
modes=                        # AVxAV, AxA, ...: what each side of a trial may use; empty: all that the embeddings allow
max_lost=0.0                  # fail when more than this share of a list's trials lacks an embedding
help_message="Score a system's trials by LDA, WCCN or PLDA, learned from training embeddings.

Usage: $0 [options] <system-dir> <training-data-dir> <data-dir>...
 e.g.: $0 --backend plda --lda-dim 60 exp/mini/ssa data/train data/dev data/eval

Scores every list <data-dir>/trials/LIST into <system-dir>/scores/LIST/MODE.BACKEND; see steps/score_cosine.sh for modes
and checks, docs/backends.md for the back-ends. Evaluate the files with 'python -m avsv.cli eval'.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -lt 3 ]; then
  usage
fi
system=${1%/} training=${2%/}
shift 2
[[ $backend =~ ^(lda|wccn|plda)$ ]] || die "--backend is lda, wccn or plda, not '$backend'"

need_file "$training/utt2spk"
inputs=("$training/utt2spk")
for data; do trial_files "$data"; inputs+=("${_trial_files[@]}"); done
for data in "$training" ${adapt:+"$adapt"} "$@"; do
  data=${data%/}
  need_embeddings "$system" "$data"
  inputs+=("$embedded")
done
marker=$system/scores/.$backend.done
stamp=$(stamp "$lda_dim $adapt $within_share $between_share $modes $max_lost" "${inputs[@]}")
! up_to_date "$marker" "$stamp" "$system: scores by $backend are" || exit 0
mkdir -p "$system/log"
remove_stale "$system/scores" "$system"/scores/*/

launch "$system/log/score_$backend.log" \
  python -m avsv.bin.score_backend --backend "$backend" ${lda_dim:+--lda-dim "$lda_dim"} ${adapt:+--adapt "$adapt"} \
  --within-share "$within_share" --between-share "$between_share" ${modes:+--modes "$modes"} --max-lost "$max_lost" \
  "$system/embeddings" "$system/scores" "$training" "$@"

show_warnings "$system" "$system/log/score_$backend.log"
mark_done "$marker" "$stamp" "$system"/scores/*/*."$backend"
log "$system: scores by $backend in $(find "$system/scores" -name "*.$backend" | wc -l) files"
