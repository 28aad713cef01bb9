#!/usr/bin/env bash
# Measure the quality of the voice and the face crops of every utterance of data directories, in parallel jobs.

nj=4                    # parallel jobs; changes no result
cmd=run.py              # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
config=conf/fbank.yaml  # sample rate and frame length
help_message="Measure the quality of the voice and the face crops of every utterance of data directories.

Usage: $0 [options] <data-dir>...
 e.g.: $0 --nj 8 data/dev data/eval

Writes, for the modalities that a data directory has, its lists
  utt2voice_quality  level (dB), signal-to-noise ratio (dB), logarithm of the bandwidth, share of clipped samples (%),
                     logarithm of the seconds of voice
  utt2face_quality   logarithms of brightness, contrast and sharpness, share without structure
Needs audio.scp (steps/make_fbank.sh) and faces.scp (steps/make_face_crops.sh).
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -lt 1 ]; then
  usage
fi
[ "$nj" -ge 1 ] || usage_error "--nj must be at least 1"
need_file "$config"

for data; do
  data=${data%/}
  need_data "$data"
  need_file "$data/utt2spk"
  inputs=("$config" "$data/utt2spk")
  lists=()
  for name in audio.scp utt2num_frames faces.scp utt2num_faces faces.conf .fbank.done .faces.done; do
    [ ! -f "$data/$name" ] || inputs+=("$data/$name")
  done
  [ ! -f "$data/audio.scp" ] || lists+=(utt2voice_quality)
  [ ! -f "$data/faces.scp" ] || lists+=(utt2face_quality)
  [ ${#lists[@]} -gt 0 ] || die "$data has neither audio.scp nor faces.scp: run steps/make_fbank.sh and make_face_crops.sh first"
  stamp=$(stamp "" "${inputs[@]}")
  if is_done "$data/.quality.done" "$stamp"; then
    log "$data: quality is up to date"
    continue
  fi
  rm -f "$data/.quality.done"
  logdir=$data/log
  parts=$data/quality.parts
  mkdir -p "$logdir" "$parts"
  remove_stale "$data" "$parts" "$logdir"
  jobs=$(jobs_for "$nj" "$data/utt2spk")
  write_atomically "$parts/all.list" cat "$data/utt2spk"
  split_list "$parts/all.list" "$jobs" "$parts/part"
  launch "$JOB=1:$jobs" "$logdir/measure_quality.$JOB.log" \
    python -m avsv.bin.measure_quality --fbank-config "$config" "$data" "$parts/part.$JOB.list" "$parts/$JOB"
  for name in "${lists[@]}"; do
    write_atomically "$data/$name" cat_jobs "$parts/$JOB/$name" "$jobs"
  done
  rm -rf "$parts"
  mark_done "$data/.quality.done" "$stamp" "${lists[@]/#/$data/}"
  log "$data: measured the quality of $(wc -l <"$data/utt2spk") utterances"
done
