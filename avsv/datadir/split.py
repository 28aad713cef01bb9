"""Splitting a data directory into parts for parallel jobs."""

import fcntl
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from avsv.datadir.lists import (
    group_by_speaker,
    read_chunks,
    read_utt2spk,
    select_lines,
    speaker_lists,
    utterance_lists,
    write_lines,
    write_spk2utt,
)
from avsv.errors import DataError
from avsv.io.atomic import write_text


def part_sizes(total: int, parts: int) -> list[int]:
    """Sizes of nearly equal parts; if there is a remainder, the first parts have one item more.

    >>> part_sizes(10, 4)
    [3, 3, 2, 2]
    """
    return [total // parts + (part < total % parts) for part in range(parts)]


def whole_speaker_sizes(counts: list[int], parts: int) -> list[int]:
    """The number of consecutive speakers in each part, so that the parts have about equal numbers of utterances.

    >>> whole_speaker_sizes([10, 1, 1, 8], 3)
    [1, 2, 1]
    """
    sizes, done, next_speaker = [], 0, 0
    for part in range(parts):
        first = next_speaker
        most = len(counts) - (parts - part - 1)  # leaves one speaker for each following part
        goal = sum(counts) * (part + 1) / parts
        while next_speaker < most and (next_speaker == first or done + counts[next_speaker] / 2 <= goal):
            done += counts[next_speaker]
            next_speaker += 1
        sizes.append(next_speaker - first)
    sizes[-1] += len(counts) - next_speaker
    return sizes


def split_data(folder: Path, parts: int, per_utterance: bool) -> Path:
    """Split all lists of a data directory into consecutive parts, ``FOLDER/splitN/1`` to ``N`` (``splitNutt``).

    Nothing is done if the parts exist and their source lists have not changed.

    Args:
        folder: the data directory.
        parts: number of parts.
        per_utterance: split into equal numbers of utterances; otherwise all utterances of a speaker stay together.

    Returns:
        The folder of the parts.

    Raises:
        DataError: there are fewer utterances or speakers than parts, or lists are not sorted.
    """
    target = folder / f"split{parts}{'utt' if per_utterance else ''}"
    names = [*utterance_lists(folder), *speaker_lists(folder)]
    state = "".join(f"{name} {(s := (folder / name).stat()).st_mtime_ns} {s.st_size}\n" for name in names)
    marker = target / ".done"
    made = (target / str(part) / name for part in range(1, parts + 1) for name in (*names, "spk2utt"))
    if marker.is_file() and marker.read_text() == state and all(path.is_file() for path in made):
        return target
    utterances, speakers = read_utt2spk(folder)
    with (folder / ".split.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # steps that run on one data directory at the same time share its parts
        marker.unlink(missing_ok=True)
        _write_parts(folder, target, utterances, speakers, _sizes(folder, utterances, speakers, parts, per_utterance))
        write_text(marker, state)
    return target


def _sizes(folder: Path, utterances: list[str], speakers: list[str], parts: int, per_utterance: bool) -> list[int]:
    """The number of utterances in each part."""
    if per_utterance:
        if parts > len(utterances):
            raise DataError(
                f"{folder}: {len(utterances)} utterances cannot be split into {parts} parts: use fewer jobs (--nj)"
            )
        return part_sizes(len(utterances), parts)
    groups = group_by_speaker(utterances, speakers)
    if parts > len(groups):
        raise DataError(
            f"{folder}: {len(groups)} speakers cannot be split into {parts} parts: use fewer jobs (--nj), or --per-utt"
        )
    if sum(a != b for a, b in pairwise(speakers)) + 1 != len(groups):
        raise DataError(f"{folder}: the utterances of a speaker are not consecutive: use --per-utt")
    counts = [len(group) for group in groups.values()]
    sizes, first = [], 0
    for size in whole_speaker_sizes(counts, parts):
        sizes.append(sum(counts[first : first + size]))
        first += size
    return sizes


def _write_parts(folder: Path, target: Path, utterances: list[str], speakers: list[str], sizes: list[int]) -> None:
    ends = [sum(sizes[: part + 1]) for part in range(len(sizes))]
    folders = [target / str(part) for part in range(1, len(sizes) + 1)]
    for part in folders:
        part.mkdir(parents=True, exist_ok=True)
        for name in {*utterance_lists(part), *speaker_lists(part)} - {*utterance_lists(folder), *speaker_lists(folder)}:
            (part / name).unlink()

    for name in utterance_lists(folder):
        chunks = _Cutter(folder / name)
        for part, end in zip(folders, ends, strict=True):
            write_lines(part / name, chunks.until(utterances[end - 1] if end < ends[-1] else None))

    for part, end, size in zip(folders, ends, sizes, strict=True):
        groups = group_by_speaker(utterances[end - size : end], speakers[end - size : end])
        write_spk2utt(part, groups)
        for name in speaker_lists(folder):
            write_lines(part / name, select_lines(folder / name, groups.__contains__))


class _Cutter:
    """Cuts a sorted list at keys."""

    def __init__(self, path: Path) -> None:
        self._chunks = read_chunks(path)
        self._keys: list[str] = []
        self._lines: list[str] = []

    def until(self, last: str | None) -> Iterator[str]:
        """Stream the lines up to the key ``last``, or to the end."""
        while True:
            cut = len(self._keys) if last is None else bisect_right(self._keys, last)
            yield from self._lines[:cut]
            self._keys, self._lines = self._keys[cut:], self._lines[cut:]
            if self._lines:
                return
            self._keys, self._lines = next(self._chunks, ([], []))
            if not self._lines:
                return
