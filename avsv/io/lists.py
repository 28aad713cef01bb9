"""Text lists, trials and scores: strict reading with errors that name file and line, atomic writing."""

import re
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.names import check_name, missing_key, wrong_key
from avsv.io.text import check_regular_file, not_text, refuse_mark

ENROLL = "enroll"
"""The list of a data directory that names its enrollment models, in the form of ``spk2utt``."""
# Lists of a made corpus: the true worth of the moments of each utterance; see avsv.data.worth.
AUDIO_WORTH, VIDEO_WORTH = "utt2audio_worth", "utt2video_worth"

# What most keys are made of; the others are looked at more closely.
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}").fullmatch


@contextmanager
def _open(path: str | Path) -> Iterator[TextIO]:
    check_regular_file(path)
    with Path(path).open(encoding="utf-8") as file:
        refuse_mark(path, file.buffer.peek(3))
        yield file


def _empty(path: str | Path) -> DataError:
    return DataError(f"{path}: the list is empty")


def _lines(path: str | Path) -> list[str]:
    """The lines of a text file that must exist and must not be empty."""
    with _open(path) as file:
        try:
            text = file.read()
        except UnicodeDecodeError:
            raise not_text(path) from None
    if not text.strip():
        raise _empty(path)
    # Only newlines end a line: str.splitlines would also split at characters that a file name may contain.
    return text.removesuffix("\n").split("\n")


def _columns(path: str | Path, columns: int, form: str, fewer: int | None = None) -> list[list[str]]:
    """The columns of a table whose every line has exactly ``columns`` fields, or every line ``fewer``."""
    lines = _lines(path)
    counts = list(map(len, map(str.split, lines)))
    if fewer is not None and set(counts) == {fewer}:
        columns = fewer
    if set(counts) != {columns}:
        number, count = next((n, count) for n, count in enumerate(counts, 1) if count != columns)
        raise DataError(f"{path}:{number}: {count} field{'s' if count != 1 else ''}, expected {columns}: {form}")
    words = " ".join(lines).split()
    return [words[column::columns] for column in range(columns)]


def read_list(path: str | Path, fields: int | None = None) -> dict[str, str]:
    """Read a Kaldi list, one ``key value`` per line, in the order of the file.

    Args:
        path: text file.
        fields: number of blank-separated fields that every line must have, including the key; None means a key and
            any non-empty value, which may contain blanks.

    Returns:
        The value of every key.

    Raises:
        DataError: naming file and line: no such file, an empty list, a byte-order mark, a wrong number of fields, a key
            that occurs twice or cannot be one (:func:`avsv.io.names.wrong_key`).

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".scp") as file:
        ...     _ = file.write("a1 sox a1.sph -t wav - |\\na2 a2.wav\\n")
        ...     file.flush()
        ...     read_list(file.name)
        {'a1': 'sox a1.sph -t wav - |', 'a2': 'a2.wav'}
    """
    result: dict[str, str] = {}
    for number, key, value in read_entries(path, fields):
        if key in result:
            raise repeated(path, number, key)
        result[key] = value
    return result


def read_entries(path: str | Path, fields: int | None = None) -> Iterator[tuple[int, str, str]]:
    """Iterate over a Kaldi list: the number, key and value of every line; see :func:`read_list`.

    Raises:
        DataError: as :func:`read_list`, except for keys that occur twice.
    """
    number = 0
    with _open(path) as file:
        try:
            for number, line in enumerate(file, 1):
                parts = line.split(None, 1)
                count = len(line.split()) if fields is not None else len(parts)
                if count != (fields or 2):
                    if count == 0 and number == 1 and not any(map(str.strip, file)):
                        raise _empty(path)
                    expected = f"expected {fields}" if fields is not None else "expected a key and a value"
                    raise DataError(f"{path}:{number}: {count} field{'s' if count != 1 else ''}, {expected}")
                if not _PLAIN_KEY(parts[0]) and (wrong := wrong_key(parts[0])):
                    raise DataError(f"{path}:{number}: {wrong}")
                yield number, parts[0], parts[1].rstrip() if len(parts) > 1 else ""
        except UnicodeDecodeError:
            raise not_text(path) from None
    if number == 0:
        raise _empty(path)


def repeated(path: str | Path, number: int, key: str) -> DataError:
    """The error for a key that occurs on an earlier line."""
    return DataError(f"{path}:{number}: '{key}' occurs twice")


def write_list(path: str | Path, mapping: Mapping[str, object]) -> None:
    """Write ``key value`` lines sorted by key in the C locale; the file appears complete or not at all."""
    # Sorting by code point equals sorting by UTF-8 byte, as LC_ALL=C sort does.
    write_text(path, "".join(f"{key} {mapping[key]}\n" for key in sorted(mapping)))


def wrong_model(name: str, members: list[str], known: Container[str]) -> str | None:
    """What is wrong with a line of ``enroll``, or None.

    Args:
        name: of the model.
        members: the utterances it is made of.
        known: the utterances that there are.

    Example:
        >>> wrong_model("ann", ["ann-1", "ann-3"], {"ann-1", "ann-2"})
        "the model 'ann': 'ann-3' is not in utt2spk"
    """
    if name in known:
        return f"the model '{name}' has the name of an utterance: rename it"
    for key in members:
        if key not in known:
            return f"the model '{name}': {missing_key(key, known, 'utt2spk')}"
    if len(set(members)) < len(members):
        return f"the model '{name}' has an utterance twice"
    return None


