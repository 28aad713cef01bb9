"""Look for the weights of the face detector that a configuration names; print options of steps/make_face_crops.sh.

Looks in the first folder, and in a folder `detectors` next to each corpus or one level above it. Prints
`--detector-weights` and the first folder that has them, or, with a warning, the options that take the central part of
the picture instead: one word a line. Prints nothing if the configuration has no detector or names a folder itself.
"""

import argparse
import sys
from pathlib import Path

from avsv.bin.command import run_command
from avsv.video.config import FacesConfig
from avsv.video.detect import weight_files


def main() -> None:
    """Parse the arguments, and look for the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", metavar="FACES_YAML", help="conf/faces.yaml")
    parser.add_argument("weights", type=Path, metavar="WEIGHTS-DIR", help="folder of published weights")
    parser.add_argument("corpora", nargs="*", metavar="CORPUS-DIR", help="folder of a corpus; empty ones are ignored")
    args = parser.parse_args()
    config = FacesConfig.read(args.config)
    files = weight_files(config)
    if not files or config.detector_weights:
        return
    folders = [args.weights]
    folders += [Path(corpus) / up / "detectors" for corpus in filter(None, args.corpora) for up in ("..", "../..")]
    for folder in folders:
        if all((folder / file).is_file() for file in files):
            print(f"--detector-weights\n{folder}")
            return
    print("--detector\nnone\n--align\nfalse")
    places = ", ".join(map(str, folders))
    print(
        f"warning: no {' and '.join(files)} in {places}: the central part of every picture is"
        f" used instead of an aligned face, which increases error rates; put the weights of {config.detector} there"
        " (docs/pretrained.md) and run again",
        file=sys.stderr,
    )


if __name__ == "__main__":
    run_command(main)
