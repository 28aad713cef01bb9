#!/usr/bin/env bash
# Make the lists that describe VoxCeleb: VoxCeleb2 to train on, VoxCeleb1 with its official trials to evaluate.

vox1_root=         # wav/ID/VIDEO/CLIP.wav (also in dev/ and test/), and faces, see --vox1-video
vox2_root=         # dev/aac/ID/VIDEO/CLIP.m4a, or the same as wav or flac; dev/mp4/ID/VIDEO/CLIP.mp4
musan_root=        # noise/, music/ and speech/ of MUSAN
rirs_root=         # RIRS_NOISES with simulated_rirs/{smallroom,mediumroom}/; without it or MUSAN, simulated rooms,
                   #   or synthetic noises, music and babble of training clips are generated, which are not as good
meta_dir=          # vox1_meta.csv, vox2_meta.csv, spk2age, utt2age, trial lists that are not in the roots
vox1_video=auto    # mp4, faces (images of a clip) or unzippedFaces (images of a whole video, by name or by id), at 1
                   #   image a second; none; auto takes the first of these that exists
dev_speakers=auto  # identities held out of training; auto: 2 %, at least 8 and at most 120
max_missing=0.05   # largest share of recordings that may lack their video or audio, and of trials that may lack a
                   #   recording
# shellcheck disable=SC2034  # run.sh passes these to every local/prepare_data.sh; this one does not need them all
preset=paper       # ignored
seed=0             # of everything drawn at random
# shellcheck disable=SC2034
nj=4               # ignored
cmd=run.py         # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
help_message="Make the lists that describe VoxCeleb.

Usage: $0 [options] <data-dir>
 e.g.: $0 --vox1-root /corpora/voxceleb1 --vox2-root /corpora/voxceleb2 --musan-root /corpora/musan data

Training: VoxCeleb2 dev without the development identities, and without every identity that is evaluated or that belongs
to the test set in vox2_meta.csv. Development: identities held out of training, with trials drawn for them. Evaluation:
the recordings of VoxCeleb1 in the published trial lists found in --vox1-root or --meta-dir; each becomes a trial list.

Writes <data-dir>/{train,dev,eval}/{utt2spk,spk2utt,wav.scp,video.scp,utt2session,spk2gender,spk2age,utt2age},
<data-dir>/{dev,eval}/trials/*, <data-dir>/musan/{wav.scp,utt2type}, <data-dir>/rirs/wav.scp, <data-dir>/corpus;
<data-dir>/prepare.txt shows what was found, <data-dir>/*/missing.txt what was not. If the corpora have not changed
since the last time, nothing is written.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -ne 1 ]; then
  usage
fi
data=${1%/}
[ -n "$vox1_root" ] || usage_error "--vox1-root DIR: say where VoxCeleb1 is, or set it in local/paths.sh"
[ -n "$vox2_root" ] || usage_error "--vox2-root DIR: say where VoxCeleb2 is, or set it in local/paths.sh"
for root in "$vox1_root" "$vox2_root" ${musan_root:+"$musan_root"} ${rirs_root:+"$rirs_root"} ${meta_dir:+"$meta_dir"}; do
  [ -d "$root" ] || die "$root: no such folder"
done

# New lists are made in another folder, and replace the old ones only if they differ: later stages compare the content,
# and stage 1 has removed unusable utterances from the old ones.
mkdir -p "$data"
new=$data/.new
rm -rf "$new"
python local/voxceleb.py --vox1-root "$vox1_root" --vox2-root "$vox2_root" --meta-dir "$meta_dir" \
  --vox1-video "$vox1_video" --dev-speakers "$dev_speakers" --max-missing "$max_missing" --seed "$seed" "$new"
for corpus in musan rirs; do
  root=${corpus}_root
  if [ -n "${!root}" ]; then
    python local/noises.py "$corpus" "${!root}" "$new/$corpus"
  fi
done
mapfile -t files < <(cd "$new" && find . -type f | LC_ALL=C sort)
stamp=$(cd "$new" && stamp "$seed $musan_root $rirs_root" "${files[@]}" "$OLDPWD"/local/*.py)

if is_done "$data/.corpus.done" "$stamp"; then
  rm -rf "$new"
  log "$data: the lists are up to date"
else
  rm -f "$data/.corpus.done"
  # Files derived from the old lists are removed too; features and crops are made from the new lists.
  for name in train dev eval; do
    mkdir -p "$data/$name"
    rm -rf "$data/$name"/{trials,.backup,.validate.done,.validate.unfinished,dropped.txt,utt2dur,missing.txt}
    rm -f "$data/$name"/{utt2spk,spk2utt,wav.scp,video.scp,utt2session,spk2gender,spk2age,utt2age}
    mv "$new/$name"/* "$data/$name/"
    rmdir "$new/$name"
  done
  rm -rf "$data"/{musan,rirs,substitutes}
  mv "$new"/* "$data/"
  rmdir "$new"
  if [ -z "$musan_root" ] || [ -z "$rirs_root" ]; then
    python local/substitutes.py --seed "$seed" ${musan_root:+--no-noises} ${rirs_root:+--no-rooms} "$data"
  fi
  mark_done "$data/.corpus.done" "$stamp"
fi
[ -n "$musan_root" ] || log "no --musan-root: synthetic noises, and babble of training clips, replace MUSAN"
[ -n "$rirs_root" ] || log "no --rirs-root: simulated rooms replace RIRS_NOISES"
sed 's/^/  /' "$data/prepare.txt" >&2
