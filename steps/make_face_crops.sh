#!/usr/bin/env bash
# Cut the faces out of every video clip of a data directory, in parallel jobs.

nj=4                    # parallel jobs
cmd=run.py              # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
config=conf/faces.yaml  # size, frame rate, detection, ...
faces=arks              # store the crops, or decode the clips when they are read
detector=               # none: the video already is a face track; yunet, blazeface, blazeface_back, sfd, retinaface,
                        #   scrfd, dlib, folder (as in the configuration file)
detector_weights=       # where its weights are (as in the configuration file)
align=                  # align by landmarks (as in the configuration file)
select=                 # which of several faces (as in the configuration file)
min_face_share=         # smallest share of frames with a face (as in the configuration file)
max_lost=0.05           # largest share of clips that may fail
help_message="Cut the faces out of every video clip of a data directory.

Usage: $0 [options] <data-dir> [<log-dir> [<ark-dir>]]
 e.g.: $0 --nj 8 --detector yunet --align true data/train

Writes <data-dir>/faces.scp (one row of pixels per frame), utt2num_faces and faces.conf (size, channels and frame rate).
Clips without usable faces are listed with the reason in <log-dir>/make_face_crops.failed. By default, the log directory is
<data-dir>/log and the arks are written to <data-dir>/arks. To retry failed clips, remove <data-dir>/.faces.done. A data
directory with wav.scp and without video.scp has no faces: the step does nothing.

With --faces online, only the positions of the faces are stored, no pixels: training and extraction decode the clips
whenever they read them. The results are the same, but the video files must not change.
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
if [ ! -e "$data/video.scp" ] && [ -s "$data/wav.scp" ]; then
  log "$data: no video.scp, voices only: no face crops to make"
  exit 0
fi
need_file "$config" "$data/video.scp"
LC_ALL=C sort -c -u -k 1,1 "$data/video.scp" ||
  die "$data/video.scp is not sorted, or has a key twice: run utils/fix_data_dir.sh $data"

options=()
case $faces in
  arks) kind=ark other=online ;;
  online) kind=online other=ark options+=(--online) ;;
  *) usage_error "--faces is arks or online, not '$faces'" ;;
esac
[ -z "$detector" ] || options+=(--detector "$detector")
[ -z "$detector_weights" ] || options+=(--detector-weights "$detector_weights")
[ -z "$align" ] || options+=(--align "$align")
[ -z "$select" ] || options+=(--select "$select")
[ -z "$min_face_share" ] || options+=(--min-face-share "$min_face_share")

# The stamp covers everything the result depends on; equal inputs make this a no-op, changed ones redo it.
# The configuration counts by its content: presets that agree in it share the crops.
stamp=$(stamp "$arkdir ${options[*]-} $(md5sum <"$config")" "$data/video.scp")
options+=(--config "$config")
! up_to_date "$data/.faces.done" "$stamp" "$data: face crops are" || exit 0

mkdir -p "$logdir" "$arkdir"
remove_stale "$data" "$logdir" "$arkdir"
# A wrong option or configuration is found here and not by every job.
write_atomically "$logdir/make_face_crops.conf" python -m avsv.bin.make_face_crops "${options[@]}" --show-format

wanted=$(count_lines "$data/video.scp")
nj=$(jobs_for "$nj" "$data/video.scp")
split_list "$data/video.scp" "$nj" "$logdir/make_face_crops"

# Data directories may share an ark directory.
crops=$arkdir/faces_$(basename "$data").$JOB

launch_jobs "faces of $data" "$logdir/make_face_crops.*.progress" "$JOB=1:$nj" "$logdir/make_face_crops.$JOB.log" \
  utils/once.sh "$logdir/.make_face_crops.$JOB.done" "$stamp.$nj" \
  python -m avsv.bin.make_face_crops "${options[@]}" --progress "$logdir/make_face_crops.$JOB.progress" \
  "$logdir/make_face_crops.$JOB.scp" "$crops"
merge_failed make_face_crops "$logdir" "$crops.failed" "$nj" "$wanted" "$max_lost"
logs=()
for ((n = 1; n <= nj; n++)); do logs+=("$logdir/make_face_crops.$n.log"); done
show_warnings "$data" "${logs[@]}"

# Lists appear whole or not at all: a reader never meets half of one.
write_atomically "$data/faces.scp" cat_jobs "$crops.scp" "$nj"
write_atomically "$data/utt2num_faces" cat_jobs "$crops.num_faces" "$nj"
write_atomically "$data/faces.conf" cat "$logdir/make_face_crops.conf"

# Arks of an earlier run with more jobs, or of the other kind, are in no list any more.
for ((n = 1; ; n++)); do
  job=${crops/%$JOB/$n}
  [ -f "$job.$kind" ] || [ -f "$job.$other" ] || break
  rm -f "$job.$other"
  ((n <= nj)) || rm -f "$job".*
done
mark_done "$data/.faces.done" "$stamp" "$data"/{faces.scp,utt2num_faces,faces.conf} "${crops/%$JOB/}"*."$kind"
log "$data: face crops for $made of $wanted clips"
