#!/usr/bin/env bash
# Download published weights by their name in conf/weights.yaml. Options: --help
# shellcheck source=path.sh
. "$(dirname "$0")/../path.sh" || exit 1
exec python -m avsv.bin.download_weights "$@"
