"""Hard utterances and outliers with synthetic scores and vectors."""

import itertools

import numpy as np
import pytest

from avsv.analysis.hard import MAX_FUSED, Scored, choose, error_shares, find_outliers, hard_samples, hard_table, hardest
from avsv.scoring.trials import Embeddings


def test_hard_samples_are_those_most_often_wrong():
    rng = np.random.default_rng(0)
    enroll, test = np.array(list(itertools.combinations(range(30), 2))).T
    labels = np.arange(30) // 5
    is_target = labels[enroll] == labels[test]
    bad = np.isin(enroll, (3, 17)) | np.isin(test, (3, 17))
    scores = np.where(is_target ^ bad, 1.0, 0.0) + 0.1 * rng.random(len(enroll))
    shares = error_shares(scores, is_target, enroll, test, 31)
    for row in (3, 17, 4):
        mine = (enroll == row) | (test == row)
        threshold = 0.5
        wrong = np.where(is_target, scores < threshold, scores > threshold)[mine]
        assert shares[row] == pytest.approx(wrong.mean(), abs=0.05)
    assert np.isnan(shares[30])
    assert set(hardest([shares, shares], 2).tolist()) == {3, 17}
    assert len(hardest([shares], 99)) == 30


def test_outliers_are_nearer_to_another_identity():
    vectors = np.repeat(np.eye(3), 4, axis=0) + 0.01 * np.random.default_rng(0).normal(size=(12, 3))
    vectors[1] = [0.1, 3, 0]
    names = np.repeat(["a", "b", "c"], 4)
    found = find_outliers(vectors, names, [0, 1, 5])
    assert found.outlier.tolist() == [False, True, False]
    assert found.identities.tolist() == ["a", "b"]
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1)
    # One utterance of an identity has no other one to be near to.
    assert find_outliers(vectors[[0, 4, 5]], names[[0, 4, 5]], [0]).outlier.tolist() == [True]


def test_systems_of_lowest_error_rate_are_chosen():
    def scored(name, mode, rate):
        return Scored(name, mode, rate, np.zeros(3))

    fused = [scored(f"f{n}", "AVxAV", 0.1 * n) for n in (3, 1, 2, 5, 4)]
    found = [*fused, scored("a", "AxA", 0.3), scored("b", "AxA", 0.2), scored("c", "AxA", 0.2), scored("v", "VxV", 0.4)]
    chosen = choose(found)
    assert [x.system for x in chosen.singles] == ["b", "v"]
    assert [x.system for x in chosen.fused] == ["f1", "f2", "f3", "f4"]
    assert len(chosen.fused) == MAX_FUSED
    assert choose([x for x in found if x.mode != "VxV"]) is None
    assert choose(fused) is None


def test_hard_utterances_are_those_that_all_systems_embed():
    """Utterance 1 of 'a' is among those of 'b' for the voice; utterance 5 has no face."""
    identities = np.repeat(["a", "b", "c"], 3)
    voice = np.repeat(np.eye(3), 3, axis=0).astype(np.float32)
    voice[1] = [0.1, 1, 0]
    face = np.repeat(np.eye(3), 3, axis=0).astype(np.float32)
    there = np.ones(9, dtype=bool)
    there[5] = False
    face[5] = 0
    spaces = {"v": Embeddings(voice, np.ones(9, dtype=bool)), "f": Embeddings(face, there)}
    shares = [np.array([0.0, 0.6, 0, 0.2, 0, 1.0, 0, 0, 0.5]), np.array([0.0, 0.4, 0.2, 0.2, 0, 1.0, 0, 0, 0.3])]
    singles = [Scored("v", "AxA", 0.1, shares[0]), Scored("f", "VxV", 0.1, shares[1])]
    found = hard_samples(singles, spaces, identities, count=3)
    assert found.rows.tolist() == [1, 8, 3]
    assert found.outliers["v"].outlier.tolist() == [True, False, False]
    assert found.outliers["f"].outlier.tolist() == [False, False, False]
    assert found.outliers["f"].identities.tolist() == ["a", "b", "c"]
    # Rows of a space without an utterance are counted without it.
    np.testing.assert_allclose(found.outliers["f"].vectors[:3], face[[1, 8, 3]])

    table = hard_table(found, [f"u{n}" for n in range(9)], identities, singles)
    assert list(table) == ["utterance", "identity", "v errors", "f errors", "v outlier", "f outlier"]
    assert table.to_numpy().tolist() == [
        ["u1", "a", 0.6, 0.4, 1, 0],
        ["u8", "c", 0.5, 0.3, 0, 0],
        ["u3", "b", 0.2, 0.2, 0, 0],
    ]
