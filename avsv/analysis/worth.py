"""Attention of poolings over time against the true worth of the moments, which a made corpus knows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avsv.analysis.attention import mean_interval
from avsv.analysis.rows import Agreement
from avsv.data.clips import WholeUtterances
from avsv.data.lists import read_utterances
from avsv.data.worth import list_of
from avsv.model.embedder import NETWORKS, Embedder
from avsv.model.saved import TrainedEmbedder
from avsv.nnet.backbone import spread_worth


def attending(embedder: Embedder, directory: Path) -> str:
    """The modalities, of A and V, to which a system attends over time and whose worth in a data directory is known."""
    return "".join(
        letter
        for letter in embedder.letters
        if embedder.network(letter).pool.attends and list_of(directory, letter).is_file()
    )


def agreements(system: TrainedEmbedder, directory: Path) -> list[Agreement]:
    """Compare the attention with the true worth over all utterances of a data directory, for each of :func:`attending`.

    Raises:
        DataError: as :func:`avsv.data.lists.read_utterances` and :class:`avsv.data.worth.Worth`; data cannot be read.
    """
    letters = attending(system.embedder, directory)
    found: dict[str, list[tuple[str, float, float]]] = {letter: [] for letter in letters}
    inputs = replace(system.inputs.only(system.embedder.letters), worth=letters)
    table = read_utterances(directory, inputs.audio_list, inputs.video is not None)
    speakers = dict(zip(table.keys, table.speakers, strict=True))
    clips = WholeUtterances(table, np.full(len(table), -1), replace(system.config, speeds=False), inputs)
    for batch in clips.prepared():
        for letter in letters:
            values = (batch.audio, batch.audio_mask, batch.audio_worth)
            values = values if letter == "A" else (batch.video, batch.video_mask, batch.video_worth)
            if values[0] is None:
                continue
            for row, (attention, worth) in enumerate(_series(system.embedder, letter, *values)):
                if np.ptp(worth) > 0:
                    found[letter].append((speakers[batch.keys[row]], *_compare(attention, worth)))
    rows = []
    for letter, compared in found.items():
        if len({speaker for speaker, *_ in compared}) > 1:
            people, correlation, good = zip(*compared, strict=True)
            interval = mean_interval(np.array(correlation), people)
            rows.append(Agreement(NETWORKS[letter], len(compared), *interval, float(np.nanmean(good))))
    return rows


def _series(
    embedder: Embedder, letter: str, inputs: torch.Tensor, mask: torch.Tensor, worth: torch.Tensor
) -> list[tuple[NDArray, NDArray]]:
    """The attention (T,), averaged over channels, and the worth (T,) of each clip of a batch that has the modality."""
    network = embedder.network(letter)
    with torch.inference_mode():
        frames, valid = network.frames(inputs, mask)
        attention = network.pool.attention(frames, valid).mean(dim=1).numpy()
        truth = spread_worth(worth, frames, valid).numpy()
    lengths = [frames.shape[2]] * len(frames) if valid is None else valid.sum(dim=1).tolist()
    return [(attention[row, :length], truth[row, :length]) for row, length in enumerate(lengths)]


def _compare(attention: NDArray, worth: NDArray) -> tuple[float, float]:
    """Spearman's correlation, and the weight of good frames over their share; NaN without any.

    Example:
        >>> _compare(np.array([0.5, 0.3, 0.2]), np.array([1.0, 0.6, 0.0]))
        (1.0, 1.2)
    """
    from scipy.stats import rankdata

    ranks = [rankdata(series) - (len(series) + 1) / 2 for series in (attention, worth)]
    norm = np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum())
    good = worth > 0.5
    share = attention[good].sum() / good.mean() if good.any() else np.nan
    # Attention that is the same everywhere agrees with nothing.
    return float((ranks[0] * ranks[1]).sum() / norm) if norm else 0.0, round(float(share), 12)
