"""The data of a training as it is read: labels that are wrong on purpose."""

from pathlib import Path

import numpy as np
import pytest

from avsv.data.lists import PackedStrings, UtteranceTable
from avsv.train.material import _relabeled


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_share_of_the_utterances_gets_another_speaker(share):
    speakers = [f"s{number // 4}" for number in range(40)]
    frames, nothing = np.ones(40, np.int32), PackedStrings([""] * 40)
    keys = PackedStrings(str(number) for number in range(40))
    table = UtteranceTable(Path(), keys, PackedStrings(speakers), nothing, frames, nothing, frames)
    found = list(_relabeled(table, share, seed=3).speakers)
    assert sum(one != other for one, other in zip(found, speakers, strict=True)) == round(share * 40)
    assert sorted(found) == sorted(speakers)
    assert list(table.speakers) == speakers
