#!/usr/bin/env bash
# Make a data directory of some utterances of another. Options: --help
# shellcheck source=path.sh
. "$(dirname "$0")/../path.sh" || exit 1
exec python -m avsv.bin.data_dir "$(basename "$0" .sh)" "$@"
