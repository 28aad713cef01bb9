"""What commands share: the options of a model, checks of options, progress and tables."""

import argparse
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

from avsv.errors import DataError
from avsv.video.config import Detector

if TYPE_CHECKING:
    from avsv.verification.model import Model

Item = TypeVar("Item")
MODEL_HELP = "folder of a model, or EXP/PRESET/SYSTEM of a finished run"


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a model runs and looks for faces."""
    parser.add_argument("--device", default="cpu", help="where the networks run, such as cuda (cpu)")
    parser.add_argument(
        "--detector", choices=get_args(Detector), help="how to look for faces; default: as in the training"
    )
    parser.add_argument("--detector-weights", metavar="FOLDER", help="where the detector's weights are")


def check_output(path: Path, suffixes: Collection[str], inputs: Iterable[str | Path]) -> None:
    """Refuse an output that cannot be written, or that would replace a file that the command reads.

    Commands call this before they read anything.

    Args:
        path: file to write.
        suffixes: how its name must end, as in (".html", ".htm"), in upper or lower case; empty for any name.
        inputs: files and folders that the command reads.

    Raises:
        DataError: another ending; one of the inputs, under whatever name; a folder; in a folder that does not exist.

    Example:
        >>> check_output(Path("a.mp4"), [".html", ".htm"], ["a.mp4"])
        Traceback (most recent call last):
        avsv.errors.DataError: a.mp4: the name of this output must end in .html or .htm
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise DataError(f"{path}: the name of this output must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise DataError(f"{path}: is a folder: give the name of a file to write")
    if not path.parent.is_dir():
        raise DataError(f"{path}: cannot be written: there is no folder {path.parent}")
    for source in inputs:
        if path.exists() and Path(source).exists() and path.samefile(source):
            raise DataError(f"{path}: is read and would be replaced: write to another file")


def load_model(args: argparse.Namespace, folder: str | None = None) -> "Model":
    """The model of a command line; commands that decide call :func:`warn_of` as well."""
    from avsv.verification.model import Model

    folder = args.model if folder is None else folder
    return Model.load(folder, device=args.device, detector=args.detector, detector_weights=args.detector_weights)


def warn_of(model: "Model") -> None:
    """Print what a user must know before trusting a decision of a model."""
    if model.package.caution is not None:
        print(f"avsv: warning: {model.name}: {model.package.caution}", file=sys.stderr)


def with_progress(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """The items, with a line on a terminal that counts them."""
    shown = time.monotonic()
    told = False
    for done, item in enumerate(items):
        if sys.stderr.isatty() and time.monotonic() - shown > 1:
            print(f"\r{what}: {done}/{total}", end="", file=sys.stderr, flush=True)
            shown, told = time.monotonic(), True
        yield item
    if told:
        print(f"\r{what}: {total}/{total}", file=sys.stderr)


def align(lines: list[list[str]], left: int = 1) -> str:
    """Cells in columns: the first ``left`` to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if n >= left else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
