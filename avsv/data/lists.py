"""A data directory's lists held in a few flat arrays, so that loader workers share one copy of them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsv.errors import DataError
from avsv.io.lists import read_list


class PackedStrings(Sequence[str]):
    """An immutable sequence of strings in one byte array.

    A Python list of a million strings is a million objects, and a forked loader worker that reads one writes its
    reference count and so copies its page; an array is shared for good.

    Args:
        strings: the strings, in order.

    Example:
        >>> packed = PackedStrings(["id1", "", "id3"])
        >>> packed[2], len(packed), list(packed)
        ('id3', 3, ['id1', '', 'id3'])
    """

    def __init__(self, strings: Iterable[str]) -> None:
        encoded = [string.encode() for string in strings]
        self._ends = np.cumsum([0] + [len(item) for item in encoded], dtype=np.int64)
        self._bytes = np.frombuffer(b"".join(encoded), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._bytes[self._ends[index] : self._ends[index + 1]].tobytes().decode()


@dataclass
class UtteranceTable:
    """The utterances of a data directory in key order, with where their features lie.

    Args:
        directory: the data directory.
        keys: N utterance ids.
        speakers: the speaker of each.
        audio: location of each utterance's features (or waveform); empty where it has none.
        audio_frames: (N,) int32 feature frames; 0 where there is no audio.
        video: location of each utterance's face frames; empty where it has none.
        video_frames: (N,) int32 face frames; 0 where there is no video.
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

    def labels(self, classes: Sequence[str]) -> np.ndarray:
        """(N,) int32: each utterance's speaker as an index into ``classes``; -1 for a speaker not among them."""
        index = {speaker: position for position, speaker in enumerate(classes)}
        return np.array([index.get(speaker, -1) for speaker in self.speakers], dtype=np.int32)


def read_utterances(
    directory: str | Path, audio: str | None = "feats.scp", video: bool = True, only: Collection[str] | None = None
) -> UtteranceTable:
    """Read the lists of a data directory.

    Args:
        directory: has utt2spk, and for each wanted modality its lists.
        audio: "feats.scp" (features) or "audio.scp" (waveforms), both counted by utt2num_frames; None: no audio.
        video: read faces.scp and utt2num_faces.
        only: keep these utterances, None for all.

    Returns:
        The utterances that have at least one of the wanted modalities.

    Raises:
        DataError: a list is missing, malformed, disagrees with another, or no utterance is left.
    """
    directory = Path(directory)
    speakers = read_list(directory / "utt2spk", fields=2)
    nothing: tuple[dict[str, str], dict[str, str]] = ({}, {})
    sounds, sound_frames = _located(directory, audio, "utt2num_frames", "make_fbank", speakers) if audio else nothing
    faces, face_frames = (
        _located(directory, "faces.scp", "utt2num_faces", "make_face_crops", speakers) if video else nothing
    )
    keys = sorted(key for key in speakers if (key in sounds or key in faces) and (only is None or key in only))
    if not keys:
        raise DataError(f"{directory}: no utterance has what is needed: make its features and face crops")
    return UtteranceTable(
        directory,
        PackedStrings(keys),
        PackedStrings(speakers[key] for key in keys),
        PackedStrings(sounds.get(key, "") for key in keys),
        np.array([sound_frames.get(key, 0) for key in keys], dtype=np.int32),
        PackedStrings(faces.get(key, "") for key in keys),
        np.array([face_frames.get(key, 0) for key in keys], dtype=np.int32),
    )


def read_ages(table: UtteranceTable) -> np.ndarray:
    """(N,) float32: the age in years of each utterance of a table, NaN where it is not known.

    An utterance's own age in utt2age goes before its speaker's in spk2age; '?', a missing line and a missing list mean
    not known.

    Raises:
        DataError: an age is no number from 0 to 150.
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


def _age(path: Path, key: str, text: str) -> float:
    try:
        age = float(text)
    except ValueError:
        age = -1.0
    if not 0 <= age <= 150:
        raise DataError(f"{path}: {key}: '{text}' is no age in years: write a number, or ? where it is not known")
    return age


def read_sessions(table: UtteranceTable) -> list[str] | None:
    """The source recording of each utterance of a table, by utt2session; None where there is no such list.

    Raises:
        DataError: the list lacks an utterance.
    """
    path = table.directory / "utt2session"
    if not path.is_file():
        return None
    sessions = read_list(path, fields=2)
    for key in table.keys:
        if key not in sessions:
            raise DataError(f"{path}: no line for {key}: add it or run utils/fix_data_dir.sh {table.directory}")
    return [sessions[key] for key in table.keys]


def _located(
    directory: Path, name: str, counts: str, step: str, speakers: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, int]]:
    """Locations and frame counts of one modality, checked against each other."""
    for needed in (name, counts):
        if not (directory / needed).is_file():
            raise DataError(f"{directory / needed}: no such file: run steps/{step}.sh {directory}")
    locations = read_list(directory / name)
    frames = {}
    for key, text in read_list(directory / counts, fields=2).items():
        if not text.isdecimal() or int(text) == 0:
            raise DataError(
                f"{directory / counts}: {key}: '{text}' is no number of frames: remake it with steps/{step}.sh"
            )
        frames[key] = int(text)
    for key in locations:
        if key not in frames:
            raise DataError(f"{directory / counts}: no line for {key} of {name}: remake it with steps/{step}.sh")
        if key not in speakers:
            raise DataError(f"{directory / name}: {key} is not in utt2spk: run utils/fix_data_dir.sh {directory}")
    return locations, {key: frames[key] for key in locations}
