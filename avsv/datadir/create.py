"""Functions shared by the tools that make a data directory from others."""

import contextlib
import filecmp
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from avsv.datadir.lists import read_keys, read_raw_lines, speaker_lists, utterance_lists, write_lines
from avsv.errors import DataError
from avsv.io.lists import ENROLL, has_labels, is_kept_copy, read_models, standard_trial, trial_lists, write_list

FACES_CONF = "faces.conf"
BACKUP = ".backup"
"""The folder in a data directory that keeps the lists which a tool has changed."""
DROPPED = "dropped.txt"
"""The file in a data directory that says which recordings were removed; see :mod:`avsv.datadir.unusable`."""


def note(message: str) -> None:
    """Print what was omitted."""
    print(message, file=sys.stderr)


@contextlib.contextmanager
def new_lists(target: Path, sources: Collection[Path]) -> Iterator[Path]:
    """A folder for the lists of a data directory, which replace those in ``target`` when all have been written.

    Lists of ``target`` that change or go are moved to ``TARGET/.backup``. Files of the sources that no tool copies are
    named.

    Raises:
        DataError: ``target`` is one of the sources.
    """
    for source in sources:
        if target.resolve() == source.resolve():
            raise DataError(f"{target}: source and destination are the same")
    # On the file system of the target, which may be a link.
    place = target if target.is_dir() else target.parent
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=place) as folder:
        made = Path(folder)
        yield made
        target.mkdir(exist_ok=True)
        _move_old_lists(target, made)
        for path in target.glob(".*.done"):
            path.unlink()
        for path in sorted(made.rglob("*")):
            if path.is_dir():
                (target / path.relative_to(made)).mkdir(exist_ok=True)
            else:
                path.replace(target / path.relative_to(made))
    left = {name for source in sources for name in _other_files(source)}
    if left:
        note(f"{target}: not copied, because no step reads them: {' '.join(sorted(left))}")


def _known_lists(folder: Path) -> list[str]:
    """Names of the lists in a data directory, except trials."""
    names = (*utterance_lists(folder), *speaker_lists(folder), "spk2utt", ENROLL, FACES_CONF)
    return [name for name in names if os.path.lexists(folder / name)]


def _other_files(folder: Path) -> list[str]:
    """Names of the files in a data directory that are no lists of this toolkit, such as Kaldi's ``text``."""
    known = {*_known_lists(folder), DROPPED}
    paths = [path for path in folder.glob("[!.]*") if path.is_file() and path.name not in known]
    return [path.name for path in paths if not is_kept_copy(path.name)]


def _move_old_lists(target: Path, made: Path) -> None:
    """Move the lists of a data directory that its new lists, in the folder ``made``, change or lack."""
    moved = False
    for name in [*_known_lists(target), *(f"trials/{path.name}" for path in trial_lists(target))]:
        old, new = target / name, made / name
        if new.is_file() and old.is_file() and filecmp.cmp(old, new, shallow=False):
            continue
        backup = target / BACKUP / name
        backup.parent.mkdir(parents=True, exist_ok=True)
        old.replace(backup)
        moved = True
    if moved:
        note(f"{target}: its old lists are in {target / BACKUP}")


def write_filled(path: Path, lines: Iterable[str]) -> None:
    """Write a list, unless it would be empty."""
    write_lines(path, lines)
    if path.stat().st_size == 0:
        path.unlink()


def copy_faces_conf(source: Path, target: Path) -> None:
    if (source / FACES_CONF).is_file() and (target / "faces.scp").is_file():
        shutil.copy(source / FACES_CONF, target / FACES_CONF)


def copy_trials(source: Path, folder: Path, target: Path, rename: Callable[[str], str | None]) -> None:
    """Copy the trials between utterances for which ``rename`` returns a name, and the models made of them.

    A model keeps its name, and those of its utterances that are copied. ``folder`` receives the lists of ``target``.
    """
    models = set(_copy_models(source, folder, target, rename))

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
            if standard_trial(line):
                raise DataError(f"{path}:{number}: labels are target and nontarget: run utils/fix_data_dir.sh {source}")
            enroll, test = new_name(fields[0]), new_name(fields[1])
            if enroll is not None and test is not None:
                rows.append(f"{' '.join([enroll, test, *fields[2:]])}\n")
        if rows:
            (folder / "trials").mkdir(exist_ok=True)
            write_lines(folder / "trials" / path.name, rows)
        else:
            note(f"{target}: no trials/{path.name}: no trial has both sides in the new data directory")


def _copy_models(source: Path, folder: Path, target: Path, rename: Callable[[str], str | None]) -> list[str]:
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
        write_list(folder / ENROLL, left)
    return list(left)


def seconds_of(folder: Path, text: str) -> float:
    """A duration of ``FOLDER/utt2dur``. Raises DataError where it is no positive number."""
    if not is_positive(text):
        raise DataError(f"{folder}/utt2dur: '{text}' is not a positive number of seconds: remove its line")
    return float(text)


def is_positive(text: str) -> bool:
    """Whether a text is a positive, finite number in the digits 0 to 9."""
    try:
        return text.isascii() and 0 < float(text) < float("inf")
    except ValueError:
        return False
