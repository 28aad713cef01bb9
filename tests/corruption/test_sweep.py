"""Error rates of systems that have no information in some trials."""

import numpy as np
import pytest

from avsv.corruption.sweep import fill_guesses
from avsv.scoring.metrics import eer


def test_guesses_are_wrong_in_half_of_the_trials():
    rng = np.random.default_rng(0)
    is_target = np.arange(40000) % 2 == 0
    scores = rng.standard_normal(40000) + 3 * is_target
    known = rng.random(40000) > 0.3
    rate = eer(scores[known], is_target[known])
    assert eer(fill_guesses(scores[known], known, is_target), is_target) == pytest.approx(
        0.7 * rate + 0.3 / 2, abs=0.01
    )
    assert eer(fill_guesses(scores[:0], np.zeros(40000, bool), is_target), is_target) == 0.5
