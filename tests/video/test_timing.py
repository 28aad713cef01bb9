"""Frame rates: the examples of the specification, and brute force over every frame."""

from fractions import Fraction

import numpy as np
import pytest

from avsv.video.timing import resample, select_frames

RATES = [2, 6, 12.5, 24, 25, 29.97, 30, 50, 59.94]


def test_two_seconds_as_specified():
    assert select_frames(50, 25, 25).tolist() == list(range(50))
    assert len(select_frames(50, 25, 6)) == 12
    assert select_frames(3, 25, 25).tolist() == [0, 1, 2]


@pytest.mark.parametrize("source", RATES)
@pytest.mark.parametrize("wanted", RATES)
def test_every_frame_is_the_one_shown_at_its_middle(source, wanted):
    source_rate, wanted_rate = Fraction(str(source)), Fraction(str(wanted))
    for num in (1, 2, 7, 50, 163):
        indices = select_frames(num, source, wanted)
        middles = [(j + Fraction(1, 2)) / wanted_rate for j in range(len(indices) + 2)]
        inside = [time for time in middles if time < num / source_rate] or middles[:1]
        assert indices.tolist() == [min(int(time * source_rate), num - 1) for time in inside]


@pytest.mark.parametrize(("source", "wanted"), [(25, 6), (25, 25), (6, 25), (29.97, 25), (30, 12.5)])
def test_streaming_agrees_with_selection(source, wanted):
    rate = Fraction(str(source))
    frames = [(n / rate, (n + 1) / rate, n) for n in range(61)]
    streamed = [n for n, count in resample(frames, Fraction(str(wanted))) for _ in range(count)]
    assert streamed == select_frames(61, source, wanted).tolist()


def test_a_gap_holds_the_frame_before_it():
    tick = Fraction(1, 25)
    frames = [(n * tick, (n + 1) * tick, n) for n in (0, 1, 2, 7, 8)]
    streamed = [n for n, count in resample(frames, Fraction(25)) for _ in range(count)]
    assert streamed == [0, 1, 2, 2, 2, 2, 2, 7, 8]


def test_no_frames():
    assert list(resample([], Fraction(25))) == []
    with pytest.raises(ValueError, match="no frames"):
        select_frames(0, 25, 25)


def test_indices_are_integers_of_any_length():
    assert select_frames(10**6, 30, 25).dtype == np.int64
