"""The lists of a data directory: their names and keys, and reading and writing them line by line.

A corpus can have more than a million utterances, so lists are streamed in the order of their keys, some thousand lines
at a time.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, compress, islice
from operator import lt
from pathlib import Path

from avsv.errors import DataError
from avsv.io.atomic import atomic_path
from avsv.io.names import check_key, first_odd_key
from avsv.io.text import check_regular_file, not_text, refuse_mark

# An utterance can lack a modality: only these lists can be incomplete. The value is the list that must contain every
# key of the list.
SOURCES = {"wav.scp": "utt2spk", "video.scp": "utt2spk"}
DERIVED = {
    "feats.scp": "wav.scp",
    "audio.scp": "wav.scp",
    "utt2num_frames": "feats.scp",
    "faces.scp": "video.scp",
    "utt2num_faces": "faces.scp",
    "utt2voice_quality": "audio.scp",
    "utt2face_quality": "faces.scp",
}
# Unknown values of an utterance or a speaker have no line either.
PARTIAL = ("utt2age", "utt2gender", "utt2uniq", "spk2age", "spk2gender")
OTHER_SCPS = ("vad.scp",)
_CHUNK = 1 << 20  # characters


def utterance_lists(folder: Path) -> list[str]:
    """Names of the lists in a data directory whose lines begin with an utterance, ``utt2spk`` first.

    What is no file, or a link to nothing, is among them: reading it says so; left out, it would cost a modality.
    """
    names = [name for name in (*SOURCES, *DERIVED, *OTHER_SCPS) if os.path.lexists(folder / name)]
    names += [path.name for path in sorted(folder.glob("utt2*")) if path.name not in DERIVED and _is_list(path.name)]
    return sorted(names, key=lambda name: name != "utt2spk")


def speaker_lists(folder: Path) -> list[str]:
    """Names of the lists in a data directory, other than ``spk2utt``, whose lines begin with a speaker."""
    return [path.name for path in sorted(folder.glob("spk2*")) if path.name != "spk2utt" and _is_list(path.name)]


def _is_list(name: str) -> bool:
    """Whether a file is a list, and not what an editor keeps of one (``utt2spk~``, ``utt2spk.bak``)."""
    return "." not in name and not name.endswith("~")


def need_data_directory(folder: Path) -> None:
    """Raise DataError unless ``folder`` is a data directory: one with ``utt2spk``, whose utterances are whole files."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such data directory")
    if not (folder / "utt2spk").is_file():
        raise DataError(f"{folder}: not a data directory: it has no utt2spk")
    if os.path.lexists(folder / "segments"):
        raise DataError(f"{folder}/segments: not supported: cut the recordings into utterances")


def key_of(line: str) -> str:
    """The first field of a line that is not blank."""
    return line.split(None, 1)[0]


def increases(keys: list[str], last: str = "") -> bool:
    """Whether the keys are strictly increasing in the C locale and the first one is larger than ``last``.

    >>> increases(["B-1", "a", "a-1"]), increases(["a", "a"]), increases(["b"], last="c")
    (True, False, False)
    """
    # The order of code points is that of their UTF-8 bytes.
    return not keys or (last < keys[0] and all(map(lt, keys, islice(keys, 1, None))))


def read_raw_chunks(path: Path) -> Iterator[list[str]]:
    """Stream the unchanged lines of a text file, each ending in a newline, some thousand at a time.

    Raises:
        DataError: no such file, a folder or pipe, a byte-order mark, or not UTF-8.
    """
    check_regular_file(path)
    try:
        with path.open(encoding="utf-8", newline="\n") as stream:
            refuse_mark(path, stream.buffer.peek(3))
            while lines := stream.readlines(_CHUNK):
                if not lines[-1].endswith("\n"):
                    lines[-1] += "\n"
                yield lines
    except UnicodeDecodeError:
        raise not_text(path) from None


def read_raw_lines(path: Path) -> Iterator[str]:
    """Stream the unchanged lines of a text file, each ending in a newline; see :func:`read_raw_chunks`."""
    return chain.from_iterable(read_raw_chunks(path))


