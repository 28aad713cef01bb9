#!/usr/bin/env bash
# Check the lists of a data directory and open some of the recordings. Options: --help
# shellcheck source=path.sh
. "$(dirname "$0")/../path.sh" || exit 1
exec python -m avsv.bin.data_dir "$(basename "$0" .sh)" "$@"
