#!/usr/bin/env bash
# Make the built-in corpus and the lists that describe it: talking faces with voices, noises and room responses.

preset=mini  # how large, see local/corpus.yaml
seed=0       # another seed is another corpus
nj=2         # parallel jobs
cmd=run.py   # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
help_message="Make the built-in corpus and the lists that describe it. For your own corpus, replace this script by one
that writes the same lists.

Usage: $0 [options] <data-dir>
 e.g.: $0 --preset mini --nj 4 data

Writes <data-dir>/{train,dev,eval}/{utt2spk,spk2utt,wav.scp,video.scp,utt2session,spk2gender,spk2age,
utt2audio_worth,utt2video_worth},
<data-dir>/{dev,eval}/trials/*, <data-dir>/musan/{wav.scp,utt2type}, <data-dir>/rirs/wav.scp and <data-dir>/corpus;
the media are written to a folder in <data-dir>/media. The result depends only on preset and seed.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -ne 1 ]; then
  usage
fi
data=$1
settings=local/corpus.yaml
need_command espeak-ng sox

stamp=$(stamp "$preset $seed" "$settings" local/builtin_corpus/*.py)
# Later steps identify their inputs by the lists, so other media have other paths.
media=$data/media/$preset-seed$seed-${stamp:0:8}
! up_to_date "$data/.corpus.done" "$stamp" "$data: the built-in corpus is" || exit 0

# Media of other origin must not be touched. Media and lists of other settings must not be mixed with the new ones:
# everything is removed before a new corpus is made.
mkdir -p "$data"
if [ -e "$data/media" ] && [ ! -f "$data/.media.stamp" ]; then
  die "$data/media exists and does not belong to the built-in corpus: move it away, or choose another folder"
fi
if ! is_done "$data/.media.stamp" "$stamp"; then
  [ ! -f "$data/.media.stamp" ] || rm -rf "${data:?}"/{media,train,dev,eval,musan,rirs}
  mark_done "$data/.media.stamp" "$stamp"
fi
mkdir -p "$media"
remove_unfinished() {
  remove_stale "$media"/mp4 "$media"/musan/*/* "$media"/RIRS_NOISES/simulated_rirs/*/* \
    "$data" "$data"/{train,dev,eval,musan,rirs,log} "$data"/{dev,eval}/trials
}
remove_unfinished

logdir=$data/log
mkdir -p "$logdir"
make=(env OMP_NUM_THREADS=1 python -m local.builtin_corpus.make
  --config "$settings" --preset "$preset" --seed "$seed" --media "$media")
launch_jobs "built-in corpus" "$logdir/corpus.*.progress" "$JOB=1:$nj" "$logdir/corpus.$JOB.log" \
  "${make[@]}" --job "$JOB" --jobs "$nj" --progress "$logdir/corpus.$JOB.progress" media "$data"
remove_unfinished    # of jobs that outlived a killed run and were still running at the start

"${make[@]}" lists "$data"
mark_done "$data/.corpus.done" "$stamp"
log "$data: $(cat "$data"/{train,dev,eval}/spk2utt | wc -l) identities; clips: $(wc -l <"$data/train/utt2spk") train," \
  "$(wc -l <"$data/dev/utt2spk") dev, $(wc -l <"$data/eval/utt2spk") eval; $(wc -l <"$data/eval/trials/eval") trials"
