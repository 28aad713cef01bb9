"""Filterbanks compared with torchaudio and closed forms; mean normalization; SpecAugment; the configuration."""

import math

import numpy as np
import pytest
import torch
from paths import ROOT
from torchaudio.compliance import kaldi

from avsv.audio.augment import draw_masks, hide
from avsv.audio.config import FbankConfig, load_fbank_config
from avsv.audio.fbank import Fbank, mean_normalize, mel_filters
from avsv.errors import DataError
from avsv.seeding import Counter


def speech_like(samples: int, seed: int = 0) -> torch.Tensor:
    """Noise with a falling spectrum and a changing level, with an offset."""
    rng = np.random.default_rng(seed)
    noise = np.cumsum(rng.standard_normal(samples)) * 0.97 ** np.arange(samples).clip(max=200)
    noise = 0.02 * rng.standard_normal(samples) + 0.01 * np.sin(np.arange(samples) / 30) + 1e-4 * noise
    return torch.from_numpy((noise * (1 + np.sin(np.arange(samples) / 4000)) + 0.05).astype(np.float32))


@pytest.mark.parametrize(
    "conf",
    [
        {},
        {"window": "povey", "num_mel_bins": 40},
        {"window": "hanning", "low_freq": 64.0, "high_freq": -400.0, "preemphasis": 0.0},
        {"sample_rate": 8000, "frame_length": 32.0, "frame_shift": 8.0, "num_mel_bins": 24, "high_freq": 3800.0},
    ],
)
def test_equal_to_torchaudio(conf):
    waveform = speech_like(48123)
    fbank = Fbank(**conf)
    config = fbank.config
    expected = kaldi.fbank(
        waveform[None] * 32768,
        sample_frequency=config.sample_rate,
        frame_length=config.frame_length,
        frame_shift=config.frame_shift,
        num_mel_bins=config.num_mel_bins,
        low_freq=config.low_freq,
        high_freq=config.high_freq,
        window_type=config.window,
        preemphasis_coefficient=config.preemphasis,
    )
    ours = fbank(waveform)
    assert ours.shape == expected.shape
    assert ((ours - expected).abs() / expected.abs().clamp(min=1)).max() < 1e-3
    assert (ours - expected).abs().mean() < 1e-4


def test_no_less_precise_than_torchaudio():
    """Both compared with the definition in double precision."""
    waveform = speech_like(16000)
    frames = (waveform.double() * 32768).unfold(0, 400, 160)
    frames = frames - frames.mean(1, keepdim=True)
    frames = frames - 0.97 * torch.cat([frames[:, :1], frames[:, :-1]], 1)
    frames = frames * (0.54 - 0.46 * torch.cos(2 * math.pi * torch.arange(400, dtype=torch.float64) / 399))
    power = torch.fft.rfft(frames, 512).abs().square()
    edges = 700 * torch.expm1(torch.linspace(math.log1p(20 / 700), math.log1p(8000 / 700), 82, dtype=torch.float64))
    mel = torch.log1p(torch.arange(257, dtype=torch.float64) * 16000 / 512 / 700)
    left, center, right = (torch.log1p(part / 700) for part in (edges[:-2], edges[1:-1], edges[2:]))
    weights = torch.minimum((mel[:, None] - left) / (center - left), (right - mel[:, None]) / (right - center)).clamp(
        min=0
    )
    exact = (power @ weights).log()
    theirs = kaldi.fbank(waveform[None] * 32768, num_mel_bins=80, window_type="hamming")
    # The level of rounding errors, not of a difference in the method, and of the same order as in torchaudio.
    assert (Fbank()(waveform) - exact).abs().mean() < 2 * (theirs - exact).abs().mean() + 1e-6
    assert (Fbank()(waveform) - exact).abs().max() < 5e-3


