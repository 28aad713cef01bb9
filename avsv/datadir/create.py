"""Functions shared by the tools that make a data directory from others."""

import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from avsv.datadir.lists import read_keys, read_raw_lines, speaker_lists, utterance_lists, write_lines
from avsv.errors import DataError
from avsv.io.lists import ENROLL, has_labels, read_models, trial_lists, write_list

FACES_CONF = "faces.conf"


def note(message: str) -> None:
    """Print what was omitted."""
    print(message, file=sys.stderr)


def need_new_folder(target: Path, sources: Iterable[Path]) -> None:
    """Make the folder of a new data directory and remove old lists from it; DataError if it is one of the sources."""
    for source in sources:
        if target.resolve() == source.resolve():
            raise DataError(f"{target}: source and destination are the same")
    target.mkdir(parents=True, exist_ok=True)
    lists = (*utterance_lists(target), *speaker_lists(target), "spk2utt", ENROLL, FACES_CONF)
    stale = [target / name for name in lists]
    for path in [*stale, *trial_lists(target), *target.glob(".*.done")]:
        path.unlink(missing_ok=True)


def write_filled(path: Path, lines: Iterable[str]) -> None:
    """Write a list, unless it would be empty."""
    write_lines(path, lines)
    if path.stat().st_size == 0:
        path.unlink()


def copy_faces_conf(source: Path, target: Path) -> None:
    if (source / FACES_CONF).is_file() and (target / "faces.scp").is_file():
        shutil.copy(source / FACES_CONF, target / FACES_CONF)


def copy_trials(source: Path, target: Path, rename: Callable[[str], str | None]) -> None:
    """Copy the trials between utterances for which ``rename`` returns a name, and the models made of them.

    A model keeps its name, and those of its utterances that are copied.
    """
    models = set(_copy_models(source, target, rename))

    def new_name(side: str) -> str | None:
        return side if side in models else rename(side)

    for path in trial_lists(source):
        rows = []
        wanted = 3 if has_labels(path) else 2
        for number, line in enumerate(read_raw_lines(path), 1):
            fields = line.split()
            if len(fields) != wanted:
                form = "ENROLL TEST target|nontarget" if wanted == 3 else "ENROLL TEST"
                raise DataError(f"{path}:{number}: {len(fields)} fields, expected {wanted}: {form}")
            enroll, test = new_name(fields[0]), new_name(fields[1])
            if enroll is not None and test is not None:
                rows.append(f"{' '.join([enroll, test, *fields[2:]])}\n")
        if rows:
            (target / "trials").mkdir(exist_ok=True)
            write_lines(target / "trials" / path.name, rows)
        else:
            note(f"{target}: no trials/{path.name}: no trial has both sides in the new data directory")


def _copy_models(source: Path, target: Path, rename: Callable[[str], str | None]) -> list[str]:
    """Copy ``enroll``, as far as ``rename`` returns names for the utterances; return the models that are left."""
    if not (source / ENROLL).is_file():
        return []
    known = set(read_keys(source / "utt2spk"))
    left, smaller = {}, 0
    for name, members in read_models(source / ENROLL, known).items():
        kept = [new for new in map(rename, members) if new is not None]
        if kept:
            left[name] = " ".join(kept)
            smaller += len(kept) < len(members)
    if smaller:
        note(f"{target}/{ENROLL}: {smaller} of {len(left)} models have fewer utterances than in {source}")
    if left:
        write_list(target / ENROLL, left)
    return list(left)


def seconds_of(folder: Path, text: str) -> float:
    """A duration of ``FOLDER/utt2dur``. Raises DataError where it is no positive number."""
    if not is_positive(text):
        raise DataError(f"{folder}/utt2dur: '{text}' is not a positive number of seconds: remove its line")
    return float(text)


def is_positive(text: str) -> bool:
    """Whether a text is a positive, finite number."""
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False
