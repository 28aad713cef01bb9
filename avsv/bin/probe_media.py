"""Open recordings and write their durations; a job of ``utils/probe_media.sh``."""

import argparse
import time
from pathlib import Path

from avsv.bin.command import run_command
from avsv.datadir.lists import read_raw_lines
from avsv.datadir.media import FOLDER_FPS, probe
from avsv.errors import DataError
from avsv.io.atomic import atomic_path, write_text


def main() -> None:
    """Probe every recording in a file of ``UTTERANCE LIST LOCATION`` lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--progress", type=Path, help="file to update with 'DONE TOTAL'")
    parser.add_argument(
        "--source-fps", type=float, default=FOLDER_FPS, help="frame rate of folders of images without a file fps"
    )
    parser.add_argument("recordings", type=Path, help="UTTERANCE LIST LOCATION lines; LIST is wav.scp or video.scp")
    parser.add_argument("output", type=Path, help="UTTERANCE LIST SECONDS lines; failures go to OUTPUT.failed")
    options = parser.parse_args()

    total = sum(1 for _ in read_raw_lines(options.recordings))
    failed = options.output.with_name(f"{options.output.name}.failed")
    shown = 0.0
    with (
        atomic_path(failed) as failed_path,
        atomic_path(options.output) as output_path,
        failed_path.open("w", encoding="utf-8") as failures,
        output_path.open("w", encoding="utf-8") as durations,
    ):
        for done, line in enumerate(read_raw_lines(options.recordings)):
            if options.progress and time.monotonic() - shown >= 1:
                shown = time.monotonic()
                write_text(options.progress, f"{done} {total}\n")
            utterance, name, location = line.split(None, 2)
            try:
                durations.write(f"{utterance} {name} {probe(name, location.rstrip(), options.source_fps):.6f}\n")
            except DataError as error:
                reason = " ".join(str(error).split())
                failures.write(f"{utterance} {name}: {reason}\n")
                print(f"{utterance} {name}: {reason}", flush=True)
    if options.progress:
        write_text(options.progress, f"{total} {total}\n")


if __name__ == "__main__":
    run_command(main)
