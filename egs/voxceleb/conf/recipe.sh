# Settings of run.sh for VoxCeleb: defaults of its options, and the options of local/prepare_data.sh.
# shellcheck shell=bash disable=SC2034
preset=paper                      # conf/presets/NAME.yaml; small: on a CPU
systems="ecapa iresnet18 ssa"     # conf/systems/NAME.yaml, trained in the order they depend on each other
train_set=train                   # training directory that local/prepare_data.sh creates in --data
dev_set=dev                       # development directory
eval_set="eval"                   # evaluation directory
vox1_video=auto                   # folder of VoxCeleb1's faces in its root: mp4, faces, unzippedFaces; none
dev_speakers=auto                 # training speakers held out: 2 %, at least 8 and at most 120
max_missing=0.05                  # largest share of recordings, and of trials, that may be missing
# shellcheck source=egs/voxceleb/local/paths.sh
. local/paths.sh
LOCAL_OPTIONS=(vox1_root vox2_root musan_root rirs_root meta_dir vox1_video dev_speakers max_missing)
