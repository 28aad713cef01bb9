#!/usr/bin/env bash
# Check data directories, open all their recordings, and remove those that cannot be used.

nj=4              # parallel jobs
cmd=run.py        # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
source_fps=25.0   # frame rate of folders of images that have no file fps: as in conf/faces.yaml
min_duration=0.1  # shortest usable recording, in seconds
max_lost=0.05     # largest share of audio, and of video, that may be lost
help_message="Check data directories, open all their recordings, and remove those that cannot be used.

Usage: $0 [options] <data-dir>...
 e.g.: $0 --nj 8 data/train data/dev data/eval

Recordings that are missing, unreadable, truncated, empty or too short are removed from wav.scp or video.scp; an utterance
without either is removed from all lists and trials. <data-dir>/dropped.txt lists what was removed and why;
<data-dir>/.backup contains the original lists. Writes <data-dir>/utt2dur. The recordings are opened and measured; damage
inside them is found and reported by the feature steps. To check all recordings again, remove <data-dir>/.validate.done.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -lt 1 ]; then
  usage
fi

# Of the lists that come from the corpus; those that later steps add do not ask for another look at the recordings.
stamp_of() {   # <data-dir>
  local name
  local -a files=()
  for name in utt2spk spk2utt wav.scp video.scp utt2dur utt2session spk2gender spk2age utt2age enroll dropped.txt; do
    [ ! -f "$1/$name" ] || files+=("$1/$name")
  done
  for name in "$1"/trials/*; do
    [ ! -f "$name" ] || files+=("$name")
  done
  stamp "$min_duration $source_fps" "${files[@]}"
}

validate() {   # <data-dir>
  local data=$1 logdir=$1/log stamp status list
  need_file "$data/utt2spk"
  stamp=$(stamp_of "$data")
  if is_done "$data/.validate.done" "$stamp"; then
    log "$data: already validated"
    return
  fi
  rm -f "$data/.validate.done"
  remove_stale "$data"
  # Mistakes in the lists are told before the recordings are opened. A run that was killed while it took lines out has
  # left lists that do not fit together.
  [ -f "$data/.validate.unfinished" ] || utils/validate_data_dir.sh --no-feats --sample 0 "$data" >/dev/null

  utils/probe_media.sh --nj "$nj" --cmd "$cmd" --source-fps "$source_fps" "$data" "$logdir"
  mkdir -p "$data/.backup"
  for list in wav.scp video.scp; do
    if [ -f "$data/$list" ] && [ ! -f "$data/.validate.unfinished" ]; then cp -p "$data/$list" "$data/.backup/"; fi
  done
  mark_done "$data/.validate.unfinished" "$stamp"
  python -m avsv.bin.drop_unusable --min-duration "$min_duration" --max-lost "$max_lost" \
    "$data" "$logdir/probe.durations" "$logdir/probe.failed" || {
    status=$?
    [ "$status" -ne 1 ] || rm -f "$data/.validate.unfinished"   # it refused, and has changed nothing
    exit "$status"
  }
  utils/fix_data_dir.sh "$data"
  utils/validate_data_dir.sh --no-feats --sample 0 "$data" >&2
  rm -f "$data/.validate.unfinished"

  stamp=$(stamp_of "$data")
  mark_done "$data/.validate.done" "$stamp"
  if [ -s "$data/dropped.txt" ]; then
    log "$data: $(wc -l <"$data/dropped.txt") recordings taken out, see $data/dropped.txt; the first are"
    head -n 3 "$data/dropped.txt" | sed 's/^/  /' >&2
  fi
  log "$data: $(wc -l <"$data/utt2spk") utterances of $(wc -l <"$data/spk2utt") speakers," \
    "$(awk '{s += $2} END {printf "%.2f", s / 3600}' "$data/utt2dur") hours"
}

for data; do validate "${data%/}"; done
