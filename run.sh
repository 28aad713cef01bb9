#!/usr/bin/env bash
# Person verification from voice and face, from nothing to a results table, in twelve stages.
# Every stage can be killed and run again: it skips what is complete, makes the rest, and gives the same result.

stage=0               # first stage
stop_stage=11         # last stage
nj=$(nproc)           # parallel jobs of the data, feature and extraction steps; changes no result
ngpu=0                # GPUs for training and extraction; 0 trains on the CPU
nodes=1               # nodes of a Slurm cluster that train one system together, each with --ngpu GPUs
train_jobs=1          # systems that train at the same time, on a cluster or a machine with several GPUs
num_workers=2         # loader processes of each training process; changes no result
faces=arks            # arks: store the face crops; online: decode the video whenever they are read; changes no result
seed=0                # of the corpus, the initial weights and every random draw
corpus_seed=          # of the corpus and its lists; default: --seed
seeds=                # several seeds, as in '0 1 2': a run for each in EXP/seedN, and a comparison over seeds
study=                # a study of conf/studies: its variants are the systems; its page is written to EXP/studies
set=()                # KEY=VALUE: a setting that overrides the preset, for all systems (train.epochs=3), for one
                      #   (ecapa:train.epochs=3), or for the features (fbank.dither=0, faces.fps=10); can be repeated
max_lost=0.05         # largest share of a list's trials that a system may skip because a voice or a face is missing
subtract_mean=false   # subtract the mean training embedding from all embeddings before scoring
norm=as-norm1         # score normalization: as-norm1, as-norm2, s-norm, or MODULE:NAME of your own
quality=              # measures for the calibration besides the score, some of 'duration faces norm cohort'
gates=                # audio-visual systems that stage 9 also scores with a gate, which weighs voice and face by the
                      #   quality of the recordings, as in 'ssa'
sweeps=               # corruption sweeps of conf/sweeps.yaml for stage 10, as in 'noise blur', or 'all'
weights=data/weights  # published weights and weights of face detectors; the latter may also be in a folder 'detectors'
                      #   next to the corpora or one level above
data=data             # data directories
exp=exp               # experiments; results are written to EXP/PRESET/results

ROOT=$(dirname "$(readlink -f "$0")")    # a recipe in egs/ links to this script and has its own local/ and conf/
cd "$(dirname "$0")" || exit 1
. conf/recipe.sh       # preset, systems and the corpus's own options
OPTION_FILES=(conf/recipe.sh "$0" local/paths.sh)

help_message="Person verification from voice and face: data to results table.

Usage: $0 [options]
 e.g.: $0                                   # everything, from where it stands
       $0 --stage 4 --systems 'ecapa ssa'   # from training on
       $0 --preset tiny --exp /tmp/try      # the smallest networks

