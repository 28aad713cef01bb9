"""The lists of a data directory in a few flat arrays, so that loader workers share one copy of them."""

from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsv.errors import DataError
from avsv.io.lists import read_entries, read_list, repeated


class PackedStrings(Sequence[str]):
    """An immutable sequence of strings in one byte array.

    A Python list of a million strings consists of a million objects. A forked loader worker that reads one of them
    writes its reference count and so copies its page of memory; an array remains shared.

    Args:
        strings: the strings, in order.

    Example:
        >>> packed = PackedStrings(["id1", "", "id3"])
        >>> packed[2], len(packed), list(packed)
        ('id3', 3, ['id1', '', 'id3'])
    """

    def __init__(self, strings: Iterable[str]) -> None:
        packed, ends = bytearray(), array("q", [0])
        for string in strings:
            packed += string.encode()
            ends.append(len(packed))
        self._ends = np.frombuffer(ends, dtype=np.int64)
        self._bytes = np.frombuffer(packed, dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._bytes[self._ends[index] : self._ends[index + 1]].tobytes().decode()


@dataclass
class UtteranceTable:
    """The utterances of a data directory in key order, with the locations of their features.

    Args:
        directory: the data directory.
        keys: N utterance ids.
        speakers: the speaker of each utterance.
        audio: location of the features (or waveform) of each utterance; empty if it has none.
        audio_frames: (N,) int32 feature frames; 0 without audio.
        video: location of the face frames of each utterance; empty if it has none.
        video_frames: (N,) int32 face frames; 0 without video.
    """

    directory: Path
    keys: PackedStrings
    speakers: PackedStrings
    audio: PackedStrings
    audio_frames: np.ndarray
    video: PackedStrings
    video_frames: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: Sequence[int]) -> "UtteranceTable":
        """The table of some of its rows, in the given order."""
        names, speakers, sounds, faces = (
            PackedStrings(column[row] for row in rows) for column in (self.keys, self.speakers, self.audio, self.video)
        )
        return UtteranceTable(
            self.directory, names, speakers, sounds, self.audio_frames[rows], faces, self.video_frames[rows]
        )

    def labels(self, classes: Sequence[str]) -> np.ndarray:
        """(N,) int32: the speaker of each utterance as an index into ``classes``; -1 if it is not one of them."""
        index = {speaker: position for position, speaker in enumerate(classes)}
        return np.array([index.get(speaker, -1) for speaker in self.speakers], dtype=np.int32)


def read_utterances(
    directory: str | Path, audio: str | None = "feats.scp", video: bool = True, only: Collection[str] | None = None
) -> UtteranceTable:
    """Read the lists of a data directory.

    Args:
        directory: the data directory, with utt2spk and the lists of each requested modality.
        audio: "feats.scp" (features) or "audio.scp" (waveforms), both with lengths in utt2num_frames; None: no audio.
        video: whether to read faces.scp and utt2num_faces.
        only: keep these utterances; None for all.

    Returns:
        The utterances that have at least one of the requested modalities.

    Raises:
        DataError: a list is missing, malformed or inconsistent with another, or no utterance is left.
    """
    directory = Path(directory)
    speakers = read_list(directory / "utt2spk", fields=2)
    keys = sorted(speakers)
    packed_speakers = PackedStrings(speakers.pop(key) for key in keys)
    rows = {key: row for row, key in enumerate(keys)}
    nothing = PackedStrings([""] * len(keys)), np.zeros(len(keys), dtype=np.int32)
    sounds, sound_frames = _located(directory, audio, "utt2num_frames", "make_fbank", rows) if audio else nothing
    faces, face_frames = (
        _located(directory, "faces.scp", "utt2num_faces", "make_face_crops", rows) if video else nothing
    )
    there = (sound_frames > 0) | (face_frames > 0)
    if only is not None:
        there &= np.array([key in only for key in keys])
    if not there.any():
        raise DataError(f"{directory}: no utterance has features or face crops: make them first")
    packed_keys = PackedStrings(keys)
    table = UtteranceTable(directory, packed_keys, packed_speakers, sounds, sound_frames, faces, face_frames)
    return table if there.all() else table.take(np.flatnonzero(there))


