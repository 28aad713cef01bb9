"""Recordings that could not be embedded: named, counted, and at most a share of all."""

import argparse
import sys
from collections.abc import Sequence

from avsv.bin.command import share
from avsv.errors import DataError

_SHOWN = 10


def add_max_lost(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option ``--max-lost``; ``what`` can be lost, and how."""
    parser.add_argument("--max-lost", type=share, default=0.0, metavar="SHARE", help=f"largest share of {what} (0)")


def check_lost(reasons: Sequence[str], count: int, total: int, largest: float, what: str) -> None:
    """Name what is lost in warnings.

    Args:
        reasons: why each recording is lost, with its name.
        count: how many are lost.
        total: of how many.
        largest: share that may be lost; all may not.
        what: what is counted.

    Raises:
        DataError: a larger share is lost; the message has the first reason, and warnings have others.
    """
    failed = bool(reasons) and (count > largest * total or count == total)
    for reason in reasons[failed:_SHOWN]:
        print(f"avsv: warning: {reason}", file=sys.stderr)
    if len(reasons) > _SHOWN:
        print(f"avsv: warning: {len(reasons) - _SHOWN} more", file=sys.stderr)
    if failed:
        raise DataError(
            f"{reasons[0]} ({count} of {total} {what} are lost, at most a share of {largest:g} may be: --max-lost)"
        )
