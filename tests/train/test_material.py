"""The data of a training as it is read: labels and faces that are wrong on purpose."""

from pathlib import Path

import numpy as np
import pytest

from avsv.data.lists import PackedStrings, UtteranceTable
from avsv.train.material import _relabeled, _with_other_faces


@pytest.fixture
def table():
    """Four utterances of each of ten speakers; every fifth has no face."""
    numbers = [str(number) for number in range(40)]
    speakers = PackedStrings(f"s{number // 4}" for number in range(40))
    seen = np.array([number % 5 > 0 for number in range(40)])
    video = PackedStrings(f"face{number}" if there else "" for number, there in enumerate(seen))
    frames = np.where(seen, np.arange(40), 0).astype(np.int32)
    audio = PackedStrings(f"voice{number}" for number in numbers)
    return UtteranceTable(Path(), PackedStrings(numbers), speakers, audio, np.ones(40, np.int32), video, frames)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_share_of_the_utterances_gets_another_speaker(table, share):
    before = list(table.speakers)
    found = list(_relabeled(table, share, seed=3).speakers)
    assert sum(one != other for one, other in zip(found, before, strict=True)) == round(share * 40)
    assert sorted(found) == sorted(before)
    assert list(table.speakers) == before


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_utterances_shows_another_identity(table, share):
    """Of the 32 with a face; the face keeps its number of frames, the voices and labels stay."""
    found = _with_other_faces(table, share, seed=3)
    assert list(found.speakers) == list(table.speakers) and list(found.audio) == list(table.audio)
    assert sorted(found.video) == sorted(table.video)
    wrong = 0
    for number, (video, frames) in enumerate(zip(found.video, found.video_frames.tolist(), strict=True)):
        if number % 5 == 0:
            assert (video, frames) == ("", 0)
        else:
            shown = int(video.removeprefix("face"))
            assert frames == shown
            wrong += shown // 4 != number // 4
            assert shown == number or shown // 4 != number // 4
    assert wrong == round(share * 32)
    assert list(table.video)[1] == "face1"
