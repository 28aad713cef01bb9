"""``python -m avsv.cli``: the program ``avsv``."""

import argparse

from avsv.bin.command import run_command
from avsv.cli import evaluate


def main() -> None:
    """Parse the command line and run the chosen command."""
    parser = argparse.ArgumentParser(prog="avsv", description="Person verification from voice and face.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    evaluate.add_command(commands)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    run_command(main)
