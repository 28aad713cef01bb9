"""Fixing a data directory: sorted lists of the utterances that are complete."""

import codecs
import filecmp
import shutil
from collections.abc import Collection, Iterable
from itertools import chain
from pathlib import Path

from avsv.datadir.create import is_positive, note
from avsv.datadir.lists import (
    DERIVED,
    PARTIAL,
    SOURCES,
    group_by_speaker,
    increases,
    need_data_directory,
    read_keys,
    read_pairs,
    read_raw_chunks,
    read_raw_lines,
    select_lines,
    speaker_lists,
    utterance_lists,
    write_lines,
)
from avsv.errors import DataError
from avsv.io.atomic import temporary_path
from avsv.io.lists import trial_lists


def fix_data(folder: Path, utterance_extra: Iterable[str] = (), speaker_extra: Iterable[str] = ()) -> tuple[int, int]:
    """Sort all lists, and keep the utterances that are complete; what changes is saved in ``FOLDER/.backup`` before.

    An utterance stays when it has a speaker, at least one of audio and video, a positive duration (where there is
    ``utt2dur``) and a line in every other list that cannot lack one. Trials of utterances that are not there go too.

    Args:
        folder: the data directory.
        utterance_extra, speaker_extra: names of further lists to filter by utterance, by speaker.

    Returns:
        How many utterances were kept, and how many there were.

    Raises:
        DataError: nothing would be left.
    """
    need_data_directory(folder)
    return _Fixer(folder, utterance_extra, speaker_extra).run()


class _Fixer:
    """Mends the lists of one data directory; see :func:`fix_data`."""

    def __init__(self, folder: Path, utterance_extra: Iterable[str], speaker_extra: Iterable[str]) -> None:
        self.folder = folder
        self.saved: set[str] = set()
        self.utterance_lists = self._present(utterance_lists(folder), utterance_extra)
        self.speaker_lists = self._present(speaker_lists(folder), speaker_extra)

    def _present(self, found: list[str], extra: Iterable[str]) -> list[str]:
        return [*found, *(name for name in extra if name not in found and (self.folder / name).is_file())]

    def run(self) -> tuple[int, int]:
        folder = self.folder
        trials = [f"trials/{path.name}" for path in trial_lists(folder)]
        for name in [*self.utterance_lists, *self.speaker_lists, *trials]:
            self._drop_mark(name)
        for name in [*self.utterance_lists, *self.speaker_lists]:
            self._sort(name, 2 if name == "utt2spk" else None)
        speaker_of = dict(read_pairs(folder / "utt2spk"))
        keep = self._complete(set(speaker_of))
        if not keep:
            raise DataError(f"{folder}: none of {len(speaker_of)} utterances is in all lists that it has to be in")

        for name in self.utterance_lists:
            allowed = keep
            if name in DERIVED and (folder / DERIVED[name]).is_file():
                allowed = keep.intersection(read_keys(folder / DERIVED[name]))
            self._filter(name, allowed)
        kept = sorted(keep)
        groups = group_by_speaker(kept, [speaker_of[key] for key in kept])
        for name in self.speaker_lists:
            self._filter(name, groups)
        self._replace("spk2utt", (f"{speaker} {' '.join(groups[speaker])}\n" for speaker in groups))
        for path in trial_lists(folder):
            lines = [line for line in read_raw_lines(path) if line.strip()]
            left = [line for line in lines if keep.issuperset(line.split()[:2])]
            if len(left) < len(lines):
                note(f"{path}: {len(lines) - len(left)} of {len(lines)} trials removed: their utterances are not there")
                self._replace(f"trials/{path.name}", left)
        return len(keep), len(speaker_of)

    def _complete(self, keep: set[str]) -> set[str]:
        """Those of the utterances that are in every list they have to be in."""
        sources = [self.folder / name for name in SOURCES if name in self.utterance_lists]
        if sources:
            keep = keep.intersection(chain.from_iterable(map(read_keys, sources)))
        for name in self.utterance_lists:
            path = self.folder / name
            if name == "utt2dur":
                keep.intersection_update(key for key, value in read_pairs(path) if is_positive(value))
            elif name.startswith("utt2") and name not in (*DERIVED, *PARTIAL, "utt2spk"):
                keep.intersection_update(read_keys(path))
        return keep

    def _drop_mark(self, name: str) -> None:
        """Remove a byte-order mark."""
        path = self.folder / name
        with path.open("rb") as stream:
            if stream.read(3) != codecs.BOM_UTF8:
                return
            note(f"{path}: byte-order mark removed")
            self._replace(name, (line.decode(errors="surrogateescape") for line in stream))

    def _sort(self, name: str, fields: int | None) -> None:
        """Sort a list by its key; leave out repeated, blank and incomplete lines, saying so."""
        path = self.folder / name
        if self._is_sorted(path, fields):
            return
        lines: dict[str, str] = {}
        dropped: list[str] = []
        for number, line in enumerate(read_raw_lines(path), 1):
            parts = line.split(None, 1)
            if not parts:
                continue
            if len(parts) == 1 or (fields and len(line.split()) != fields):
                dropped.append(f"line {number}, '{line.strip()}', has not the right number of fields")
                continue
            clean = f"{parts[0]} {parts[1].rstrip()}\n"
            if lines.setdefault(parts[0], clean) != clean:
                dropped.append(f"line {number}: '{parts[0]}' was there with another value")
        if dropped:
            more = "; ..." if len(dropped) > 3 else ""
            note(f"{path}: {len(dropped)} lines left out: {'; '.join(dropped[:3])}{more}")
        self._replace(name, (lines[key] for key in sorted(lines)))

    @staticmethod
    def _is_sorted(path: Path, fields: int | None) -> bool:
        """Whether a list is as it should be: sorted, a blank after the key, a newline at the end."""
        last = ""
        for lines in read_raw_chunks(path):
            rows = [line.split(None, fields or 1) for line in lines]
            if set(map(len, rows)) != {2}:
                return False
            keys = [row[0] for row in rows]
            if not increases(keys, last) or lines != [f"{key} {value.rstrip()}\n" for key, value in rows]:
                return False
            last = keys[-1]
        return _ends_in_newline(path)

    def _filter(self, name: str, allowed: Collection[str]) -> None:
        """Keep the lines with these keys; a list that already has no others is not touched."""
        path = self.folder / name
        if not all(map(allowed.__contains__, read_keys(path))):
            self._replace(name, select_lines(path, allowed.__contains__))

    def _replace(self, name: str, lines: Iterable[str]) -> None:
        """Write a list, saving the one that was there at first; a list that does not change keeps its time."""
        path = self.folder / name
        new = temporary_path(path)
        write_lines(new, lines)
        if path.is_file() and filecmp.cmp(path, new, shallow=False):
            new.unlink()
            return
        if path.is_file() and name not in self.saved:
            backup = self.folder / ".backup" / name
            backup.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, backup)
            self.saved.add(name)
        new.replace(path)
        if path.stat().st_size == 0:
            note(f"{path}: removed, none of its lines is left")
            path.unlink()


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 1))
        return stream.read() == b"\n"
