#!/usr/bin/env bash
# Train one system, continuing from its last checkpoint if there is one.

cmd=run.py                  # job launcher: run.py, "slurm.py --mem 4G", or Kaldi's run.pl, slurm.pl, queue.pl
seed=0                      # seed of the first weights and every random draw
ngpu=0                      # GPUs of each node, with one process on each; 0 trains on the CPU
nodes=1                     # nodes that train together; more than one needs slurm.py as launcher
num_workers=2               # loader processes of each training process; changes no result
noise_dir=                  # noises: a data directory with wav.scp and utt2type, for systems with data.noise_reverb
rir_dir=                    # room responses: a data directory with wav.scp
fbank_config=conf/fbank.yaml  # what the features are
init=                       # trained systems whose backbones an audio-visual one starts from, as in
                            #   'audio=exp/mini/ecapa visual=exp/mini/iresnet18', or 'system=exp/mini/ecapa' for one
                            #   that is trained on
weights_dir=data/weights    # where utils/download_weights.sh put published weights
help_message="Train one system, continuing from its last checkpoint if there is one.

Usage: $0 [options] <config> <train-data-dir> <dev-data-dir> <exp-dir>
 e.g.: $0 --ngpu 1 --noise-dir data/musan --rir-dir data/rirs \\
         exp/mini/conf/systems/ecapa.yaml data/train data/dev exp/mini/ecapa

Writes <exp-dir>/final.pt (weights, configuration, speakers), config.yaml, run.yaml (versions, seed, md5 of every list),
train.csv (figures of every epoch), tensorboard/, checkpoints/ and log/train.log. The development EER of every epoch is
measured on the lists in <dev-data-dir>/trials, if there are any. SIGTERM saves a checkpoint and ends the training; the
same command continues from there. A system in <exp-dir> with other settings or data, finished or not, is never
overwritten: this is an error. A system without loss and train is not trained: it keeps the published weights that it names.
"

set -euo pipefail
. ./path.sh
. utils/parse_options.sh

if [ $# -ne 4 ]; then
  usage
fi
config=$1 train=${2%/} dev=${3%/} exp=${4%/}
[ "$nodes" -ge 1 ] || usage_error "--nodes must be at least 1"
need_file "$config" "$fbank_config" "$train/utt2spk" "$dev/utt2spk"

# The training itself knows which of these it depends on; here more than enough go into the stamp.
inputs=("$config" "$fbank_config")
for dir in "$train" "$dev"; do
  for name in utt2spk utt2age spk2age spk2gender utt2session utt2{audio,video}_worth .fbank.done .faces.done faces.conf; do inputs+=("$dir/$name"); done
done
for dir in "$noise_dir" "$rir_dir"; do [ -z "$dir" ] || inputs+=("$dir/wav.scp" "$dir/utt2type"); done
inputs+=("$dev"/trials/* "$dev/enroll")
# A folder's name may have blanks: only 'audio=' and 'visual=' begin another entry.
sources=${init// audio=/$'\n'audio=}
sources=${sources// visual=/$'\n'visual=}
while read -r source; do inputs+=("${source#*=}/.done" "${source#*=}/final.pt"); done <<<"$sources"
# Most systems start from no published weights, and asking Python takes longer than all else here.
if grep '^pretrained:' "$config" | grep -qvxF 'pretrained: {audio: null, visual: null}'; then
  published=$(python -m avsv.bin.find_weights --weights-dir "$weights_dir" "$config")
  [ -z "$published" ] || mapfile -t -O "${#inputs[@]}" inputs <<<"$published"
fi
for index in "${!inputs[@]}"; do [ -f "${inputs[index]}" ] || unset "inputs[index]"; done
stamp=$(stamp "$seed $init $noise_dir $rir_dir" "${inputs[@]}")
if is_done "$exp/.done" "$stamp"; then
  log "$exp: the training is up to date"
  exit 0
fi

mkdir -p "$exp/log"
remove_stale "$exp" "$exp/checkpoints" "$exp/log"

options=(--seed "$seed" --num-workers "$num_workers" --fbank-config "$fbank_config" --init "$init"
  --weights-dir "$weights_dir")
[ -z "$noise_dir" ] || options+=(--noise-dir "$noise_dir")
[ -z "$rir_dir" ] || options+=(--rir-dir "$rir_dir")
launch=(python)
resources=()
if [ "$ngpu" -gt 0 ]; then
  options+=(--gpu)
  resources=(--gpu "$ngpu")
fi
[ "$nodes" -eq 1 ] || resources+=(--nodes "$nodes")
processes=$((ngpu > 1 ? ngpu : 1))
if [ $((nodes * processes)) -gt 1 ]; then
  launch=(utils/run_ranks.sh "$nodes" "$processes")
elif [ "$ngpu" -eq 0 ]; then
  # Memory that goes back to the system after every step, and comes again page by page, costs a tenth of the time.
  launch=(env MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=4294967296 python)
fi

# The log of a finished training stays, whatever this one finds.
log=$exp/log/train.log
[ ! -f "$exp/final.pt" ] || log=$exp/log/train_again.log
launch_jobs "training $exp" "$exp/log/train.progress" ${resources[@]+"${resources[@]}"} "$log" \
  "${launch[@]}" -m avsv.bin.train "${options[@]}" --progress "$exp/log/train.progress" "$config" "$train" "$dev" "$exp"

need_file "$exp/final.pt"
if grep -qxF 'train: null' "$config"; then
  mark_done "$exp/.done" "$stamp" "$exp"/{final.pt,config.yaml}
  log "$exp: keeps its published weights, nothing to train"
  exit 0
fi
mark_done "$exp/.done" "$stamp" "$exp"/{final.pt,config.yaml,train.csv}
log "$exp: trained, $(awk -F , 'NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
  { row = $0 }
  END { split(row, value, ",")
    text = sprintf("%d epochs, loss %.3f, accuracy %.1f %%", value[column["epoch"]], value[column["loss"]],
      100 * value[column["accuracy"]])
    if (value[column["dev_eer"]] != "") text = text sprintf(", dev. EER %.2f %%", 100 * value[column["dev_eer"]])
    print text }' "$exp/train.csv")"
