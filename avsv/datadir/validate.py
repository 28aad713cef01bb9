"""Validating a data directory: every list, their consistency, and a sample of the media."""

import re
import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from avsv.datadir.create import is_positive
from avsv.datadir.lists import (
    DERIVED,
    PARTIAL,
    SOURCES,
    fields_of,
    group_by_speaker,
    increases,
    need_data_directory,
    read_raw_chunks,
    read_raw_lines,
    speaker_lists,
    utterance_lists,
)
from avsv.datadir.media import probe
from avsv.errors import DataError
from avsv.io.lists import AUDIO_WORTH, ENROLL, VIDEO_WORTH, has_labels, standard_trial, trial_lists, wrong_model
from avsv.io.names import first_odd_key, missing_key, written_otherwise, wrong_key

SHOWN_OF_A_KIND = 3
FEATURES = (
    *("feats.scp", "audio.scp", "utt2num_frames", "utt2voice_quality"),
    *("faces.scp", "utt2num_faces", "utt2face_quality"),
)
NUMBER = re.compile(r"\d+(\.\d*)?([eE][-+]?\d+)?|\.\d+", re.ASCII)


class Problems:
    """Problems, one per line: the first few of each kind, and the number of others.

    Example:
        >>> problems = Problems()
        >>> for number in range(5):
        ...     problems.add("unsorted", f"line {number}")
        >>> problems.lines()
        ['line 0', 'line 1', 'line 2', '... and 2 more like this']
    """

    def __init__(self) -> None:
        self._shown: dict[str, list[str]] = {}
        self._count: dict[str, int] = {}

    def add(self, kind: str, message: str) -> None:
        """Add a problem."""
        self._count[kind] = self._count.get(kind, 0) + 1
        if self._count[kind] <= SHOWN_OF_A_KIND:
            self._shown.setdefault(kind, []).append(message)

    def __len__(self) -> int:
        return sum(self._count.values())

    def has(self, kind: str) -> bool:
        """Whether there is a problem of a kind."""
        return kind in self._count

    def forget(self, kind: str) -> None:
        """Leave out a kind of problems."""
        self._count.pop(kind, None)
        self._shown.pop(kind, None)

    def counted(self, verb: str = "") -> str:
        """The number of problems in words, with a verb in the present."""
        if len(self) == 1:
            return f"1 problem {verb}s" if verb else "1 problem"
        return f"{len(self)} problems {verb}".rstrip()

    def lines(self) -> list[str]:
        """The lines to show."""
        lines = []
        for kind, shown in self._shown.items():
            lines += shown
            if self._count[kind] > len(shown):
                lines.append(f"... and {self._count[kind] - len(shown)} more like this")
        return lines


def is_seconds(value: str) -> str | None:
    """What is wrong with a duration, or None."""
    return None if NUMBER.fullmatch(value) and is_positive(value) else f"'{value}' is not a positive number of seconds"


def is_count(value: str) -> str | None:
    """What is wrong with a number of frames, or None."""
    return (
        None
        if value.isascii() and value.isdecimal() and len(value) < 10 and int(value) > 0
        else f"'{value}' is not a positive whole number"
    )


def is_gender(value: str) -> str | None:
    """What is wrong with a gender, or None."""
    return None if value in ("m", "f") else f"'{value}' is neither m nor f: omit the line if it is unknown"


def is_age(value: str) -> str | None:
    """What is wrong with an age, or None."""
    if NUMBER.fullmatch(value) and 0 < float(value) < 130:
        return None
    return f"'{value}' is not an age in years: omit the line if it is unknown"


def is_worth(value: str) -> str | None:
    """What is wrong with the true worth of the moments of an utterance, or None."""
    wrong = next((part for part in value.split(",") if not (NUMBER.fullmatch(part) and 0 <= float(part) <= 1)), None)
    return None if wrong is None else f"'{wrong}' is not a number from 0 to 1: separate such numbers by commas"


def is_media(value: str) -> str | None:
    """What is wrong with a file name or a command in wav.scp or video.scp, or None."""
    if value.startswith("~"):
        return f"'{value}': write the full path of the home folder, ~ is not expanded"
    return "there is no command before the |" if value == "|" else None


VALUES: dict[str, Callable[[str], str | None]] = {
    "utt2dur": is_seconds,
    "utt2num_frames": is_count,
    "utt2num_faces": is_count,
    "spk2gender": is_gender,
    "utt2gender": is_gender,
    "spk2age": is_age,
    "utt2age": is_age,
    AUDIO_WORTH: is_worth,
    VIDEO_WORTH: is_worth,
    "wav.scp": is_media,
    "video.scp": is_media,
}


