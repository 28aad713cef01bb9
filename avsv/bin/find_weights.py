"""Print the files of the published weights that a system starts from, one per line; nothing if it names none."""

import argparse

from avsv.bin.command import run_command
from avsv.config.strict import read_yaml
from avsv.model.pretrained import resolve_weights


def main() -> None:
    """Parse the arguments, and look for the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--weights-dir", default="data/weights", metavar="DIR", help="folder of published weights")
    parser.add_argument("config", help="configuration of the system")
    args = parser.parse_args()
    # The training checks the configuration; checking it here would import torch.
    for name in filter(None, (read_yaml(args.config).get("pretrained") or {}).values()):
        print(resolve_weights(name, args.weights_dir))


if __name__ == "__main__":
    run_command(main)
