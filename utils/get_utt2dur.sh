#!/usr/bin/env bash
# Make utt2dur, the durations of a data directory's utterances in seconds, in parallel jobs.

nj=4             # parallel jobs
cmd=run.py       # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
source_fps=25.0  # frame rate of folders of images that have no file fps
max_lost=0.05    # largest share of utterances that may fail
help_message="Make utt2dur, the durations of a data directory's utterances in seconds, in parallel jobs.

Usage: $0 [options] <data-dir> [<log-dir>]
 e.g.: $0 --nj 8 data/train

The duration is that of the audio, or of the video where there is no audio. It is read from headers; only pipes, and
files whose header does not tell it, are decoded. <log-dir> is <data-dir>/log by default.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  usage
fi
data=${1%/}
logdir=${2:-$data/log}
need_file "$data/utt2spk"

utils/probe_media.sh --nj "$nj" --cmd "$cmd" --source-fps "$source_fps" --all false "$data" "$logdir"
durations() { awk '{printf "%s %.6g\n", $1, $3}' "$logdir/probe.durations" | LC_ALL=C sort -k 1,1; }
made=$(wc -l <"$logdir/probe.durations")
report_lost "$(count_lines "$data/utt2spk")" "$made" "$max_lost" "$logdir/probe.failed" "$logdir/probe.failed"
write_atomically "$data/utt2dur" durations
log "$data: durations of $made utterances"
