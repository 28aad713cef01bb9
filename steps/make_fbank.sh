#!/usr/bin/env bash
# Extract log-mel filterbank features for every utterance of a data directory, in parallel jobs.

nj=4                    # parallel jobs
cmd=run.py              # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
config=conf/fbank.yaml  # sample rate, frame length, mel bins, ...
write_audio=true        # write audio.scp: training reads windows of samples from it, to add noise, and so does
                        #   embed.speeds
max_lost=0.05           # largest share of utterances that may fail
help_message="Extract log-mel filterbank features for every utterance of a data directory.

Usage: $0 [options] <data-dir> [<log-dir> [<ark-dir>]]
 e.g.: $0 --nj 8 --cmd 'slurm.py --mem 2G' data/train

Writes <data-dir>/feats.scp, utt2num_frames and audio.scp (16-bit wav from which windows can be read: the recording
itself if it is such a file, otherwise a copy in an ark). Utterances without features are listed with the reason in
<log-dir>/make_fbank.failed. By default, the log directory is <data-dir>/log and the arks are written to <data-dir>/arks.
To retry failed recordings, remove <data-dir>/.fbank.done. A data directory with video.scp and without wav.scp has no
voices: the step does nothing.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -lt 1 ] || [ $# -gt 3 ]; then
  usage
fi
data=${1%/}
logdir=${2:-$data/log}
arkdir=${3:-$data/arks}

need_data "$data"
if [ ! -e "$data/wav.scp" ] && [ -s "$data/video.scp" ]; then
  log "$data: no wav.scp, faces only: no features to make"
  exit 0
fi
need_file "$config" "$data/wav.scp"
LC_ALL=C sort -c -u -k 1,1 "$data/wav.scp" ||
  die "$data/wav.scp is not sorted, or has a key twice: run utils/fix_data_dir.sh $data"

# The stamp covers everything the result depends on; equal inputs make this a no-op, changed ones redo it. Presets have
# equal configurations under different names.
stamp=$(stamp "$arkdir $write_audio $(md5sum <"$config")" "$data/wav.scp")
! up_to_date "$data/.fbank.done" "$stamp" "$data: features are" || exit 0

mkdir -p "$logdir" "$arkdir"
remove_stale "$data" "$logdir" "$arkdir"
wanted=$(count_lines "$data/wav.scp")
nj=$(jobs_for "$nj" "$data/wav.scp")
split_list "$data/wav.scp" "$nj" "$logdir/make_fbank"

# Data directories may share an ark directory.
name=$(basename "$data")
fbank=$arkdir/fbank_$name.$JOB
audio=$arkdir/audio_$name.$JOB
options=()
[ "$write_audio" = false ] || options=(--audio "$audio")

launch_jobs "features of $data" "$logdir/make_fbank.*.progress" "$JOB=1:$nj" "$logdir/make_fbank.$JOB.log" \
  utils/once.sh "$logdir/.make_fbank.$JOB.done" "$stamp.$nj" \
  python -m avsv.bin.make_fbank --config "$config" --progress "$logdir/make_fbank.$JOB.progress" \
  ${options[@]+"${options[@]}"} "$logdir/make_fbank.$JOB.scp" "$fbank"
merge_failed make_fbank "$logdir" "$fbank.failed" "$nj" "$wanted" "$max_lost"
logs=()
for ((n = 1; n <= nj; n++)); do logs+=("$logdir/make_fbank.$n.log"); done
show_warnings "$data" "${logs[@]}"

# Lists appear whole or not at all: a reader never meets half of one.
write_atomically "$data/feats.scp" cat_jobs "$fbank.scp" "$nj"
write_atomically "$data/utt2num_frames" cat_jobs "$fbank.num_frames" "$nj"
if [ "$write_audio" = true ]; then
  write_atomically "$data/audio.scp" cat_jobs "$audio.scp" "$nj"
else
  rm -f "$data/audio.scp"
fi

# Arks of an earlier run with more jobs are in no list any more.
for ((n = nj + 1; ; n++)); do
  [ -f "${fbank/%$JOB/$n}.ark" ] || break
  rm -f "${fbank/%$JOB/$n}".* "${audio/%$JOB/$n}".*
done
mark_done "$data/.fbank.done" "$stamp" "$data"/{feats.scp,utt2num_frames,audio.scp} "${fbank/%$JOB/}"*.ark \
  "${audio/%$JOB/}"*.ark
log "$data: features for $made of $wanted utterances"
