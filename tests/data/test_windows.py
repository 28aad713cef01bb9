"""Features of a training batch from its waveforms, against those of whole recordings."""

import numpy as np
import pytest
import torch

from avsv.audio.config import FbankConfig
from avsv.data.audio_source import FrontEnd
from avsv.data.inputs import Inputs
from avsv.data.windows import WaveformWindows

QUIET = FbankConfig(dither=0.0)


def waveforms(*sizes: int) -> list[torch.Tensor]:
    rng = np.random.default_rng(0)
    return [torch.from_numpy((0.1 * rng.standard_normal(size)).astype(np.float32)) for size in sizes]


def test_training_and_extraction_see_the_same_features():
    sounds = waveforms(31920, 16000, 400, 9999)
    windows = WaveformWindows.of([*sounds, None], range(5), QUIET, 198)
    features, front_end = windows.features(), FrontEnd(Inputs(QUIET))
    for row, sound in enumerate(sounds):
        expected = front_end(sound.numpy())
        assert windows.mask[row].sum() == len(expected)
        torch.testing.assert_close(features[row, : len(expected)], expected, atol=1e-3, rtol=0)
        assert not features[row, len(expected) :].any()
    assert not windows.mask[4].any() and not features[4].any()


def test_dither_depends_on_its_number_only():
    form = FbankConfig(dither=3.0)
    silence = [torch.zeros(31920)] * 3

    def features(*numbers: int) -> torch.Tensor:
        return WaveformWindows.of(silence[: len(numbers)], numbers, form, 198).features()

    three = features(2**63 - 1, 5, 2**62)
    torch.testing.assert_close(three[1], features(5)[0], atol=1e-5, rtol=0)
    assert not torch.allclose(three[0], three[1], atol=0.1)


@pytest.mark.parametrize("number", [0, (1 << 20) - 1, 1 << 20, 2**63 - 1])
def test_every_number_is_a_place(number):
    assert WaveformWindows.of(waveforms(31920), [number], FbankConfig(), 198).features().isfinite().all()
