"""Print the files of the published weights that a system starts from, one per line; nothing if it names none."""

import argparse

from avsv.bin.command import run_command
from avsv.model.config import load_config
from avsv.model.pretrained import resolve_weights


def main() -> None:
    """Parse the arguments, and look for the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--weights-dir", default="data/weights", metavar="DIR", help="folder of published weights")
    parser.add_argument("config", help="configuration of the system")
    args = parser.parse_args()
    pretrained = load_config(args.config).pretrained
    for name in filter(None, (pretrained.audio, pretrained.visual)):
        print(resolve_weights(name, args.weights_dir))


if __name__ == "__main__":
    run_command(main)
