"""Measures of the quality of voices on signals for which they are known."""

import numpy as np
import pytest

from avsv.audio.quality import voice_quality

RATE = 16000


def bursts(size=4 * RATE):
    """Noise with pauses, half of the time."""
    noise = np.random.default_rng(0).standard_normal(size)
    return (0.1 * noise * (np.arange(size) % RATE < RATE // 2)).astype(np.float32)


def test_level_is_that_of_a_tone():
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert voice_quality(tone.astype(np.float32), RATE).level == pytest.approx(
        20 * np.log10(0.5 / np.sqrt(2)), abs=0.01
    )


@pytest.mark.parametrize("snr", [20, 10, 0])
def test_noise_in_pauses_gives_the_ratio(snr):
    clean = bursts()
    noise = 0.1 * 10 ** (-snr / 20) * np.random.default_rng(1).standard_normal(len(clean))
    # Loud frames contain the noise too.
    expected = 10 * np.log10(10 ** (snr / 10) + 1)
    assert voice_quality((clean + noise).astype(np.float32), RATE).snr == pytest.approx(expected, abs=1)


def test_bandwidth_is_the_share_of_the_frequencies():
    spectrum = np.fft.rfft(np.random.default_rng(2).standard_normal(4 * RATE))
    frequency = np.fft.rfftfreq(4 * RATE, 1 / RATE)
    assert voice_quality(np.fft.irfft(spectrum).astype(np.float32) / 10, RATE).bandwidth == pytest.approx(0, abs=0.01)
    spectrum[(frequency < 500) | (frequency > 2500)] = 0
    found = voice_quality(np.fft.irfft(spectrum).astype(np.float32) / 10, RATE).bandwidth
    assert np.exp(found) == pytest.approx(2000 / 8000, abs=0.03)


def test_clipping_is_the_share_of_the_samples():
    noise = bursts()
    level = np.quantile(np.abs(noise), 0.9)
    assert voice_quality(np.clip(noise, -level, level), RATE).clipping == pytest.approx(10, abs=0.5)
    assert voice_quality(noise, RATE).clipping < 0.01


def test_length_is_that_of_the_voice():
    assert np.exp(voice_quality(bursts(), RATE).length) == pytest.approx(2, abs=0.3)


def test_silence_and_a_few_samples_have_finite_measures():
    for waveform in (np.zeros(RATE, np.float32), np.zeros(1, np.float32), np.ones(100, np.float32)):
        assert np.isfinite(voice_quality(waveform, RATE)).all()