Stages: 0 corpus and lists, 1 validation, 2 Fbank, 3 face crops, 4 single-modality systems, 5 audio-visual systems,
6 embeddings, 7 cosine scores, 8 score normalization, 9 ensembles and calibration, 10 analyses, 11 results.
"
{  # bash reads all of this before it runs any of it: editing the file does not disturb a run
set -euo pipefail
ARGUMENTS=("$@")
. utils/parse_options.sh
[ $# -eq 0 ] || usage_error "'$1' is not an option: for the options see $0 --help"
for _name in nj nodes train_jobs; do [ "${!_name}" -ge 1 ] || die "--${_name//_/-} must be at least 1"; done
[[ $preset =~ ^[A-Za-z0-9_][A-Za-z0-9_.+-]*$ ]] || die "--preset: '$preset' is not the name of a file in conf/presets"
[[ $faces =~ ^(arks|online)$ ]] || die "--faces is arks or online, not '$faces'"
[[ $max_lost =~ ^(0?\.[0-9]+|[01])$ ]] || die "--max-lost takes a share between 0 and 1, not '$max_lost'"
[[ $norm =~ ^(as-norm1|as-norm2|s-norm|.+:.+)$ ]] || die "--norm is as-norm1, as-norm2, s-norm or MODULE:NAME, not '$norm'"
# A preset for some systems names them, as in 'run: published_voice published_face'.
if [ -z "$(changed_options systems)" ] && [ -f "conf/presets/$preset.yaml" ]; then
  preset_systems=$(sed -n 's/^run: *\([^#]*[^# ]\).*/\1/p' "conf/presets/$preset.yaml")
  systems=${preset_systems:-$systems}
fi

"$ROOT/tools/setup.sh"
. ./path.sh
. ./cmd.sh
# With --seeds or --study there is a run for each seed, which is called with --seeds -.
[ -z "$seeds$study" ] || [ "$seeds" = - ] || exec steps/run_seeds.sh --seeds "$seeds" --study "$study" --exp "$exp" \
  --corpus-seed "${corpus_seed:-$seed}" --preset "$preset" --stop-stage "$stop_stage" "$systems" "$data/$eval_set" "$0" "${ARGUMENTS[@]}"
work=$exp/$preset conf=$exp/$preset/conf
sets=("$data/$train_set" "$data/$dev_set" "$data/$eval_set")
need_sets() {
  local dir
  for dir in "${sets[@]}"; do [ -d "$dir" ] || die "no data directory $dir: run stage 0, or check $1"; done
}
[ "$stage" -eq 0 ] || need_sets "--data and the names of the sets"
mkdir -p "$data" "$work/log"
# The processes of a killed run hold these locks until they end, so that a new run never writes to the same files.
hold_lock "$data" 8
hold_lock "$work" 9
export AVSV_COMMANDS=$work/log/commands.log

# All settings are checked here, before any work; published weights only where something is trained.
options=(--quality "$quality" --sweeps "$sweeps")
if [ "$stage" -le 5 ] && [ "$stop_stage" -ge 4 ]; then options+=(--weights-dir "$weights"); fi
[ -z "$study" ] || options+=(--study "conf/studies/$study.yaml")
for _name in ${set[@]+"${set[@]}"}; do options+=(--set "$_name"); done
# shellcheck disable=SC2086  # a list of names
python -m avsv.bin.configure --conf conf --preset "$preset" --out "$conf" "${options[@]}" $systems \
  >"$work/.systems.tmp"
mv "$work/.systems.tmp" "$work/systems"
# In training order, one a line: name, single or fused, then the systems whose weights it starts from.
mapfile -t single < <(awk '$2 == "single" {print $1}' "$work/systems")
mapfile -t fused < <(awk '$2 == "fused" {print $1}' "$work/systems")
all=("${single[@]+"${single[@]}"}" "${fused[@]+"${fused[@]}"}")

[ -z "$gates" ] || [ "$norm $subtract_mean" = "as-norm1 false" ] || die "--gates: gates are fitted to scores of --norm as-norm1 without --subtract-mean"
for _name in $gates; do
  [[ " ${fused[*]-} " == *" $_name "* ]] || die "--gates: $_name is not an audio-visual system of this run (${fused[*]-})"
done

end_stage() {
  [ -z "${stage_started-}" ] || printf '   stage done in %s s\n' $((SECONDS - stage_started)) >&2
  stage_started=
}
begin() {   # <stage> <title>: end the stage before; true when this stage is to run
  end_stage
  [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ] || return 1
  stage_started=$SECONDS
  printf '\n== Stage %s: %s\n' "$1" "$2" >&2
}

if begin 0 "corpus and lists"; then
  options=()
  for _name in "${LOCAL_OPTIONS[@]+"${LOCAL_OPTIONS[@]}"}"; do options+=("--${_name//_/-}" "${!_name}"); done
  local/prepare_data.sh --cmd "$train_cmd" --nj "$nj" --preset "$preset" --seed "${corpus_seed:-$seed}" \
    "${options[@]+"${options[@]}"}" "$data"
  # What the corpus was made with, for the command that is shown with the results: later stages do not need it again.
  changed_options "${LOCAL_OPTIONS[@]+"${LOCAL_OPTIONS[@]}"}" >"$data/options"
fi

if begin 1 "validation"; then
  source_fps=$(awk '$1 == "source_fps:" {print $2}' "$conf/faces.yaml")
  steps/validate.sh --cmd "$train_cmd" --nj "$nj" --source-fps "$source_fps" "${sets[@]}"
fi

# Said before hours of work, as early as there are lists.
check_lists() {
  local name list features dir config noises=
  need_sets local/prepare_data.sh
  for dir in musan rirs; do [ ! -f "$data/$dir/wav.scp" ] || noises=$dir; done
  for name in "${all[@]}"; do
    config=$conf/systems/$name.yaml
    [ -n "$noises" ] || grep -qx 'audio: null' "$config" || grep -qx 'train: null' "$config" ||
      ! grep -qx '  noise_reverb: true' "$config" ||
      die "no $data/musan and no $data/rirs, from which $name takes noise: make them, or add --set data.noise_reverb=false"
  done
  # A set of voices only cannot be embedded by a system of faces, nor the other way round.
  for name in "${single[@]+"${single[@]}"}"; do
    list=wav.scp features=feats.scp
    ! grep -qx 'audio: null' "$conf/systems/$name.yaml" || list=video.scp features=faces.scp
    for dir in "${sets[@]}"; do
      [ -e "$dir/$list" ] || [ -e "$dir/$features" ] ||
        die "$dir has no $list, which $name needs: leave it, and systems that start from it, out of --systems"
    done
  done
}
if [ "$stage" -le 4 ] && [ "$stop_stage" -ge 4 ]; then check_lists; fi

if begin 2 "Fbank features"; then
  for dir in "${sets[@]}"; do
    steps/make_fbank.sh --cmd "$train_cmd" --nj "$nj" --config "$conf/fbank.yaml" "$dir"
  done
fi

if begin 3 "face crops"; then
  roots=()
  for _name in "${LOCAL_OPTIONS[@]+"${LOCAL_OPTIONS[@]}"}"; do [[ $_name != *_root ]] || roots+=("${!_name}"); done
  options=(--faces "$faces" --config "$conf/faces.yaml")
  found=$(python -m avsv.bin.find_detector "$conf/faces.yaml" "$weights" "${roots[@]+"${roots[@]}"}")
  [ -z "$found" ] || mapfile -t -O ${#options[@]} options <<<"$found"
  for dir in "${sets[@]}"; do
    steps/make_face_crops.sh --cmd "$train_cmd" --nj "$nj" "${options[@]}" "$dir"
  done
fi

train() {   # <system>...
  [ $# -eq 0 ] || steps/train_systems.sh --cmd "$cuda_cmd" --train-jobs "$train_jobs" --ngpu "$ngpu" --nodes "$nodes" \
    --num-workers "$num_workers" --seed "$seed" --weights-dir "$weights" "$data/$train_set" "$data/$dev_set" "$work" "$@"
}
if begin 4 "single-modality systems: ${single[*]:-none}"; then
  train ${single[@]+"${single[@]}"}
fi
if begin 5 "audio-visual systems: ${fused[*]:-none}"; then
  train ${fused[@]+"${fused[@]}"}
fi

if begin 6 "embeddings"; then
  for system in "${all[@]}"; do
    steps/extract_embeddings.sh --cmd "$cuda_cmd" --ngpu "$ngpu" --nj "$nj" "$work/$system" "${sets[@]}"
  done
fi

score_options=(--cmd "$train_cmd" --max-lost "$max_lost" --subtract-mean "")
[ "$subtract_mean" = false ] || score_options[-1]=$data/$train_set

if begin 7 "cosine scores"; then
  for system in "${all[@]}"; do
    steps/score_cosine.sh "${score_options[@]}" "$work/$system" "$data/$dev_set" "$data/$eval_set"
  done
fi

if begin 8 "score normalization"; then
  for system in "${all[@]}"; do
    steps/score_norm.sh "${score_options[@]}" --variant "$norm" "$work/$system" "${sets[@]}"
  done
fi

# Of gates and sweeps; stage 0 makes them.
noises=$data/musan
[ -f "$noises/wav.scp" ] || noises=

if begin 9 "ensembles and calibration"; then
  steps/score_ensemble.sh --cmd "$train_cmd" "$work" "${all[*]}" "$data/$dev_set"
  if [ -n "$gates" ]; then
    steps/measure_quality.sh --cmd "$train_cmd" --nj "$nj" --config "$conf/fbank.yaml" "$data/$dev_set" "$data/$eval_set"
    steps/score_gate.sh --cmd "$cuda_cmd" --ngpu "$((ngpu > 0))" --seed "$seed" --noise-dir "$noises" \
      "$work" "$gates" "$data/$train_set" "$data/$dev_set" "$data/$eval_set"
  else
    rm -f "$work/gates"
  fi
  steps/calibrate.sh --cmd "$train_cmd" --quality "$quality" "$work" "${all[*]}" "$data/$dev_set" \
    ${quality:+"$data/$eval_set"}
fi

if begin 10 "analyses"; then
  steps/analyse.sh --cmd "$train_cmd" --seed "$seed" "$work" "${all[*]}" "$data/$eval_set"
  if [ -n "$sweeps" ]; then
    [ "$norm $subtract_mean" = "as-norm1 false" ] || log "warning: sweeps ignore --norm and --subtract-mean"
    steps/sweep.sh --cmd "$cuda_cmd" --nj "$nj" --ngpu "$ngpu" --seed "$seed" --kinds "${sweeps#all}" \
      --noise-dir "$noises" "$work" "${all[*]}${gates:+ ${gates// /_gate }_gate}" "$data/$train_set" "$data/$eval_set"
  fi
fi

if begin 11 "results"; then
  shown=$(cat "$data/options" 2>/dev/null || true)$(changed_options data exp train_set dev_set eval_set corpus_seed study max_lost subtract_mean norm quality gates)
  for _name in ${set[@]+"${set[@]}"}; do shown+=" --set ${_name@Q}"; done
  steps/report.sh --cmd "$train_cmd" --seed "$seed" --run-options "${shown# }" "$work" "${all[*]}" "$data/$eval_set"
fi

end_stage
[ "$stop_stage" -lt 11 ] || ! any_labels "$data/$eval_set"/trials/* || printf '\n%s/results/report.html\n' "$work"
exit
}
