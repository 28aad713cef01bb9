"""The embeddings of a data directory by one system, with the identities of the utterances."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.scoring.trials import read_embeddings


class Space(NamedTuple):
    """The embeddings of one modality.

    Attributes:
        keys: the N utterances.
        vectors: (N, D) of length 1.
        identities: (N,) names.
    """

    keys: list[str]
    vectors: NDArray[np.float32]
    identities: NDArray[np.str_]


def read_spaces(folder: Path, name: str, utt2spk: Mapping[str, str]) -> dict[str, Space]:
    """Read the embeddings of a system in those of the modalities AV, A and V that it has.

    Args:
        folder: of the system, with ``embeddings/NAME.MODALITY.scp``.
        name: of the data directory.
        utt2spk: identity of every utterance.

    Raises:
        DataError: as :func:`avsv.scoring.trials.read_embeddings`; no embeddings; an utterance that is not
            in ``utt2spk``; a single identity.
    """
    spaces = {}
    for modality in ("AV", "A", "V"):
        scp = folder / "embeddings" / f"{name}.{modality}.scp"
        if scp.is_file():
            keys, embeddings = read_embeddings(scp)
            unknown = [key for key in keys if key not in utt2spk]
            if unknown:
                raise DataError(f"{scp}: '{unknown[0]}' is not in utt2spk: extract embeddings again")
            identities = np.array([utt2spk[key] for key in keys])
            if len(np.unique(identities)) < 2:
                raise DataError(f"{scp}: all utterances are of one identity: angles between identities need two")
            spaces[modality] = Space(keys, embeddings.matrix, identities)
    if not spaces:
        raise DataError(f"{folder}/embeddings: no embeddings of {name}: extract them first")
    return spaces
