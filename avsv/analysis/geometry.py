"""Geometry of embeddings: angles within and between identities, between voice and face, and silhouettes.

Source: the analyses of Claborne et al., section VI.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from avsv.analysis.rows import Averaging
from avsv.analysis.spaces import Space
from avsv.seeding import generator_for

Array = NDArray[np.float64]


class Geometry(NamedTuple):
    """Angles in degrees and silhouettes of the embeddings of one modality.

    Attributes:
        within: one angle per pair of utterances of an identity.
        between: one angle per pair of identities, between their centroids.
        silhouette: one value in [-1, 1] per utterance, of a bounded sample of identities.
    """

    within: Array
    between: Array
    silhouette: Array

    def summary(self) -> str:
        """The medians of the angles and the mean silhouette in a few words."""
        within, between = np.median(self.within), np.median(self.between)
        return f"within {within:.0f}°, between {between:.0f}°, silhouette {self.silhouette.mean():.2f}"


def angles(first: ArrayLike, second: ArrayLike) -> Array:
    """Angles in degrees, 0 to 180, between rows (N, D) and (N, D).

    Example:
        >>> angles([[1, 0], [1, 0], [2, 0]], [[0, 3], [1, 0], [-1, 0]]).tolist()
        [90.0, 0.0, 180.0]
    """
    first, second = _unit(first), _unit(second)
    return np.degrees(np.arccos(np.clip(np.einsum("nd,nd->n", first, second), -1, 1)))


def within_angles(embeddings: ArrayLike, identities: ArrayLike) -> Array:
    """Angles in degrees of all pairs i < j of utterances of the same identity, for all identities.

    Args:
        embeddings: (N, D).
        identities: (N,) names or numbers.

    Example:
        >>> within_angles([[1, 0], [0, 1], [1, 1]], ["a", "a", "b"]).tolist()
        [90.0]
    """
    unit = _unit(embeddings)
    return np.concatenate([_pair_angles(unit[rows]) for rows in identity_rows(identities).values()])


def identity_rows(identities: ArrayLike) -> dict[str, NDArray[np.intp]]:
    """The rows of every identity, by name.

    Example:
        >>> {name: rows.tolist() for name, rows in identity_rows(["b", "a", "b"]).items()}
        {'a': [1], 'b': [0, 2]}
    """
    names, numbers = np.unique(identities, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    return dict(zip(names.tolist(), parts, strict=True))


def between_angles(embeddings: ArrayLike, identities: ArrayLike) -> Array:
    """Angles in degrees between the centroids of all n (n - 1) / 2 pairs of identities.

    A centroid is the mean of the embeddings of an identity after scaling to length 1, since only angles are trained.

    Args:
        embeddings: (N, D).
        identities: (N,) names or numbers.

    Example:
        >>> between_angles([[1, 0], [0, 5], [-1, 1]], ["a", "a", "b"]).round(4).tolist()
        [90.0]
    """
    names, numbers = np.unique(identities, return_inverse=True)
    unit = _unit(embeddings)
    sums = np.zeros((len(names), unit.shape[1]))
    np.add.at(sums, numbers, unit)
    return _pair_angles(_unit(sums))


def geometry(embeddings: ArrayLike, identities: ArrayLike, max_utterances: int = 2000, seed: int = 0) -> Geometry:
    """All measures of one modality.

    Args:
        embeddings: (N, D).
        identities: (N,) names or numbers; at least two.
        max_utterances: for silhouettes, whose cost is quadratic, identities are drawn up to this number of utterances.
        seed: seed of that draw.
    """
    identities = np.asarray(identities)
    rows = sample_identities(identities, max_utterances, seed=seed)
    unit = _unit(embeddings)
    return Geometry(
        within_angles(unit, identities), between_angles(unit, identities), _silhouettes(unit[rows], identities[rows])
    )


def _silhouettes(points: Array, identities: NDArray) -> Array:
    """The silhouettes (N,) of points; empty where they are not defined: one identity, or one point of each."""
    from sklearn.metrics import silhouette_samples

    count = len(np.unique(identities))
    return silhouette_samples(points, identities) if 2 <= count < len(points) else np.empty(0)


def sample_identities(
    identities: ArrayLike, max_utterances: int, max_identities: int | None = None, seed: int = 0
) -> NDArray[np.int64]:
    """All rows of randomly drawn identities, up to a number of utterances; at least two identities.

    Example:
        >>> sample_identities(["a", "a", "b", "b"], 10).tolist()
        [0, 1, 2, 3]
    """
    names, numbers, counts = np.unique(identities, return_inverse=True, return_counts=True)
    drawn = generator_for(seed, "identities").permutation(len(names))[:max_identities]
    kept = max(2, int(np.searchsorted(np.cumsum(counts[drawn]), max_utterances, side="right")))
    return np.flatnonzero(np.isin(numbers, drawn[:kept]))


def voice_to_face(voice: Space, face: Space) -> Array:
    """Angles in degrees between the voice's and the face's embedding of every utterance that has both."""
    row_of = {key: row for row, key in enumerate(face.keys)}
    pairs = [(row, row_of[key]) for row, key in enumerate(voice.keys) if key in row_of]
    if not pairs:
        return np.empty(0)
    rows, others = np.array(pairs).T
    return angles(voice.vectors[rows], face.vectors[others])


def averaging(fused: Space, voice: Space, face: Space, max_utterances: int = 1000, seed: int = 0) -> Averaging:
    """Compare the fused cosines of all pairs of utterances with the means of those of voice and face.

    Args:
        fused, voice, face: embeddings of one system.
        max_utterances: at most so many utterances that have all three are drawn.
        seed: of the draw.
    """
    rows = [{key: row for row, key in enumerate(space.keys)} for space in (fused, voice, face)]
    common = sorted(rows[0].keys() & rows[1].keys() & rows[2].keys())
    if len(common) > max_utterances:
        drawn = generator_for(seed, "averaging").choice(len(common), max_utterances, replace=False)
        common = [common[index] for index in sorted(drawn)]
    pairs = np.triu_indices(len(common), k=1)
    cosines = []
    for space, row_of in zip((fused, voice, face), rows, strict=True):
        unit = _unit(space.vectors[[row_of[key] for key in common]])
        cosines.append((unit @ unit.T)[pairs])
    mean = (cosines[1] + cosines[2]) / 2
    correlation = float(np.corrcoef(cosines[0], mean)[0, 1])
    return Averaging(len(common), correlation, float(np.abs(cosines[0] - mean).max()))


def geometry_table(
    measures: Mapping[str, Geometry],
    audio_video: Array | None,
    points: Mapping[str, tuple[Array, NDArray[np.str_]]],
) -> pd.DataFrame:
    """The table geometry.csv: the distribution of each measure, angles in degrees, silhouettes in [-1, 1].

    Args:
        measures: per modality.
        audio_video: angles between the voice's and the face's embedding of each utterance, where a system has both.
        points: per modality (N, 2) in the plane and the names (N,) of their identities.
    """
    values = [(m, what, column) for m, of in measures.items() for what, column in of._asdict().items()]
    values += [(m, "silhouette of the UMAP", _silhouettes(*found)) for m, found in points.items()]
    if audio_video is not None:
        values.append(("A-V", "same clip", audio_video))
    rows = []
    for modality, what, column in values:
        figures = (
            [column.mean(), column.std(), *np.quantile(column, [0.05, 0.5, 0.95])] if len(column) else [np.nan] * 5
        )
        rows.append((modality, what, len(column), *figures))
    return pd.DataFrame(rows, columns=["modality", "measure", "count", "mean", "std", "p05", "median", "p95"])


def _unit(vectors: ArrayLike) -> Array:
    vectors = np.asarray(vectors, dtype=np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _pair_angles(unit: Array) -> Array:
    """Angles of all pairs of rows of length 1."""
    upper = np.triu_indices(len(unit), k=1)
    return np.degrees(np.arccos(np.clip((unit @ unit.T)[upper], -1, 1)))
