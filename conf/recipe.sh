# What run.sh cannot know of a corpus: defaults of its options, and the options that local/prepare_data.sh takes.
# shellcheck shell=bash disable=SC2034
preset=mini                       # conf/presets/NAME.yaml: sizes and schedules
systems="ecapa iresnet18 ssa"     # conf/systems/NAME.yaml, trained in the order they depend on each other
train_set=train                   # directories that local/prepare_data.sh makes below --data
dev_set=dev
eval_set="eval"
LOCAL_OPTIONS=()                  # names of variables set here that are options of run.sh and of local/prepare_data.sh