def trial_problem(line: str, speaker_of: Mapping[str, str], labeled: bool = True) -> tuple[str, str] | None:
    """What is wrong with a line of a trial list, as (kind, in words); None where nothing is.

    The kinds are ``form``, ``unknown``, ``characters`` (an utterance whose name is written with others) and ``label``.

    Args:
        line: of the list.
        speaker_of: speakers of the utterances and models that there are; empty for a model of several speakers.
        labeled: whether the list has labels.

    Example:
        >>> trial_problem("a-1 b-1 target", {"a-1": "a", "b-1": "b"})
        ('label', 'labeled target, but the speakers are a and b')
    """
    fields = line.split()
    if labeled and (len(fields) != 3 or fields[2] not in ("target", "nontarget")):
        return "form", f"'{line.strip()}' is not ENROLL TEST target|nontarget"
    if len(fields) < 2:
        return "form", f"'{line.strip()}' is not ENROLL TEST"
    enroll, test = (speaker_of.get(key) for key in fields[:2])
    if enroll is None or test is None:
        key = fields[0] if enroll is None else fields[1]
        kind = "characters" if written_otherwise(key, speaker_of) else "unknown"
        return kind, missing_key(key, speaker_of, f"utt2spk or {ENROLL}")
    if not labeled:
        return None
    if not enroll or not test:
        name = fields[0] if not enroll else fields[1]
        return "label", f"the model '{name}' has utterances of several speakers, so it can have no label"
    if (enroll == test) != (fields[2] == "target"):
        return "label", f"labeled {fields[2]}, but the speakers are {enroll} and {test}"
    return None


def model_speakers(models: Mapping[str, Sequence[str]], speaker_of: Mapping[str, str]) -> dict[str, str]:
    """The speakers of enrollment models, as far as they are no utterances; empty for one of several speakers.

    Example:
        >>> model_speakers({"m": ["a-1", "a-2"], "n": ["a-1", "b-1"]}, {"a-1": "a", "a-2": "a", "b-1": "b"})
        {'m': 'a', 'n': ''}
    """
    found = {}
    for name, members in models.items():
        speakers = {speaker_of[key] for key in members if key in speaker_of}
        if name not in speaker_of:
            found[name] = speakers.pop() if len(speakers) == 1 else ""
    return found