def read_models(path: str | Path, known: Container[str]) -> dict[str, list[str]]:
    """Read ``MODEL UTTERANCE UTTERANCE ...`` lines: the utterances of every enrollment model.

    Args:
        path: the list ``enroll`` of a data directory, or one like it.
        known: the utterances that there are.

    Raises:
        DataError: as :func:`read_list`, or :func:`wrong_model`.
    """
    models: dict[str, list[str]] = {}
    for number, name, value in read_entries(path):
        if name in models:
            raise repeated(path, number, name)
        members = value.split()
        if wrong := wrong_model(name, members, known):
            raise DataError(f"{path}:{number}: {wrong}")
        models[name] = members
    return models


def trial_lists(folder: str | Path) -> list[Path]:
    """The trial lists of a data directory, ``FOLDER/trials/*``, sorted by name; none where there is no such folder.

    Raises:
        DataError: one is called what no folder of scores can be (:func:`avsv.io.names.check_name`), or is no file.
    """
    trials = Path(folder) / "trials"
    if trials.is_file():
        raise DataError(f"{trials}: is a file: trial lists are in a folder of this name: move it to {trials}/NAME")
    paths = sorted(path for path in trials.glob("[!.]*") if not path.is_dir() and not is_kept_copy(path.name))
    for path in paths:
        check_name(path.name, str(trials))
        check_regular_file(path)
    return paths


def is_kept_copy(name: str) -> bool:
    """Whether a file is what an editor keeps of another one, by its name.

    Example:
        >>> is_kept_copy("eval~"), is_kept_copy("eval.v2")
        (True, False)
    """
    return name.endswith(("~", ".bak", ".orig"))


def has_labels(path: str | Path) -> bool:
    """Whether a trial list says which trials are targets: without labels, no line has more than the two sides.

    Raises:
        DataError: no such file, or not text.
    """
    with _open(path) as file:
        try:
            return any(len(line.split()) > 2 for line in file)
        except UnicodeDecodeError:
            raise not_text(path) from None


_OTHER_LABELS = {"1": "target", "0": "nontarget"}


def standard_trial(line: str) -> str | None:
    """A trial as ``ENROLL TEST target|nontarget``, from a line in another form; None for a line that is in none.

    The other forms are those of WeSpeaker and VoxCeleb: labels 1 and 0, behind or before the two sides.

    Example:
        >>> standard_trial("a-1 b-1 0"), standard_trial("1 a-1 a-2"), standard_trial("a-1 b-1 target")
        ('a-1 b-1 nontarget', 'a-1 a-2 target', None)
    """
    fields = line.split()
    if len(fields) != 3 or fields[2] in ("target", "nontarget"):
        return None
    if fields[2] in _OTHER_LABELS:
        return f"{fields[0]} {fields[1]} {_OTHER_LABELS[fields[2]]}"
    return f"{fields[1]} {fields[2]} {_OTHER_LABELS[fields[0]]}" if fields[0] in _OTHER_LABELS else None


class Trials(NamedTuple):
    """Verification trials: arrays of equal length; ``is_target`` is None for a list without labels."""

    enroll: np.ndarray
    test: np.ndarray
    is_target: np.ndarray | None


class Scores(NamedTuple):
    """Scored trials: three arrays of equal length, the scores as float32."""

    enroll: np.ndarray
    test: np.ndarray
    score: np.ndarray


def read_trials(path: str | Path) -> Trials:
    """Read ``enroll test target|nontarget`` lines, or ``enroll test`` lines of a list without labels.

    Raises:
        DataError: with file and line: no such file, an empty list, not three fields (or two on all lines), an unknown
            label.
    """
    enroll, test, *rest = map(np.array, _columns(path, 3, "ENROLL TEST target|nontarget", fewer=2))
    if not rest:
        return Trials(enroll, test, None)
    (label,) = rest
    is_target = label == "target"
    unknown = np.flatnonzero(~is_target & (label != "nontarget"))
    if len(unknown):
        raise DataError(
            f"{path}:{unknown[0] + 1}: label '{label[unknown[0]]}', expected target or nontarget:"
            " utils/fix_data_dir.sh converts labels 1 and 0"
        )
    return Trials(enroll, test, is_target)


def read_scores(path: str | Path) -> Scores:
    """Read ``enroll test score`` lines.

    Raises:
        DataError: with file and line: no such file, an empty list, not three fields, a score that is not a finite
            number.
    """
    enroll, test, words = _columns(path, 3, "ENROLL TEST SCORE")
    try:
        score = np.array(list(map(float, words)), dtype=np.float32)
        bad = np.flatnonzero(~np.isfinite(score))
    except ValueError:
        bad = [next(n for n, word in enumerate(words) if not _is_number(word))]
    if len(bad):
        raise DataError(f"{path}:{bad[0] + 1}: score '{words[bad[0]]}' is not a finite number")
    return Scores(np.array(enroll), np.array(test), score)


def write_scores(path: str | Path, enroll: np.ndarray, test: np.ndarray, scores: np.ndarray) -> None:
    """Write ``enroll test score`` lines with nine significant digits, from which every float32 is restored exactly."""
    rows = zip(enroll.tolist(), test.tolist(), np.asarray(scores, dtype=np.float32).tolist(), strict=True)
    write_text(path, "".join([f"{e} {t} {s:.9g}\n" for e, t, s in rows]))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
