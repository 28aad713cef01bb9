"""Selecting utterances of a data directory, and making a data directory of them."""

from itertools import chain
from pathlib import Path

from avsv.datadir.create import copy_faces_conf, copy_trials, new_lists, note, seconds_of, write_filled
from avsv.datadir.lists import (
    group_by_speaker,
    key_of,
    read_pairs,
    read_raw_lines,
    read_utt2spk,
    select_lines,
    speaker_lists,
    utterance_lists,
    write_spk2utt,
)
from avsv.errors import DataError


def subset_data(source: Path, target: Path, keep: set[str]) -> int:
    """Copy the lines of some utterances and their speakers, and the trials between them; returns their number.

    Raises:
        DataError: none of the utterances is in ``utt2spk``.
    """
    utterances, speakers = read_utt2spk(source)
    pairs = [(u, s) for u, s in zip(utterances, speakers, strict=True) if u in keep]
    if not pairs:
        raise DataError(f"{source}: none of the selected utterances is in utt2spk")
    groups = group_by_speaker(*zip(*pairs, strict=True))
    with new_lists(target, [source]) as folder:
        for name in utterance_lists(source):
            write_filled(folder / name, select_lines(source / name, keep.__contains__))
        for name in speaker_lists(source):
            write_filled(folder / name, select_lines(source / name, groups.__contains__))
        write_spk2utt(folder, groups)
        copy_faces_conf(source, folder)
        copy_trials(source, folder, target, lambda key: key if key in keep else None)
    return len(pairs)


def spread(items: list[str], count: int) -> list[str]:
    """``count`` of the items, evenly spaced.

    >>> spread(list("abcdefgh"), 3)
    ['a', 'c', 'f']
    """
    return [items[i * len(items) // count] for i in range(min(count, len(items)))]


def choose(source: Path, mode: str, count: int) -> set[str]:
    """Choose utterances of a data directory deterministically.

    Args:
        source: the data directory.
        mode: ``spread`` evenly over the list, ``first``, ``last``, ``shortest`` (by utt2dur), ``speakers`` (all
            utterances of evenly spaced speakers until there are at least ``count``), ``per-spk`` (``count`` of each
            speaker).
        count: number of utterances.

    Raises:
        DataError: there are fewer utterances, or one has no duration by which to choose.
    """
    utterances, speakers = read_utt2spk(source)
    if mode == "per-spk":
        groups = group_by_speaker(utterances, speakers)
        return set(chain.from_iterable(spread(group, count) for group in groups.values()))
    if count > len(utterances):
        raise DataError(f"{source}: {count} utterances requested, but there are {len(utterances)}")
    if mode == "first":
        return set(utterances[:count])
    if mode == "last":
        return set(utterances[-count:])
    if mode == "shortest":
        seconds = {key: seconds_of(source, value) for key, value in read_pairs(source / "utt2dur")}
        unknown = next((key for key in utterances if key not in seconds), None)
        if unknown is not None:
            raise DataError(f"{source}/utt2dur: '{unknown}' of utt2spk is missing: run utils/get_utt2dur.sh {source}")
        return set(sorted(utterances, key=lambda key: (seconds[key], key))[:count])
    if mode == "speakers":
        groups = group_by_speaker(utterances, speakers)
        for number in range(max(1, count * len(groups) // len(utterances)), len(groups) + 1):
            chosen = spread(list(groups), number)
            if sum(len(groups[speaker]) for speaker in chosen) >= count:
                return {key for speaker in chosen for key in groups[speaker]}
    return set(spread(utterances, count))


def choose_listed(source: Path, listed: Path, speakers: bool) -> set[str]:
    """The utterances of a data directory that are listed in a file, or all utterances of the speakers in the file.

    Keys of the file that are not in the data directory are reported.

    Args:
        source: the data directory.
        listed: a text file; only the first field of each line is used.
        speakers: whether the file lists speakers.
    """
    wanted = {key_of(line) for line in read_raw_lines(listed) if line.strip()}
    utterances, speaker_of = read_utt2spk(source)
    keys = speaker_of if speakers else utterances
    missing = wanted.difference(keys)
    if missing:
        note(f"{listed}: {len(missing)} of {len(wanted)} are not in {source}/utt2spk, for example '{min(missing)}'")
    return {utterance for utterance, key in zip(utterances, keys, strict=True) if key in wanted}
