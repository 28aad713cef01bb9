"""Fixing a data directory: sorted lists that contain complete utterances only."""

import codecs
import filecmp
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path

from avsv.datadir.create import BACKUP, is_positive, note
from avsv.datadir.lists import (
    DERIVED,
    PARTIAL,
    SOURCES,
    fields_of,
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
from avsv.datadir.validate import VALUES, Problems, Validator, model_speakers, trial_problem
from avsv.errors import DataError
from avsv.io.atomic import temporary_path
from avsv.io.lists import ENROLL, has_labels, standard_trial, trial_lists
from avsv.io.names import first_odd_key, missing_key, written_otherwise, wrong_key
from avsv.io.text import check_regular_file, is_ascii, not_text

# Lists that count the rows of others: what is not counted cannot be used.
_COUNTED = {"feats.scp": "utt2num_frames", "audio.scp": "utt2num_frames", "faces.scp": "utt2num_faces"}
_MARKERS = {
    "feats.scp": ".fbank.done",
    "audio.scp": ".fbank.done",
    "utt2num_frames": ".fbank.done",
    "faces.scp": ".faces.done",
    "utt2num_faces": ".faces.done",
}
_TRIALS_GONE = {
    "form": "not ENROLL TEST target|nontarget, or ENROLL TEST on all lines",
    "unknown": "their utterances are not there",
    "label": "their labels contradict utt2spk",
}


def fix_data(folder: Path, utterance_extra: Iterable[str] = (), speaker_extra: Iterable[str] = ()) -> tuple[int, int]:
    """Sort all lists and keep only complete utterances; the original lists are saved in ``FOLDER/.backup``.

    An utterance stays when it has a speaker, at least one of audio and video, a positive duration (where there is
    ``utt2dur``) and a line in every other list that cannot lack one. Lines whose form or value is wrong go, and so do
    features that are not counted, and trials of utterances that are not there or whose label contradicts ``utt2spk``.
    An enrollment model keeps those of its utterances that stay.

    Args:
        folder: the data directory.
        utterance_extra, speaker_extra: names of additional lists to filter by utterance and by speaker.

    Returns:
        The numbers of utterances that were kept and that there were.

    Raises:
        DataError: nothing would be left, or a list is not text; then nothing is changed.
    """
    need_data_directory(folder)
    fixer = _Fixer(folder, utterance_extra, speaker_extra)
    try:
        counts = fixer.fix()
        fixer.commit()
    finally:
        fixer.discard()
    return counts


def unfixed(folder: Path) -> Problems:
    """The problems that validation still finds in a fixed data directory; no recording is opened.

    Raises:
        DataError: as :meth:`avsv.datadir.validate.Validator.run`.
    """
    problems = Validator(folder, audio=True, video=True, features=True, speaker_order=True, sample=0).run()
    problems.forget("features")  # there are none yet
    return problems


class _Fixer:
    """Fixes the lists of one data directory; see :func:`fix_data`.

    New lists are written under temporary names; :meth:`commit` puts all of them in place.
    """

    def __init__(self, folder: Path, utterance_extra: Iterable[str], speaker_extra: Iterable[str]) -> None:
        self.folder = folder
        self.pending: dict[str, Path] = {}
        self.spoiled: set[str] = set()
        self.utterance_lists = self._present(utterance_lists(folder), utterance_extra)
        self.speaker_lists = self._present(speaker_lists(folder), speaker_extra)

    def _present(self, found: list[str], extra: Iterable[str]) -> list[str]:
        return [*found, *(name for name in extra if name not in found and (self.folder / name).is_file())]

    def fix(self) -> tuple[int, int]:
        """Write the changed lists; return the numbers of utterances kept and of all utterances."""
        trials = [f"trials/{path.name}" for path in trial_lists(self.folder)]
        models = [ENROLL] if (self.folder / ENROLL).is_file() else []
        for name in [*self.utterance_lists, *self.speaker_lists, *models, *trials]:
            check_regular_file(self.folder / name)
            self._drop_mark(name)
        if (self.folder / "spk2utt").is_dir():
            raise DataError(f"{self.folder}/spk2utt: is a folder, not a file: remove it")
        for name in [*self.utterance_lists, *self.speaker_lists, *models]:
            self._sort(name)
        speaker_of = dict(read_pairs(self._path("utt2spk")))
        for name in self.utterance_lists:
            self._refuse_other_characters(name, speaker_of)
        keep = self._complete(set(speaker_of))
        if not keep:
            raise DataError(
                f"{self.folder}: none of {len(speaker_of)} utterances is in all required lists: nothing is changed"
            )
        for name in self.utterance_lists:
            self._filter(name, self._allowed(name, keep))
        kept = sorted(keep)
        groups = group_by_speaker(kept, [speaker_of[key] for key in kept])
        for name in self.speaker_lists:
            self._refuse_other_characters(name, set(speaker_of.values()))
            self._filter(name, groups)
        self._replace("spk2utt", (f"{speaker} {' '.join(groups[speaker])}\n" for speaker in groups))
        left = speaker_of if len(kept) == len(speaker_of) else {key: speaker_of[key] for key in kept}
        sides = left | (self._fix_models(left) if models else {})
        for name in trials:
            self._fix_trials(name, sides)
        return len(keep), len(speaker_of)

    def _lists(self, names: Iterable[str]) -> Iterator[str]:
        """The given lists that have lines."""
        return (name for name in names if name in self.utterance_lists and self._path(name).stat().st_size > 0)

    def _complete(self, keep: set[str]) -> set[str]:
        """The utterances of ``keep`` that are in all required lists."""
        sources = [self._path(name) for name in self._lists(SOURCES)]
        if sources:
            keep = keep.intersection(chain.from_iterable(map(read_keys, sources)))
        for name in self._lists(self.utterance_lists):
            path = self._path(name)
            if name == "utt2dur":
                keep.intersection_update(key for key, value in read_pairs(path) if is_positive(value))
            elif name.startswith("utt2") and name not in (*DERIVED, *PARTIAL, "utt2spk"):
                keep.intersection_update(read_keys(path))
        return keep

    def _allowed(self, name: str, keep: set[str]) -> set[str]:
        """The keys that a list may have. The lists that it is derived from have been fixed before it."""
        if name in DERIVED and DERIVED[name] in self.utterance_lists:
            keep = keep.intersection(read_keys(self._path(DERIVED[name])))
        counts = _COUNTED.get(name)
        if counts is not None and next(self._lists([counts]), None):
            allowed = keep.intersection(read_keys(self._path(counts)))
            lost = sum(key in keep and key not in allowed for key in read_keys(self._path(name)))
            if lost:
                note(f"{self.folder}/{name}: {lost} lines removed that {counts} does not count: make them again")
                self.spoiled.add(name)
            keep = allowed
        return keep

    def _drop_mark(self, name: str) -> None:
        """Remove a byte-order mark."""
        path = self.folder / name
        with path.open("rb") as stream:
            if stream.read(3) != codecs.BOM_UTF8:
                return
            note(f"{path}: byte-order mark removed")
            try:
                self._replace(name, (line.decode() for line in stream))
            except UnicodeDecodeError:
                raise not_text(path) from None

    def _sort(self, name: str) -> None:
        """Sort a list by its key; leave out repeated, blank and wrong lines, saying so."""
        path, shown = self._path(name), self.folder / name
        if self._is_sorted(name, path):
            return
        lines: dict[str, str] = {}
        dropped: list[str] = []
        for number, line in enumerate(read_raw_lines(path), 1):
            parts = line.split(None, 1)
            if not parts:
                continue
            if wrong := _wrong_line(name, line.split(), parts):
                dropped.append(f"line {number}, '{line.strip()}', {wrong}")
                continue
            clean = f"{parts[0]} {parts[1].rstrip()}\n"
            if lines.setdefault(parts[0], clean) != clean:
                dropped.append(f"line {number}: '{parts[0]}' occurred before with another value")
        if dropped:
            more = "; ..." if len(dropped) > 3 else ""
            note(f"{shown}: {len(dropped)} lines removed: {'; '.join(dropped[:3])}{more}")
            self.spoiled.add(name)
        self._replace(name, (lines[key] for key in sorted(lines)))

    @staticmethod
    def _is_sorted(name: str, path: Path) -> bool:
        """Whether a list is as it should be: sorted, no wrong line, a blank after the key, a newline at the end."""
        last, fields, check = "", fields_of(name), _CHECKED.get(name)
        for lines in read_raw_chunks(path):
            rows = [line.split() if fields else line.split(None, 1) for line in lines]
            if set(map(len, rows)) != {2}:
                return False
            keys, values = map(list, zip(*rows, strict=True))
            if not increases(keys, last) or lines != [f"{key} {value.rstrip()}\n" for key, value in rows]:
                return False
            if first_odd_key(keys) is not None or (name == "utt2spk" and first_odd_key(values) is not None):
                return False
            if check is not None and any(map(check, values)):
                return False
            last = keys[-1]
        return _ends_in_newline(path)

    def _filter(self, name: str, allowed: Collection[str]) -> None:
        """Keep the lines with these keys; a list that has no others is not rewritten."""
        path = self._path(name)
        if not all(map(allowed.__contains__, read_keys(path))):
            self._replace(name, select_lines(path, allowed.__contains__))

    def _refuse_other_characters(self, name: str, known: Collection[str]) -> None:
        """Refuse a list whose keys look like those of utt2spk and are others: all their lines would go."""
        path = self._path(name)
        if is_ascii(path):  # nearly all lists are
            return
        for key in read_keys(path):
            if written_otherwise(key, known):
                raise DataError(f"{self.folder / name}: {missing_key(key, known, 'utt2spk')}")

    def _fix_models(self, speaker_of: dict[str, str]) -> dict[str, str]:
        """Keep of each enrollment model the utterances that are there; returns the speakers of the models."""
        models, removed, smaller = {}, 0, 0
        for name, value in read_pairs(self._path(ENROLL)):
            members = value.split()
            if wrong := next((key for key in members if written_otherwise(key, speaker_of)), None):
                raise DataError(f"{self.folder / ENROLL}: {missing_key(wrong, speaker_of, 'utt2spk')}")
            kept = [key for key in dict.fromkeys(members) if key in speaker_of]
            if name in speaker_of or not kept:
                removed += 1
                continue
            models[name] = kept
            smaller += len(kept) < len(members)
        if removed or smaller:
            note(
                f"{self.folder}/{ENROLL}: {removed} models removed that have no utterance left or the name of an"
                f" utterance, {smaller} models made smaller"
            )
            self._replace(ENROLL, (f"{name} {' '.join(members)}\n" for name, members in models.items()))
        return model_speakers(models, speaker_of)

    def _fix_trials(self, name: str, speaker_of: dict[str, str]) -> None:
        """Keep the trials that validation has nothing against, with the labels target and nontarget."""
        gone: Counter[str] = Counter()
        old = self._path(name)
        labeled = has_labels(old)

        def left() -> Iterator[str]:
            for line in read_raw_lines(old):
                other_form = standard_trial(line)
                trial = line if other_form is None else f"{other_form}\n"
                wrong = trial_problem(trial, speaker_of, labeled)
                if wrong is None:
                    gone["converted"] += other_form is not None
                    yield trial
                elif wrong[0] == "characters":
                    raise DataError(f"{self.folder}/{name}: {wrong[1]}")
                elif line.strip():
                    gone[wrong[0]] += 1

        total = sum(1 for line in read_raw_lines(old) if line.strip())
        self._replace(name, left())
        converted = gone.pop("converted", 0)
        if total and gone.total() == total:
            self.pending.pop(name).unlink()
            reasons = "; ".join(_TRIALS_GONE[kind] for kind in gone)
            note(f"{self.folder}/{name}: left as it is: none of its {total} trials can be kept: {reasons}")
            return
        if converted:
            note(f"{self.folder}/{name}: labels 1 and 0 of {converted} trials written as target and nontarget")
        for kind, count in gone.items():
            note(f"{self.folder}/{name}: {count} of {total} trials removed: {_TRIALS_GONE[kind]}")

    def _path(self, name: str) -> Path:
        """Where the newest form of a list is."""
        return self.pending.get(name, self.folder / name)

    def _replace(self, name: str, lines: Iterable[str]) -> None:
        """Write a new form of a list."""
        old = self.pending.get(name)
        path = self.folder / name
        # The new form is written while the one before is read.
        new = temporary_path(path.with_name(f"{path.name}.{'b' if old and '.a.tmp.' in old.name else 'a'}"))
        write_lines(new, lines)
        self.pending[name] = new
        if old is not None:
            old.unlink()

    def commit(self) -> None:
        """Save the lists that change, then put the new ones in their place; others keep their time."""
        for name, new in list(self.pending.items()):
            path = self.folder / name
            if path.is_file() and filecmp.cmp(path, new, shallow=False) and path.stat().st_size > 0:
                self.pending.pop(name).unlink()
            elif path.is_file():
                backup = self.folder / BACKUP / name
                backup.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, backup)
        for name in self.spoiled & _MARKERS.keys():
            (self.folder / _MARKERS[name]).unlink(missing_ok=True)
        for name in list(self.pending):
            path = self.folder / name
            self.pending.pop(name).replace(path)
            if path.stat().st_size == 0:
                note(f"{path}: removed: no line is left")
                path.unlink()

    def discard(self) -> None:
        """Remove what was not put in place."""
        for new in self.pending.values():
            new.unlink(missing_ok=True)


# Values that make a line useless; a wrong duration removes the utterance, and media are left to who wrote the list.
_CHECKED = {name: check for name, check in VALUES.items() if name not in ("utt2dur", *SOURCES)}


def _wrong_line(name: str, words: list[str], parts: list[str]) -> str | None:
    """What is wrong with a line of a list, given its words, and its key and value; None if it can be used."""
    if len(parts) == 1 or (fields_of(name) and len(words) != fields_of(name)):
        return "has the wrong number of fields"
    wrong = wrong_key(parts[0]) or (wrong_key(words[1]) if name == "utt2spk" else None)
    if wrong is None and name in _CHECKED:
        wrong = _CHECKED[name](words[1])
    return wrong


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 1))
        return stream.read() == b"\n"
