"""``python -m avsv.cli``: the program ``avsv``."""

import argparse
import sys
import warnings

import avsv
from avsv.bin.command import run_command
from avsv.cli import embed, evaluate, export, gallery, score, verify


def main() -> int | None:
    """Parse the command line, run the chosen command and return its exit status."""
    parser = argparse.ArgumentParser(prog="avsv", description="Person verification from voice and face.")
    parser.add_argument("--version", action="version", version=avsv.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    verify.add_command(commands)
    gallery.add_commands(commands)
    for command in (embed, score, evaluate, export):
        command.add_command(commands)
    args = parser.parse_args()
    warnings.showwarning = lambda message, *_: print(f"avsv: warning: {message}", file=sys.stderr)
    return args.run(args)


if __name__ == "__main__":
    run_command(main)
