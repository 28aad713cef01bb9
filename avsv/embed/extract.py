"""Embeddings of batches of whole utterances."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from avsv.data.batch import Batch
from avsv.errors import DataError
from avsv.model.embedder import Embedder

Embedded = dict[str, tuple[list[str], np.ndarray]]


def embed_batches(
    embedder: Embedder, batches: Iterable[Batch], modes: Sequence[str], device: torch.device | str
) -> Iterator[Embedded]:
    """Embed batches of :class:`avsv.data.clips.WholeUtterances`.

    Args:
        embedder: the embedder, which is set to evaluation mode.
        batches: batches in which all utterances have the same modalities.
        modes: modes of the embedder, of A, V and AV; a mode is skipped for batches that lack one of its modalities.
        device: device of the embedder.

    Yields:
        For each batch and each applicable mode, its keys and (B, D) float32.

    Raises:
        DataError: an embedding is not finite.
    """
    embedder.eval()
    for batch in batches:
        there = {"A": batch.audio is not None, "V": batch.video is not None}
        possible = [mode for mode in modes if all(there[letter] for letter in mode)]
        if not possible:
            yield {}
            continue
        with torch.inference_mode():
            embedded = embedder.embed(batch.prepare(device), possible)
        result = {mode: (batch.keys, vectors.float().cpu().numpy()) for mode, vectors in embedded.items()}
        for mode, (keys, vectors) in result.items():
            finite = np.isfinite(vectors).all(axis=1)
            if not finite.all():
                key = keys[int(np.argmin(finite))]
                raise DataError(
                    f"{key}: its {mode} embedding is not finite: check the values of its features and of the weights"
                )
        yield result
