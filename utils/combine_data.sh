#!/usr/bin/env bash
# Combine data directories into a new one. Options: --help
# shellcheck source=path.sh
. "$(dirname "$0")/../path.sh" || exit 1
exec python -m avsv.bin.data_dir "$(basename "$0" .sh)" "$@"
