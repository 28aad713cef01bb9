# Settings of run.sh for CREMA-D: defaults of its options, and the options of local/prepare_data.sh.
# shellcheck shell=bash disable=SC2034
preset=small                      # 61 actors to train on
systems="ecapa iresnet18 ssa"
train_set=train                   # training directory that local/prepare_data.sh creates in --data
dev_set=dev                       # development directory
eval_set="eval"                   # evaluation directory
cremad_root=''                    # has AudioWAV/, VideoFlash/ and VideoDemographics.csv
musan_root=''                     # MUSAN; empty: a substitute is generated
rirs_root=''                      # RIRS_NOISES; empty: a substitute is generated
LOCAL_OPTIONS=(cremad_root musan_root rirs_root)
