"""Look for the weights of the face detector that a configuration names; print options of steps/make_face_crops.sh.

Prints `--detector-weights` and the first of the folders that holds them, or, with a warning, the options that take the
picture's central part instead: a line each. Prints nothing where the configuration has no detector, or says itself
where the weights are.
"""

import argparse
import sys
from pathlib import Path

from avsv.bin.command import run_command
from avsv.video.config import FacesConfig
from avsv.video.detect import weight_files


def main() -> None:
    """Parse the arguments and work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", metavar="FACES_YAML", help="conf/faces.yaml")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="where the weights may be")
    args = parser.parse_args()
    config = FacesConfig.read(args.config)
    files = weight_files(config)
    if not files or config.detector_weights:
        return
    for folder in args.folders:
        if all((folder / file).is_file() for file in files):
            print(f"--detector-weights\n{folder}")
            return
    print("--detector\nnone\n--align\nfalse")
    places = ", ".join(map(str, args.folders))
    print(
        f"warning: no {' and '.join(files)} in {places}: the central part of every picture is"
        f" taken, not an aligned face, and faces will be verified worse; put the weights of {config.detector} there"
        " (docs/pretrained.md) and run again",
        file=sys.stderr,
    )


if __name__ == "__main__":
    run_command(main)
