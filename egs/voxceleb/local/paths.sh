# Where the corpora are: set once here, or on the command line, as in ./run.sh --vox1-root /corpora/voxceleb1.
# shellcheck shell=bash disable=SC2034
vox1_root=        # has wav/, and mp4/, faces/ or unzippedFaces/; the trial lists (veri_test*.txt, list_test_*.txt)
vox2_root=        # has dev/aac/ and dev/mp4/
musan_root=       # MUSAN; empty: substitutes are generated, see local/prepare_data.sh
rirs_root=        # RIRS_NOISES; empty: the same
meta_dir=         # has vox1_meta.csv, vox2_meta.csv, spk2age, utt2age, trial lists, if they are not in the roots
