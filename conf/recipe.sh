# Settings of run.sh for this corpus: defaults of its options, and the options of local/prepare_data.sh.
# shellcheck shell=bash disable=SC2034
preset=mini                       # conf/presets/NAME.yaml: sizes and schedules
systems="ecapa iresnet18 ssa"     # conf/systems/NAME.yaml, trained in the order they depend on each other
train_set=train                   # training directory that local/prepare_data.sh creates in --data
dev_set=dev                       # development directory
eval_set="eval"                   # evaluation directory
LOCAL_OPTIONS=()                  # names of variables above that are options of run.sh and local/prepare_data.sh
