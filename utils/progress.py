#!/usr/bin/env python3
"""One line of progress for the parallel jobs of a step.

Every job keeps rewriting a file that holds "DONE TOTAL"; this sums the files that match the patterns. On a terminal
the line is live; elsewhere one is written every 30 seconds. When it is told to end (SIGTERM), or when the script that
started it has ended, it removes the live line if all is done, because the step then prints what it made; if not, it
leaves the last state.
"""

import argparse
import glob
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType


class Ended(Exception):
    """The step asked for the last line."""


def count(patterns: list[str]) -> tuple[int, int]:
    """Sum "DONE TOTAL" over all files; one that is missing, or just being rewritten, counts nothing this time."""
    done = total = 0
    for name in (name for pattern in patterns for name in glob.glob(pattern)):  # noqa: PTH207 (absolute patterns)
        try:
            fields = [int(field) for field in Path(name).read_text().split()]
        except (OSError, ValueError):
            continue
        if len(fields) == 2:
            done, total = done + fields[0], total + fields[1]
    return done, total


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss, or m:ss below an hour.

    >>> clock(75), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def line(label: str, done: int, total: int, first: int, elapsed: float) -> str:
    """The text shown; ``first`` was already done when we began, and tells nothing of the speed.

    >>> line("fbank", 30, 100, 10, 10.0)
    'fbank: 30/100 (30%), 0:10, 2.0/s, 0:35 left'
    >>> line("fbank", 0, 0, 0, 3.0)
    'fbank: starting, 0:03'
    """
    if total == 0:
        return f"{label}: starting, {clock(elapsed)}"
    text = f"{label}: {done}/{total} ({100 * done // total}%), {clock(elapsed)}"
    speed = (done - first) / elapsed if elapsed > 0 else 0.0
    if speed > 0:
        text += f", {speed:.1f}/s"
        if done < total:
            text += f", {clock((total - done) / speed)} left"
    return text


def main() -> None:
    """Show the line until told to end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--label", required=True, help="what is being done")
    parser.add_argument("--every", type=float, default=30.0, help="seconds between lines when not on a terminal (30)")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="process with which this one ends")
    parser.add_argument("patterns", nargs="+", help="glob patterns of the jobs' progress files")
    options = parser.parse_args()

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise Ended

    live = sys.stderr.isatty()
    begin = shown = time.monotonic()
    first, _ = count(options.patterns)
    try:
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        while os.getppid() == options.parent:
            time.sleep(0.5)
            now = time.monotonic()
            if live:
                text = line(options.label, *count(options.patterns), first, now - begin)
                print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
            elif now - shown >= options.every:
                shown = now
                done, total = count(options.patterns)
                if done < total:
                    print(line(options.label, done, total, first, now - begin), file=sys.stderr, flush=True)
    except Ended:
        pass
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    done, total = count(options.patterns)
    if live:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    if done < total:
        print(line(options.label, done, total, first, time.monotonic() - begin), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