def test_a_batch_is_its_rows_and_long_audio_its_parts():
    waveforms = torch.stack([speech_like(20000, seed) for seed in range(3)])
    fbank = Fbank()
    assert torch.allclose(fbank(waveforms), torch.stack([fbank(row) for row in waveforms]), atol=1e-4)
    long = speech_like(160 * 5000 + 240)
    assert torch.allclose(fbank(long)[3000:3100], fbank(long[160 * 3000 : 160 * 3100 + 240]), atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "frames"), [(24000, 148), (32000, 198), (48000, 298), (400, 1), (559, 1), (560, 2)]
)
def test_number_of_frames(samples, frames):
    assert Fbank()(speech_like(samples)).shape == (frames, 80)


def test_too_short_is_an_error():
    with pytest.raises(DataError, match=r"^399 samples: shorter than one frame \(400\)$"):
        Fbank()(torch.zeros(399))


def test_ten_times_louder_is_a_constant_that_normalization_removes():
    fbank, waveform = Fbank(), 0.05 * torch.randn(32000, generator=torch.Generator().manual_seed(0))
    soft, loud = fbank(waveform), fbank(10 * waveform)
    # A bin in which the spectrum nearly cancels out shows rounding errors, as in torchaudio.
    assert ((loud - soft - 4.605170).abs() < 2e-4).float().mean() > 0.9999
    assert ((mean_normalize(loud) - mean_normalize(soft)).abs() < 2e-4).float().mean() > 0.9999
    assert mean_normalize(loud).mean(dim=0).abs().max() < 1e-4


@pytest.mark.parametrize(("frequency", "bin_"), [(500, 16), (1000, 27), (2000, 42), (4000, 60)])
def test_tones_peak_in_their_bins(frequency, bin_):
    tone = 0.5 * torch.sin(2 * torch.pi * frequency * torch.arange(16000) / 16000)
    assert (Fbank()(tone).argmax(dim=1) == bin_).all()


def test_digital_silence_is_the_floor():
    assert torch.allclose(Fbank()(torch.zeros(800)), torch.tensor(math.log(torch.finfo(torch.float32).eps)))


def test_dither_is_noise_of_one_step():
    fbank, silence = Fbank(), torch.zeros(16000)
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(1))
    first = fbank(silence, noise)
    assert torch.allclose(first, fbank(noise / 32768), atol=1e-4)
    # White noise of one 16-bit step: the expected power in a bin is the filter's weight times the window's energy.
    window, filters = fbank.window.double(), fbank.filters.double()
    frequencies = torch.arange(257, dtype=torch.float64) / 512 * 2 * math.pi
    emphasis = 1 + 0.97**2 - 2 * 0.97 * torch.cos(frequencies)
    expected = ((emphasis * window.square().sum()) @ filters)[20:].log()
    measured = first.double()[:, 20:].exp().mean(0).log()
    assert (measured - expected).abs().mean() < 0.15
    assert torch.equal(fbank(silence), Fbank(dither=0.0)(silence, noise))


def test_a_batch_of_any_length_is_its_recordings_one_by_one():
    # Blocks are of several recordings, or several to a recording.
    fbank = Fbank()
    for samples in (2000, 32000, 16000 * 25):
        batch = torch.stack([speech_like(samples) * scale for scale in (0.1, 0.5, 1.0)] * 3)
        torch.testing.assert_close(fbank(batch), torch.stack([fbank(one) for one in batch]), atol=1e-5, rtol=0)


