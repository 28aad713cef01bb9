"""Many recordings, or the utterances of a data directory, embedded; and trials between them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.data.clips import WholeUtterances, whole_audio_list
from avsv.data.lists import read_utterances
from avsv.data.loading import load_batches
from avsv.data.threads import one_thread
from avsv.embed.extract import embed_batches
from avsv.errors import DataError
from avsv.io.lists import read_list
from avsv.model.saved import TrainedEmbedder
from avsv.scoring.modes import assignments
from avsv.verification.model import Model
from avsv.verification.pairs import Embedded, PairScores
from avsv.verification.recording import Recording


class Item(NamedTuple):
    """One embedded utterance.

    Attributes:
        key: its id, or its path.
        embeddings: per mode (D,) as the network gives it.
        seconds: its duration; None if unknown.
        faces: number of its face crops; None if unknown.
    """

    key: str
    embeddings: dict[str, NDArray[np.float32]]
    seconds: float | None
    faces: int | None


def recordings_at(paths: Mapping[str, str | Path], lost: dict[str, str]) -> list[Recording]:
    """The recordings that there are at some paths, by their names.

    Args:
        paths: files or folders.
        lost: receives what is wrong with each of the others, by its name.
    """
    recordings = []
    for name, path in paths.items():
        try:
            found = Recording.of(path)
        except DataError as error:
            lost[name] = str(error)
        else:
            recordings.append(Recording(name, found.audio, found.video))
    return recordings


def embed_recordings(model: Model, recordings: Sequence[Recording], lost: dict[str, str]) -> Iterator[Item]:
    """Embed recordings one by one, in all modes for which each has the modalities.

    Args:
        model: what embeds.
        recordings: to embed.
        lost: receives what is wrong with each recording that cannot be embedded, by its name.
    """
    for recording in recordings:
        try:
            reading = model.read(recording)
            raw = model.raw_embeddings(reading, model.embedder.modes)
        except DataError as error:
            lost[recording.name] = str(error)
            continue
        seconds = reading.voice.seconds if reading.voice else reading.faces.seconds
        yield Item(recording.name, raw, seconds, reading.faces and reading.faces.count)


def recordings_of(directory: Path, letters: str) -> list[Recording]:
    """The recordings of ``wav.scp`` and ``video.scp`` in some modalities.

    Raises:
        DataError: there is neither list for these modalities.
    """
    lists = {letter: directory / name for letter, name in (("A", "wav.scp"), ("V", "video.scp")) if letter in letters}
    found = {letter: read_list(path) if path.is_file() else {} for letter, path in lists.items()}
    keys = sorted({key for part in found.values() for key in part})
    if not keys:
        raise DataError(f"{directory}: neither features nor {' and '.join(path.name for path in lists.values())} there")
    return [Recording(key, found.get("A", {}).get(key), found.get("V", {}).get(key)) for key in keys]


def stored_letters(model: Model, directory: Path) -> str:
    """The modalities of a data directory to read from its arks; empty where recordings have no features yet."""
    inputs = model.package.inputs
    audio_list = whole_audio_list(model.package.settings.system.embed, inputs)
    stored = ""
    for letter, name, source in (("A", audio_list, "wav.scp"), ("V", "faces.scp", "video.scp")):
        if letter not in model.embedder.letters:
            continue
        if (directory / name).is_file():
            stored += letter
        elif (directory / source).is_file():
            return ""
    return stored


def embed_utterances(model: Model, directory: Path, keys: Sequence[str], lost: dict[str, str]) -> Iterator[Item]:
    """Embed utterances of a data directory from its features and face crops, or from its recordings if it has none.

    Args:
        model: what embeds.
        directory: of the data.
        keys: of the utterances.
        lost: receives what is wrong with each utterance that cannot be embedded.

    Raises:
        DataError: lists or arks cannot be read, or were made with other settings than the model's.
    """
    left = set(keys)
    if letters := stored_letters(model, directory):
        items = embed_directory(model, directory, letters, set(keys))
    else:
        recordings = [one for one in recordings_of(directory, model.embedder.letters) if one.name in left]
        items = embed_recordings(model, recordings, lost)
    for item in items:
        left.remove(item.key)
        yield item
    what = "neither features nor face crops" if letters else "no recording"
    lost |= {key: f"{directory} has {what} of it" for key in keys if key in left and key not in lost}


def embed_directory(model: Model, directory: Path, letters: str, only: Collection[str]) -> Iterator[Item]:
    """Embed utterances of a data directory from its features and face crops.

    Args:
        model: what embeds.
        directory: see :func:`stored_letters`.
        letters: modalities to read.
        only: these utterances; if they are all, in the batches of stage 6.

    Raises:
        DataError: lists or arks cannot be read, or were made with other settings than the model's.
    """
    config, inputs = model.package.settings.system.embed, model.package.inputs.only(letters)
    table = read_utterances(directory, whole_audio_list(config, inputs), inputs.video is not None, only)
    TrainedEmbedder(model.name, model.embedder, inputs, config).check_data(table, letters)
    rows = {key: row for row, key in enumerate(table.keys)}
    seconds = read_list(directory / "utt2dur", fields=2) if (directory / "utt2dur").is_file() else {}
    dataset = WholeUtterances(table, np.full(len(table), -1), config, inputs)
    batches = load_batches(dataset, range(len(dataset)), 0, False)
    modes = [mode for mode in model.embedder.modes if set(mode) <= set(letters)]
    # One thread, as in the jobs of stage 6: the number of threads changes the last bits of sums.
    with one_thread() if model.device.type == "cpu" else nullcontext():
        for embedded in embed_batches(model.embedder, batches, modes, model.device):
            # In a batch all utterances have the same modalities.
            for n, key in enumerate(next(iter(embedded.values()), ([], None))[0]):
                raw = {mode: vectors[n] for mode, (_, vectors) in embedded.items()}
                duration = float(seconds[key]) if key in seconds else None
                yield Item(key, raw, duration, int(table.video_frames[rows[key]]) or None)


class Scored(NamedTuple):
    """The trials of a list that a mode can score: their places (M,) in the list, and their scores."""

    places: NDArray[np.int64]
    scores: PairScores


def score_trials(
    model: Model, sides: Sequence[Embedded], enroll: NDArray[np.int64], test: NDArray[np.int64], mode: str
) -> Scored:
    """Score those trials (N,) of a list whose sides have what a mode needs.

    A trial is scored in both orders where both sides have all modalities, and otherwise in the order that is possible.
    """
    has = {m: np.array([m in side.vectors for side in sides]) for m in {m for pair in assignments(mode) for m in pair}}
    orders = assignments(mode)
    able = np.stack([has[a][enroll] & has[b][test] for a, b in orders], axis=1)
    places, parts = [], []
    for kind in np.unique(able[able.any(axis=1)], axis=0):
        there = np.flatnonzero((able == kind).all(axis=1))
        chosen = [order for order, possible in zip(orders, kind, strict=True) if possible]
        places.append(there)
        # Other sides may lack what the mode needs.
        used, rows = np.unique([enroll[there], test[there]], return_inverse=True)
        parts.append(model.score([sides[n] for n in used], *rows.reshape(2, -1), mode, chosen))
    if not parts:
        return Scored(np.empty(0, np.int64), PairScores(np.empty(0), np.empty(0), None))
    joined = np.concatenate(places)
    order = np.argsort(joined)
    llr = None if parts[0].llr is None else np.concatenate([part.llr for part in parts])[order]
    cosines, scores = (np.concatenate([part[n] for part in parts])[order] for n in (0, 1))
    return Scored(joined[order], PairScores(cosines, scores, llr))
