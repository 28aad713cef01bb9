"""Combining data directories."""

import filecmp
import heapq
import shutil
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

from avsv.datadir.create import FACES_CONF, new_lists, note
from avsv.datadir.lists import (
    DERIVED,
    PARTIAL,
    SOURCES,
    group_by_speaker,
    increases,
    key_of,
    need_data_directory,
    read_keys,
    read_lines,
    read_utt2spk,
    speaker_lists,
    utterance_lists,
    write_lines,
    write_spk2utt,
)
from avsv.errors import DataError


def combine_data(target: Path, sources: list[Path]) -> int:
    """Combine data directories; returns the number of utterances.

    Lists that can be incomplete are combined from all sources that have them; any other list is omitted unless all
    sources have it. Trials are not combined.

    Raises:
        DataError: sources differ in the values for an utterance, or in the gender or age of a speaker, or in the size
            of face crops.
    """
    for source in sources:
        need_data_directory(source)
    with new_lists(target, sources) as folder:
        _combine_faces_conf(folder, sources)
        per_utterance = {name for source in sources for name in utterance_lists(source)}
        per_speaker = {name for source in sources for name in speaker_lists(source)}
        for name in sorted(per_utterance | per_speaker):
            having = [source for source in sources if (source / name).is_file()]
            if len(having) < len(sources) and name not in (*SOURCES, *DERIVED, *PARTIAL):
                note(f"{target}: no {name}: not all sources have it")
                continue
            if name == "utt2uniq":
                # In a source without this list, utterances are mapped to themselves.
                lists = [_uniq_lines(source) for source in sources]
            else:
                lists = [_plain_lines(source / name) for source in having]
            write_lines(folder / name, _merge(name, lists))
        utterances, speakers = read_utt2spk(folder)
        write_spk2utt(folder, group_by_speaker(utterances, speakers))
    return len(utterances)


def _plain_lines(path: Path) -> Iterator[str]:
    """The lines of a list with one blank behind the key and none at the end, so that equal ones are equal."""
    for line in read_lines(path):
        yield f"{' '.join(line.split(None, 1)).rstrip()}\n"


def _uniq_lines(source: Path) -> Iterator[str]:
    if (source / "utt2uniq").is_file():
        return _plain_lines(source / "utt2uniq")
    return (f"{key} {key}\n" for key in read_keys(source / "utt2spk"))


def _merge(name: str, lists: list[Iterator[str]]) -> Iterator[str]:
    """Merge sorted lists; a line that occurs in several is written once."""
    # A blank sorts before all characters of keys, so that lines sort like their keys.
    merged = heapq.merge(*lists)
    last = ""
    while chunk := list(islice(merged, 10_000)):
        keys = list(map(key_of, chunk))
        if not increases(keys, last and key_of(last)):
            chunk = [line for line, before in zip(chunk, [last, *chunk], strict=False) if line != before]
            for before, line in pairwise([last, *chunk] if last else chunk):
                if key_of(before) == key_of(line) and before != line:
                    key, one, other = key_of(line), before.strip(), line.strip()
                    raise DataError(f"{name}: '{key}' is '{one}' in one source and '{other}' in another")
        if chunk:
            last = chunk[-1]
            yield from chunk


def _combine_faces_conf(target: Path, sources: list[Path]) -> None:
    having = [source / FACES_CONF for source in sources if (source / FACES_CONF).is_file()]
    for path in having[1:]:
        if not filecmp.cmp(having[0], path, shallow=False):
            raise DataError(f"{having[0]} and {path} differ: only face crops of the same form can be combined")
    if having:
        shutil.copy(having[0], target / FACES_CONF)
