"""``python -m avsv.cli``: the program ``avsv``."""

import argparse
import sys
import warnings
from functools import partial

import avsv
from avsv.bin.command import run_command
from avsv.cli import demo, embed, evaluate, export, gallery, score, verify
from avsv.errors import DataError

# Packages that only some commands need, and the optional dependencies of pyproject.toml that bring them.
_EXTRAS = {"matplotlib": "report", "jinja2": "report", "onnx": "onnx", "onnxruntime": "onnx", "gradio": "demo"}


def main() -> int | None:
    """Parse the command line, run the chosen command and return its exit status."""
    # Of abbreviations, --mode would be --model where a command has no --mode.
    make = partial(argparse.ArgumentParser, allow_abbrev=False)
    parser = make(prog="avsv", description="Person verification from voice and face.")
    parser.add_argument("--version", action="version", version=avsv.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=make)
    verify.add_command(commands)
    gallery.add_commands(commands)
    for command in (embed, score, evaluate, export, demo):
        command.add_command(commands)
    args = parser.parse_args()
    warnings.showwarning = lambda message, *_: print(f"avsv: warning: {message}", file=sys.stderr)
    return args.run(args)


def program() -> None:
    """The console command ``avsv``."""
    sys.argv[0] = "avsv"  # also for python -m avsv.cli, whose errors would begin with __main__
    run_command(_main)


def _main() -> int | None:
    try:
        return main()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = _EXTRAS.get(package)
        if extra is None:
            raise
        raise DataError(
            f"{package} is not installed: run 'pip install {package}' (in avsv's extra '{extra}')"
        ) from None


if __name__ == "__main__":
    program()
