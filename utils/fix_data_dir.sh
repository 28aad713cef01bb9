#!/usr/bin/env bash
# Sort the lists of a data directory and drop utterances that are not complete. Options: --help
# shellcheck source=path.sh
. "$(dirname "$0")/../path.sh" || exit 1
exec python -m avsv.bin.data_dir "$(basename "$0" .sh)" "$@"