def read_ages(table: UtteranceTable) -> np.ndarray:
    """(N,) float32: the age in years for each utterance of a table, NaN if unknown.

    The age of an utterance in utt2age takes precedence over that of its speaker in spk2age; '?', a missing line and a
    missing list mean that the age is unknown.

    Raises:
        DataError: an age is not a number from 0 to 150.
    """
    ages: dict[str, dict[str, float]] = {}
    for name in ("utt2age", "spk2age"):
        path = table.directory / name
        if path.is_file():
            ages[name] = {key: _age(path, key, text) for key, text in read_list(path, fields=2).items() if text != "?"}
    of_utterance, of_speaker = ages.get("utt2age", {}), ages.get("spk2age", {})
    return np.array(
        [
            of_utterance.get(key, of_speaker.get(speaker, np.nan))
            for key, speaker in zip(table.keys, table.speakers, strict=True)
        ],
        dtype=np.float32,
    )


def read_genders(table: UtteranceTable) -> np.ndarray:
    """(N,) float32: the gender for each utterance of a table from spk2gender, 0 for f, 1 for m, NaN if unknown.

    Raises:
        DataError: a gender is neither m nor f.
    """
    path = table.directory / "spk2gender"
    genders = read_list(path, fields=2) if path.is_file() else {}
    for speaker, gender in genders.items():
        if gender not in ("f", "m"):
            raise DataError(f"{path}: {speaker}: '{gender}' is neither m nor f")
    values = {speaker: float(gender == "m") for speaker, gender in genders.items()}
    return np.array([values.get(speaker, np.nan) for speaker in table.speakers], dtype=np.float32)


def _age(path: Path, key: str, text: str) -> float:
    try:
        age = float(text)
    except ValueError:
        age = -1.0
    if not 0 <= age <= 150:
        raise DataError(f"{path}: {key}: '{text}' is not an age in years: write a number, or ? if it is unknown")
    return age


def read_sessions(table: UtteranceTable) -> np.ndarray | None:
    """(N,) int32: the number of the source recording of each utterance of a table, from utt2session.

    Returns None if there is no such list.

    Raises:
        DataError: an utterance is missing from the list.
    """
    path = table.directory / "utt2session"
    if not path.is_file():
        return None
    sessions = read_list(path, fields=2)
    numbers: dict[str, int] = {}
    found = np.empty(len(table), dtype=np.int32)
    for row, key in enumerate(table.keys):
        if key not in sessions:
            raise DataError(f"{path}: no line for {key}: add it or run utils/fix_data_dir.sh {table.directory}")
        found[row] = numbers.setdefault(sessions[key], len(numbers))
    return found


def _located(
    directory: Path, name: str, counts: str, step: str, rows: Mapping[str, int]
) -> tuple[PackedStrings, np.ndarray]:
    """Locations and frame counts of one modality for every row, checked against each other."""
    for needed in (name, counts):
        if not (directory / needed).is_file():
            raise DataError(f"{directory / needed}: no such file: run steps/{step}.sh {directory}")
    locations, unknown = [""] * len(rows), None
    for number, key, location in read_entries(directory / name):
        if key not in rows:
            unknown = unknown or key
        elif locations[rows[key]]:
            raise repeated(directory / name, number, key)
        else:
            locations[rows[key]] = location
    if unknown is not None:
        raise DataError(f"{directory / name}: {unknown} is not in utt2spk: run utils/fix_data_dir.sh {directory}")
    packed = PackedStrings(locations)
    there = np.array([bool(location) for location in locations])
    frames = np.zeros(len(rows), dtype=np.int32)
    for number, key, text in read_entries(directory / counts, fields=2):
        if not text.isdecimal() or len(text) > 9 or int(text) == 0:
            raise DataError(
                f"{directory / counts}: {key}: '{text}' is not a number of frames: make it again with steps/{step}.sh"
            )
        row = rows.get(key)
        if row is not None and there[row]:
            if frames[row]:
                raise repeated(directory / counts, number, key)
            frames[row] = int(text)
    lacking = np.flatnonzero(there & (frames == 0))
    if len(lacking):
        key = next(key for key, row in rows.items() if row == lacking[0])
        raise DataError(f"{directory / counts}: no line for {key} of {name}: make it again with steps/{step}.sh")
    return packed, frames
