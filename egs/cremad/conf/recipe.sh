# What run.sh cannot know of CREMA-D: defaults of its options, and the options that local/prepare_data.sh takes.
# shellcheck shell=bash disable=SC2034
preset=small                      # 61 actors to train on
systems="ecapa iresnet18 ssa"
train_set=train dev_set=dev eval_set="eval"
cremad_root=''                    # has AudioWAV/, VideoFlash/ and VideoDemographics.csv
musan_root='' rirs_root=''        # MUSAN and RIRS_NOISES; empty: substitutes are made
LOCAL_OPTIONS=(cremad_root musan_root rirs_root)