def read_chunks(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Stream the keys and the lines of a list in the order of the keys, some thousand at a time.

    Raises:
        DataError: with file and line: no such file, a blank line, a repeated key, keys out of order, a key that cannot
            be one (:func:`avsv.io.names.wrong_key`).
    """
    last, done = "", 0
    for lines in read_raw_chunks(path):
        try:
            keys = [line.split(None, 1)[0] for line in lines]
        except IndexError:
            number = done + next(n for n, line in enumerate(lines, 1) if not line.strip())
            raise DataError(f"{path}:{number}: blank line: run utils/fix_data_dir.sh {path.parent}") from None
        if not increases(keys, last):
            before = [last, *keys]
            number = next(n for n, key in enumerate(keys) if key <= before[n])
            key, last = keys[number], before[number]
            what = f"'{key}' occurs twice" if key == last else f"not sorted: '{key}' follows '{last}'"
            raise DataError(f"{path}:{done + number + 1}: {what}: run utils/fix_data_dir.sh {path.parent}")
        if (odd := first_odd_key(keys)) is not None:
            check_key(keys[odd], f"{path}:{done + odd + 1}")
        last = keys[-1]
        done += len(lines)
        yield keys, lines


def read_lines(path: Path) -> Iterator[str]:
    """Stream the lines of a list; see :func:`read_chunks`."""
    return chain.from_iterable(lines for _, lines in read_chunks(path))


def read_keys(path: Path) -> Iterator[str]:
    """Stream the keys of a list; see :func:`read_chunks`."""
    return chain.from_iterable(keys for keys, _ in read_chunks(path))


def read_pairs(path: Path) -> Iterator[tuple[str, str]]:
    """Stream the keys and values of a sorted list; a value may contain blanks.

    Raises:
        DataError: as for :func:`read_chunks`, and for a line without a value.
    """
    for keys, lines in read_chunks(path):
        try:
            values = [line.split(None, 1)[1].rstrip() for line in lines]
        except IndexError:
            key = next(key for key, line in zip(keys, lines, strict=True) if len(line.split()) == 1)
            raise DataError(f"{path}: '{key}' has no value") from None
        yield from zip(keys, values, strict=True)


def fields_of(name: str) -> int | None:
    """How many fields a line of a list has; None for a key and a value that may contain blanks.

    >>> fields_of("wav.scp"), fields_of("utt2session"), fields_of("text")
    (None, 2, None)
    """
    return 2 if name.startswith(("utt2", "spk2")) and name != "spk2utt" else None


def read_utt2spk(folder: Path) -> tuple[list[str], list[str]]:
    """Read the utterances of a data directory in order, and the speaker of each.

    Raises:
        DataError: no data directory, an empty utt2spk, a line without exactly two fields, keys out of order.
    """
    need_data_directory(folder)
    path = folder / "utt2spk"
    utterances, speakers, names = [], [], {}
    for keys, lines in read_chunks(path):
        rows = list(map(str.split, lines))
        if set(map(len, rows)) != {2}:
            bad = next(row for row in rows if len(row) != 2)
            raise DataError(f"{path}: the line of '{bad[0]}' has {len(bad)} fields, expected 2: UTTERANCE SPEAKER")
        if (odd := first_odd_key([speaker for _, speaker in rows])) is not None:
            check_key(rows[odd][1], f"{path}: the speaker of '{keys[odd]}'")
        utterances += keys
        speakers += [names.setdefault(speaker, speaker) for _, speaker in rows]  # one string per speaker
    if not utterances:
        raise DataError(f"{path}: the list is empty")
    return utterances, speakers


def group_by_speaker(utterances: Iterable[str], speakers: Iterable[str]) -> dict[str, list[str]]:
    """Group utterances by speaker, with the speakers in the order of the C locale.

    >>> group_by_speaker(["b-1", "a-1", "b-2"], ["b", "a", "b"])
    {'a': ['a-1'], 'b': ['b-1', 'b-2']}
    """
    groups: dict[str, list[str]] = {}
    for utterance, speaker in zip(utterances, speakers, strict=True):
        groups.setdefault(speaker, []).append(utterance)
    return {speaker: groups[speaker] for speaker in sorted(groups)}


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines to a file that appears complete or not at all."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(lines)


def write_spk2utt(folder: Path, groups: dict[str, list[str]]) -> None:
    """Write ``spk2utt`` of a data directory."""
    write_lines(folder / "spk2utt", (f"{speaker} {' '.join(groups[speaker])}\n" for speaker in groups))


def select_lines(path: Path, wanted: Callable[[str], bool]) -> Iterator[str]:
    """Stream the lines of a sorted list whose keys are selected by ``wanted``."""
    return chain.from_iterable(compress(lines, map(wanted, keys)) for keys, lines in read_chunks(path))
