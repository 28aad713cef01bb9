"""Embeddings of a system with the identities of their utterances."""

import numpy as np
import pytest

from avsv.analysis.spaces import read_spaces
from avsv.errors import DataError
from avsv.io.ark import ArkWriter, append_vectors

SPEAKERS = {"a-1": "a", "a-2": "a", "b-1": "b"}


def write(folder, modality, vectors):
    (folder / "embeddings").mkdir(exist_ok=True)
    with ArkWriter(folder / f"embeddings/eval.{modality}", "float") as writer:
        append_vectors(writer, list(vectors), np.array(list(vectors.values()), dtype=np.float32))


def test_embeddings_of_every_modality(tmp_path):
    write(tmp_path, "A", {"a-1": [3, 4], "b-1": [0, 2]})
    write(tmp_path, "V", {"a-1": [1, 0], "a-2": [0, 1], "b-1": [0, 5]})
    spaces = read_spaces(tmp_path, "eval", SPEAKERS)
    assert list(spaces) == ["A", "V"]
    assert spaces["A"].keys == ["a-1", "b-1"]
    np.testing.assert_allclose(spaces["A"].vectors, [[0.6, 0.8], [0, 1]])
    assert spaces["V"].identities.tolist() == ["a", "a", "b"]


def test_embeddings_without_geometry(tmp_path):
    with pytest.raises(DataError, match="embeddings: no embeddings of eval: extract them first"):
        read_spaces(tmp_path, "eval", SPEAKERS)
    write(tmp_path, "A", {"a-1": [3, 4], "a-2": [0, 2]})
    with pytest.raises(DataError, match=r"eval\.A\.scp: all utterances are of one identity: angles"):
        read_spaces(tmp_path, "eval", SPEAKERS)
    write(tmp_path, "A", {"a-1": [3, 4], "c-1": [0, 2]})
    with pytest.raises(DataError, match=r"eval\.A\.scp: 'c-1' is not in utt2spk: extract embeddings again"):
        read_spaces(tmp_path, "eval", SPEAKERS)