class Validator:
    """Validates one data directory.

    Args:
        folder: the data directory.
        audio, video, features: whether to check these lists; features must exist if they are checked.
        speaker_order: whether utterances must begin with their speakers, which must be sorted in the same order.
        sample: number of audio files and of video files to open, spread over the list.
    """

    def __init__(
        self, folder: Path, audio: bool, video: bool, features: bool, speaker_order: bool, sample: int
    ) -> None:
        self.folder = folder
        self.audio, self.video, self.features = audio, video, features
        self.speaker_order = speaker_order
        self.sample = sample
        self.problems = Problems()
        self.utterances: list[str] = []
        self.speaker_of: dict[str, str] = {}

    def run(self) -> Problems:
        """Run all checks.

        Raises:
            DataError: there is no such data directory.
        """
        need_data_directory(self.folder)
        self._check_speakers()
        if not self.utterances:
            return self.problems
        skipped = set() if self.features else set(FEATURES)
        if not self.audio:
            skipped |= {"wav.scp", "feats.scp", "audio.scp", "utt2num_frames", "utt2voice_quality"}
        if not self.video:
            skipped |= {"video.scp", "faces.scp", "utt2num_faces", "utt2face_quality"}
        keys = {}
        for name in utterance_lists(self.folder):
            if name != "utt2spk" and name not in skipped:
                keys[name] = self._check_utterances(name)
        # Half of a list would be said to lack the other half.
        if not self.problems.has("unreadable"):
            self._check_modalities(keys)
            for name in keys.keys() & DERIVED.keys():
                self._check_derived(name, keys)
        del keys
        known = set(self.speaker_of.values())
        for name in speaker_lists(self.folder):
            for _ in self._keys(name, known, "the speakers of utt2spk"):
                pass
        self.speaker_of |= self._check_models()
        try:
            for path in trial_lists(self.folder):
                self._check_trials(path)
        except DataError as error:
            self.problems.add("trials", str(error))
        if not self.problems:
            self._check_media()
        return self.problems

    def _table(self, name: str, fields: int | None) -> Iterator[tuple[Sequence[int], list[str], list[str]]]:
        """Line numbers, keys and values of the well-formed lines of a list, some thousand at a time.

        Malformed lines are added to the problems.
        """
        path = self.folder / name
        last, done = "", 0
        try:
            for lines in read_raw_chunks(path):
                rows = [line.split() if fields else line.split(None, 1) for line in lines]
                numbers: Sequence[int] = range(done + 1, done + len(rows) + 1)
                if set(map(len, rows)) != {2}:
                    self._note_fields(path, numbers, rows, lines)
                    numbers = [number for number, row in zip(numbers, rows, strict=True) if len(row) == 2]
                    rows = [row for row in rows if len(row) == 2]
                # With interning, the keys of all lists take the memory of one list.
                keys = [sys.intern(row[0]) for row in rows]
                if not increases(keys, last):
                    self._note_order(path, numbers, keys, last)
                self._note_names(path, numbers, keys)
                last = keys[-1] if keys else last
                done += len(lines)
                yield numbers, keys, [row[1].rstrip() for row in rows]
        except DataError as error:
            self.problems.add("unreadable", str(error))
            return
        if done == 0:
            self.problems.add(f"empty {path}", f"{path}: the list is empty")
        elif not _ends_in_newline(path):
            self.problems.add(f"end {path}", f"{path}:{done}: the last line does not end in a newline")

    def _note_fields(self, path: Path, numbers: Sequence[int], rows: list[list[str]], lines: list[str]) -> None:
        for number, row, line in zip(numbers, rows, lines, strict=True):
            if len(row) != 2:
                count = len(line.split())
                expected = "2" if len(row) > 2 else "a key and a value"
                text = f"{count} field{'s' if count != 1 else ''}, expected {expected}"
                self.problems.add(f"fields {path}", f"{path}:{number}: {text}")

    def _note_order(self, path: Path, numbers: Sequence[int], keys: list[str], last: str) -> None:
        for number, key, before in zip(numbers, keys, [last, *keys[:-1]], strict=True):
            if key <= before:
                text = f"'{key}' occurs twice" if key == before else f"not sorted: '{key}' follows '{before}'"
                advice = f"run utils/fix_data_dir.sh {self.folder}"
                self.problems.add(f"order {path} {key == before}", f"{path}:{number}: {text}: {advice}")

    def _note_names(self, path: Path, numbers: Sequence[int], names: list[str]) -> None:
        if first_odd_key(names) is not None:
            for number, name in zip(numbers, names, strict=True):
                if wrong := wrong_key(name):
                    self.problems.add(f"name {path}", f"{path}:{number}: {wrong}")

    def _keys(self, name: str, known: Container[str], where: str = "utt2spk") -> Iterator[list[str]]:
        """The keys of a list, some thousand at a time, after checking the values and that the keys are known."""
        path = self.folder / name
        check = VALUES.get(name)
        for numbers, keys, values in self._table(name, fields_of(name)):
            if check:
                for number, key, wrong in zip(numbers, keys, map(check, values), strict=True):
                    if wrong:
                        self.problems.add(f"value {path}", f"{path}:{number}: {key}: {wrong}")
            if not all(map(known.__contains__, keys)):
                for number, key in zip(numbers, keys, strict=True):
                    if key not in known:
                        self.problems.add(f"unknown {path}", f"{path}:{number}: {missing_key(key, known, where)}")
            yield keys

    def _check_speakers(self) -> None:
        """Check utt2spk and spk2utt."""
        path = self.folder / "utt2spk"
        last = ""
        for numbers, keys, values in self._table("utt2spk", 2):
            speakers = list(map(sys.intern, values))
            self._note_names(path, numbers, speakers)
            if self.speaker_order:
                for number, key, speaker in zip(numbers, keys, speakers, strict=True):
                    if not key.startswith(speaker):
                        text = f"'{key}' does not begin with its speaker '{speaker}'"
                        self.problems.add("prefix", f"{path}:{number}: {text}")
                    elif speaker < last:
                        text = f"the speakers are not sorted: '{speaker}' follows '{last}'"
                        self.problems.add("speaker order", f"{path}:{number}: {text}")
                    last = speaker
            self.speaker_of.update(zip(keys, speakers, strict=True))
        self.utterances = sorted(self.speaker_of)

        path = self.folder / "spk2utt"
        expected = group_by_speaker(self.utterances, (self.speaker_of[key] for key in self.utterances))
        found = set()
        for numbers, speakers, values in self._table("spk2utt", None):
            found.update(speakers)
            for number, speaker, value in zip(numbers, speakers, values, strict=True):
                if speaker not in expected:
                    self.problems.add("spk2utt", f"{path}:{number}: '{speaker}' is not a speaker of utt2spk")
                elif value.split() != expected[speaker]:
                    text = f"the utterances of '{speaker}' are not those of utt2spk"
                    self.problems.add("spk2utt", f"{path}:{number}: {text}: run utils/fix_data_dir.sh {self.folder}")
        for speaker in sorted(expected.keys() - found):
            self.problems.add("spk2utt", f"{path}: speaker '{speaker}' of utt2spk is missing")

    def _check_utterances(self, name: str) -> list[str]:
        """Check a list by utterance; returns its sorted keys."""
        keys = sorted(chain.from_iterable(self._keys(name, self.speaker_of)))
        complete = name not in (*SOURCES, *DERIVED, *PARTIAL) and name.startswith("utt2")
        if complete and len(keys) < len(self.utterances):
            for key in sorted(self.speaker_of.keys() - set(keys)):
                self.problems.add(f"missing {name}", f"{self.folder}/{name}: '{key}' of utt2spk is missing")
        return self.utterances if keys == self.utterances else keys

    def _check_modalities(self, keys: dict[str, list[str]]) -> None:
        """Check that every utterance has audio or video, and that features exist if they are required."""
        for name, wanted in (("feats.scp", self.audio and "wav.scp" in keys), ("faces.scp", "video.scp" in keys)):
            if self.features and wanted and name not in keys:
                self.problems.add(
                    "features", f"{self.folder}/{name}: no such file (use --no-feats if this is intended)"
                )
        if not (self.audio and self.video):
            return
        if any(keys.get(name) is self.utterances for name in SOURCES):
            return
        with_media = set(chain.from_iterable(keys.get(name, ()) for name in SOURCES))
        if not with_media:
            self.problems.add("media", f"{self.folder}: neither wav.scp nor video.scp has any utterance")
            return
        for key in self.utterances:
            if key not in with_media:
                self.problems.add("media", f"{self.folder}: '{key}' has neither audio (wav.scp) nor video (video.scp)")

    def _check_derived(self, name: str, keys: dict[str, list[str]]) -> None:
        """Check that a list made from another has no other keys, and that a list of counts has all."""
        source = DERIVED[name]
        if source not in keys:
            return
        counts = name.startswith("utt2num_")
        if keys[name] == keys[source]:
            return
        there, wanted = set(keys[name]), set(keys[source])
        for key in sorted(there - wanted):
            self.problems.add(f"more {name}", f"{self.folder}/{name}: {missing_key(key, wanted, source)}")
        for key in sorted(wanted - there) if counts else ():
            self.problems.add(f"less {name}", f"{self.folder}/{name}: '{key}' of {source} is missing")

    def _check_models(self) -> dict[str, str]:
        """Check the enrollment models; returns their speakers, as :func:`model_speakers`."""
        if not (self.folder / ENROLL).is_file():
            return {}
        path, models = self.folder / ENROLL, {}
        for numbers, names, values in self._table(ENROLL, None):
            for number, name, value in zip(numbers, names, values, strict=True):
                models[name] = value.split()
                if wrong := wrong_model(name, models[name], self.speaker_of):
                    self.problems.add("model", f"{path}:{number}: {wrong}")
        return model_speakers(models, self.speaker_of)

    def _check_trials(self, path: Path) -> None:
        try:
            self._check_trial_lines(path)
        except DataError as error:
            self.problems.add("unreadable", str(error))

    def _check_trial_lines(self, path: Path) -> None:
        count, labeled = 0, has_labels(path)
        for count, line in enumerate(read_raw_lines(path), 1):
            if wrong := trial_problem(line, self.speaker_of, labeled):
                kind, text = wrong
                if standard_trial(line):
                    kind, text = "labels 1 and 0", f"{text}: run utils/fix_data_dir.sh {self.folder}"
                self.problems.add(f"{kind} {path}", f"{path}:{count}: {text}")
        if count == 0:
            self.problems.add(f"empty {path}", f"{path}: the list is empty")

    def _check_media(self) -> None:
        """Open a sample of the recordings."""
        for name, wanted in (("wav.scp", self.audio), ("video.scp", self.video)):
            path = self.folder / name
            if not wanted or not self.sample or not path.is_file():
                continue
            total = sum(1 for _ in read_raw_lines(path))
            chosen = {i * total // self.sample for i in range(min(self.sample, total))} | {total - 1}
            if total <= self.sample:
                chosen = set(range(total))
            for number, line in enumerate(read_raw_lines(path)):
                if number in chosen:
                    key, value = line.split(None, 1)
                    try:
                        probe(name, value.rstrip())
                    except DataError as error:
                        self.problems.add(f"open {name}", f"{path}:{number + 1}: {key}: {error}")


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read() == b"\n"
