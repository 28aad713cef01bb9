#!/usr/bin/env bash
# Open every recording of a data directory and tell how long it is, in parallel jobs.

nj=4             # parallel jobs
cmd=run.py       # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
source_fps=25.0  # frame rate of folders of images that have no file fps
all=true         # also the video of utterances that have audio
help_message="Open every recording of a data directory and tell how long it is, in parallel jobs.

Usage: $0 [options] <data-dir> [<log-dir>]
 e.g.: $0 --nj 8 data/train

Writes <log-dir>/probe.durations (UTTERANCE LIST SECONDS lines) and probe.failed (UTTERANCE LIST: REASON lines).
<log-dir> is <data-dir>/log by default.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  usage
fi
data=${1%/}
logdir=${2:-$data/log}

need_data "$data"
lists=()
for list in wav.scp video.scp; do
  [ ! -s "$data/$list" ] || lists+=("$list")
done
[ ${#lists[@]} -gt 0 ] || die "$data: neither wav.scp nor video.scp"

mkdir -p "$logdir"
remove_stale "$logdir"

recordings() {
  local list
  for list in "${lists[@]}"; do
    sed -E "s/^[[:blank:]]+//; s/[[:blank:]]+/ $list /" "$data/$list" | awk 1    # which also ends the last line
  done | if [ "$all" = true ]; then cat; else awk '!seen[$1]++'; fi
}
write_atomically "$logdir/probe.list" recordings
stamp=$(stamp "$source_fps" "$logdir/probe.list")
nj=$(jobs_for "$nj" "$logdir/probe.list")
# Dealt out in turn, because audio is quicker than video.
awk -v jobs="$nj" -v stem="$logdir/probe" '{ print > (stem "." (NR - 1) % jobs + 1 ".list") }' "$logdir/probe.list"

launch_jobs "recordings of $data" "$logdir/probe.*.progress" "$JOB=1:$nj" "$logdir/probe.$JOB.log" \
  utils/once.sh "$logdir/.probe.$JOB.done" "$stamp.$nj" \
  python -m avsv.bin.probe_media --source-fps "$source_fps" --progress "$logdir/probe.$JOB.progress" \
  "$logdir/probe.$JOB.list" "$logdir/probe.$JOB.durations"

write_atomically "$logdir/probe.durations" cat_jobs "$logdir/probe.$JOB.durations" "$nj"
write_atomically "$logdir/probe.failed" cat_jobs "$logdir/probe.$JOB.durations.failed" "$nj"
# What failed may be mended under the same name: the next call looks again.
rm -f "$logdir"/.probe.*.done "$logdir"/probe.*.list "$logdir"/probe.*.durations "$logdir"/probe.*.durations.failed
