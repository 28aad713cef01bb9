"""Counters against the published generator, and the distribution of their numbers."""

import numpy as np
import pytest

from avsv.seeding import Counter, Draw, seed_for


def test_counters_are_the_published_generator():
    """The first numbers of the reference implementation in C (prng.di.unimi.it/splitmix64.c) for the seed 1234567."""
    counter = Counter(1234567)
    assert [counter.bits() for _ in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_numbers_fill_their_range_evenly():
    counter = Counter(seed_for(0, "test"))
    counts = np.bincount([counter.integers(3, 10) for _ in range(7000)], minlength=10)
    # Four standard deviations of a binomial around 1000.
    assert not counts[:3].any() and np.abs(counts[3:] - 1000).max() < 4 * 29.3
    drawn = np.array([counter.uniform(-1.0, 3.0) for _ in range(4000)])
    assert -1 <= drawn.min() < -0.98 and 2.98 < drawn.max() < 3
    assert drawn.mean() == pytest.approx(1.0, abs=4 * 4 / 12**0.5 / 4000**0.5)
    assert [counter.integers(1) for _ in range(3)] == [0, 0, 0]


def test_draws_of_neighbors_have_nothing_in_common():
    """The same draw of neighboring epochs and utterances, and neighboring draws of one, are not correlated."""
    numbers = np.array(
        [[Draw(0, epoch, f"utt{key}").counter("noise").uniform(0.0, 1.0) for epoch in range(40)] for key in range(100)]
    )
    for other in (np.roll(numbers, 1, axis=0), np.roll(numbers, 1, axis=1)):
        assert abs(np.corrcoef(numbers.ravel(), other.ravel())[0, 1]) < 4 / 4000**0.5
