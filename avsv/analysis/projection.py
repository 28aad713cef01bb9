"""Embeddings in the plane: UMAP of a sample of identities, t-SNE of a few vectors."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from avsv.analysis.geometry import sample_identities
from avsv.analysis.spaces import Space
from avsv.analysis.umap import umap

MAX_UTTERANCES = 240  # in a projection: more points would cover each other
MAX_IDENTITIES = 16
NEIGHBORS = 5  # of UMAP
PERPLEXITY = 5.0  # of t-SNE


class Projection(NamedTuple):
    """Utterances in the plane.

    Attributes:
        keys: the M utterances.
        identities: (M,) names.
        points: (M, 2).
    """

    keys: list[str]
    identities: NDArray[np.str_]
    points: NDArray[np.float64]


def project(space: Space, seed: int) -> Projection:
    """UMAP of all utterances of some identities, which are drawn."""
    rows = sample_identities(space.identities, MAX_UTTERANCES, MAX_IDENTITIES, seed)
    # The order in which threads add numbers changes the picture, and so few points need only one thread.
    with threadpool_limits(1):
        points = umap(space.vectors[rows], NEIGHBORS, seed=seed)
    return Projection([space.keys[row] for row in rows], space.identities[rows], points)


def projection_table(projections: Mapping[str, Projection]) -> pd.DataFrame:
    """The table projection.csv: modality, utterance, identity and place of every point."""
    parts = [
        pd.DataFrame(
            {"modality": modality, "utterance": found.keys, "identity": found.identities}
            | dict(zip("xy", found.points.T, strict=True))
        )
        for modality, found in projections.items()
    ]
    return pd.concat(parts, ignore_index=True)


def tsne(vectors: NDArray, seed: int) -> NDArray[np.float32]:
    """t-SNE of a few vectors (N, D) to (N, 2), from a start in the plane of the principal components."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    with threadpool_limits(1):  # as above
        return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)
