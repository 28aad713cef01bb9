"""The measured quality of utterances: of their voices, and of their face crops."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avsv.audio.config import FbankConfig
from avsv.audio.quality import VoiceQuality, voice_quality
from avsv.data.audio_source import WaveformSource
from avsv.data.face_source import FaceSource, spread_rows
from avsv.data.lists import UtteranceTable
from avsv.errors import DataError
from avsv.io.lists import read_list
from avsv.scoring.members import Members
from avsv.video.quality import FaceQuality, face_quality

FRAMES = 10
"""Face crops of an utterance that are measured, evenly spread over it."""

MEASURES: Mapping[str, tuple[str, ...]] = {"A": VoiceQuality._fields, "V": FaceQuality._fields}
"""The measures of each modality, in the order of the columns."""

LISTS = {"A": "utt2voice_quality", "V": "utt2face_quality"}
"""The list of each modality in a data directory: the utterance and its measures."""


def measure_voices(
    table: UtteranceTable, waveforms: WaveformSource, form: FbankConfig
) -> Iterator[tuple[str, VoiceQuality]]:
    """The quality of the voice of each utterance that has one.

    Args:
        table: the utterances and the numbers of their feature frames.
        waveforms: their samples.
        form: the sample rate, and the length of the frames.
    """
    for index, frames in enumerate(table.audio_frames.tolist()):
        if frames > 0:
            last = (frames - 1) * form.shift_samples + form.window_samples
            yield table.keys[index], voice_quality(waveforms.read(index, 0, last), form.sample_rate)


def measure_faces(table: UtteranceTable, faces: FaceSource) -> Iterator[tuple[str, FaceQuality]]:
    """The quality of the face crops of each utterance that has some."""
    for index, frames in enumerate(table.video_frames.tolist()):
        if frames > 0:
            yield table.keys[index], face_quality(faces.read(index, spread_rows(frames, FRAMES)))


def read_quality(data_dir: Path, letter: str, utterances: Sequence[str]) -> NDArray[np.float64]:
    """The measures (U, K) of a modality of utterances, from the list in a data directory; NaN for one without a line.

    Args:
        data_dir: the data directory.
        letter: A or V.
        utterances: U different ids.

    Raises:
        DataError: no such list, or a line without the numbers.
    """
    path, wanted = data_dir / LISTS[letter], len(MEASURES[letter])
    rows = np.full((len(utterances), wanted), np.nan)
    row_of = {key: row for row, key in enumerate(utterances)}
    for number, (key, value) in enumerate(read_list(path).items(), 1):
        try:
            figures = np.array([float(word) for word in value.split()])
        except ValueError:
            figures = np.empty(0)
        if len(figures) != wanted or not np.isfinite(figures).all():
            raise DataError(f"{path}:{number}: '{value}', expected {' '.join(MEASURES[letter])}: measure it again")
        if key in row_of:
            rows[row_of[key]] = figures
    return rows


def side_quality(members: Members, quality: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measures (S, K) of the sides of trials, from those of their utterances (U, K): their means."""
    return np.stack([members.mean(column) for column in quality.T], axis=1)
