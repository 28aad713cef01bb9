"""Functions shared by the tools that make a data directory from others."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from avsv.datadir.lists import read_keys, read_raw_lines, speaker_lists, utterance_lists, write_lines
from avsv.errors import DataError
from avsv.io.lists import ENROLL, has_labels, read_models, trial_lists, write_list

FACES_CONF = "faces.conf"


def note(message: str) -> None:
    """Print what was omitted."""
    print(message, file=sys.stderr)


@contextlib.contextmanager
def new_lists(target: Path, sources: Iterable[Path]) -> Iterator[Path]:
    """A folder for the lists of a data directory, which replace those in ``target`` when all have been written.

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
        lists = (*utterance_lists(target), *speaker_lists(target), "spk2utt", ENROLL, FACES_CONF)
        stale = [target / name for name in lists]
        for path in [*stale, *trial_lists(target), *target.glob(".*.done")]:
            path.unlink(missing_ok=True)
        for path in sorted(made.rglob("*")):
            if path.is_dir():
                (target / path.relative_to(made)).mkdir(exist_ok=True)
            else:
                path.replace(target / path.relative_to(made))


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
    """Whether a text is a positive, finite number."""
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False
