"""Remove recordings that cannot be used from a data directory; a part of ``steps/validate.sh``."""

import argparse
from pathlib import Path

from avsv.bin.command import run_command, share
from avsv.datadir.unusable import drop_unusable


def main() -> None:
    """Change ``wav.scp`` and ``video.scp``, and write ``dropped.txt`` and ``utt2dur``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--min-duration", type=float, required=True, help="shortest usable recording (seconds)")
    parser.add_argument("--max-lost", type=share, required=True, help="largest share of a list that can be removed")
    parser.add_argument("data", type=Path)
    parser.add_argument("probed", type=Path, help="UTTERANCE LIST SECONDS lines")
    parser.add_argument("failed", type=Path, help="UTTERANCE LIST: REASON lines")
    options = parser.parse_args()
    drop_unusable(options.data, options.probed, options.failed, options.min_duration, options.max_lost)


if __name__ == "__main__":
    run_command(main)
