# Settings of run.sh for CREMA-D: defaults of its options, and the options of local/prepare_data.sh.
# shellcheck shell=bash disable=SC2034
preset=small                      # 61 actors to train on
systems="ecapa iresnet18 ssa"
train_set=train dev_set=dev eval_set="eval"
cremad_root=''                    # has AudioWAV/, VideoFlash/ and VideoDemographics.csv
musan_root='' rirs_root=''        # MUSAN and RIRS_NOISES; empty: substitutes are generated
LOCAL_OPTIONS=(cremad_root musan_root rirs_root)
