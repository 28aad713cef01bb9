#!/usr/bin/env bash
# Copy a data directory under other names of speakers and utterances. Options: --help
# shellcheck source=path.sh
. "$(dirname "$0")/../path.sh" || exit 1
exec python -m avsv.bin.data_dir "$(basename "$0" .sh)" "$@"