def test_mean_normalization_sees_valid_frames_only():
    features = 12 + 3 * torch.randn(2, 300, 80, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(300) < torch.tensor([[300], [170]])
    padded = features.masked_fill(~mask.unsqueeze(2), 1e6)
    normalized = mean_normalize(padded, mask)
    assert torch.allclose(normalized[1, :170], mean_normalize(features[1, :170]), atol=1e-5)
    assert torch.allclose(normalized[0], mean_normalize(features[0]), atol=1e-5)
    assert (normalized[1, 170:] == 0).all()
    assert normalized.sum(1).abs().max() / 170 < 1e-4
    with pytest.raises(ValueError, match="no valid frame"):
        mean_normalize(features, torch.zeros(2, 300, dtype=torch.bool))


def test_spec_augment_hides_one_stretch_each_way():
    masks = torch.tensor([draw_masks(Counter(seed), 198, 80) for seed in range(500)])
    masked = hide(torch.ones(500, 198, 80), masks)
    hidden = masked == 0
    rows, columns = hidden.all(dim=2), hidden.all(dim=1)
    wt, wf = rows.sum(dim=1), columns.sum(dim=1)
    assert torch.equal(hidden.sum(dim=(1, 2)), wt * 80 + wf * 198 - wt * wf)
    # Every width and the outermost places occur, nothing larger, and each stretch is in one piece.
    assert sorted(set(wt.tolist())) == list(range(6)) and sorted(set(wf.tolist())) == list(range(11))
    assert columns[:, 0].any() and columns[:, -1].any()
    for stretches in (rows, columns):
        starts = (stretches[:, 1:] & ~stretches[:, :-1]).sum(dim=1) + stretches[:, 0]
        assert torch.equal(starts, stretches.any(dim=1).long())


def test_spec_augment_fits_short_clips():
    features = torch.randn(1, 7, 3, generator=torch.Generator().manual_seed(0))
    before = features.clone()
    for seed in range(100):
        first, last, low, high = masks = draw_masks(Counter(seed), 7, 3, 20, 20)
        assert 0 <= first <= last <= 7 and 0 <= low <= high <= 3
        hidden = hide(features, torch.tensor([masks]))
        expected = features.clone()
        expected[:, first:last], expected[:, :, low:high] = 0, 0
        assert torch.equal(hidden, expected) and torch.equal(features, before)
    assert torch.equal(hide(features, torch.tensor([draw_masks(Counter(5), 7, 3, 0, 0)])), features)


@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100])
@pytest.mark.parametrize("bins", [40, 80, 96, 128])
@pytest.mark.parametrize("length", [10.0, 20.0, 25.0, 32.0])
def test_settings_are_refused_only_if_a_filter_is_empty(monkeypatch, sample_rate, bins, length):
    conf = {"sample_rate": sample_rate, "num_mel_bins": bins, "frame_length": length}
    try:
        FbankConfig(**conf)
        refused = False
    except ValueError:
        refused = True
    monkeypatch.setattr(FbankConfig, "_check_filters", lambda self: None)
    assert refused == bool((mel_filters(FbankConfig(**conf)).sum(dim=0) < 1e-9).any())


def test_the_configuration_in_the_repository_holds_the_defaults():
    assert load_fbank_config(ROOT / "conf" / "fbank.yaml") == FbankConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_mel_bin: 80", "num_mel_bin: unknown key: did you mean 'num_mel_bins'?"),
        ("num_mel_bins: many", "num_mel_bins: expected a whole number, not the text many"),
        ("resample: 1", "resample: expected true or false, not the number 1"),
        ("num_mel_bins: 0", "num_mel_bins: 0: must be larger than 0"),
        (
            "num_mel_bins: 128",
            "num_mel_bins: 128: 1 of the filters would contain no frequency of frames of 25 ms: choose fewer filters"
            " or a longer frame_length",
        ),
        (
            "frame_length: 5",
            "num_mel_bins: 80: 13 of the filters would contain no frequency of frames of 5 ms: choose fewer filters"
            " or a longer frame_length",
        ),
        ("window: haming", "window: haming: did you mean 'hamming'?"),
        ("frame_shift: 0.01", "frame_shift: 0.01: less than a sample of 16000 Hz"),
        ("high_freq: 9000", "high_freq: 9000: leaves no band between low_freq 20 and 8000 Hz"),
        ("dither: -1", "dither: -1.0: must not be negative"),
        ("preemphasis: 1.5", "preemphasis: 1.5: must be 0 to 1"),
    ],
)
def test_bad_settings_are_named(tmp_path, text, message):
    path = tmp_path / "fbank.yaml"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        load_fbank_config(path)
    assert str(caught.value) == f"{path}: {message}"
