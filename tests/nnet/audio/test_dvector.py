"""The d-vector network compared with numpy and with the package whose weights it takes."""

import numpy as np
import pytest
import torch
from networks import count_parameters

from avsv.nnet.audio.dvector import DVector, count_partials

LENGTHS = [400, 12_000, 25_599, 25_600, 36_479, 36_480, 36_481, 50_000, 100_003]


def slaney_filters(bins: int) -> np.ndarray:
    """Triangles (bins, 201) of area 1 on Slaney's scale: 200/3 Hz a mel below 1 kHz, a factor of 6.4 in 27 above."""
    top = 15 + 27 * np.log(8) / np.log(6.4)
    mels = np.linspace(0, top, bins + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    hertz = np.arange(201) * 40.0
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)).clip(min=0)
    return triangles * 2 / (high - low)


def reference(net: DVector, samples: np.ndarray) -> np.ndarray:
    """The embedding of one utterance: amplification, spectrum and partial utterances as in the package, in numpy."""
    level = 20 * np.log10(np.sqrt(np.mean(samples**2)))
    samples = samples * 10 ** (max(-30 - level, 0) / 20)
    starts = list(range(0, max(1, -(-(len(samples) + 1) // 160) - 160 + 77 + 1), 77))
    if len(starts) > 1 and (len(samples) - starts[-1] * 160) / 25_600 < 0.75:
        starts.pop()
    padded = np.pad(samples, (200, max(0, (starts[-1] + 160) * 160 - len(samples)) + 200))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([padded[at : at + 400] * window for at in range(0, len(padded) - 399, 160)])
    mel = np.abs(np.fft.rfft(frames)) ** 2 @ slaney_filters(net.lstm.input_size).T
    partials = []
    for start in starts:
        _, (state, _) = net.lstm(torch.from_numpy(mel[None, start : start + 160]))
        vector = net.linear(state[-1, 0]).relu().detach().numpy()
        partials.append(vector / np.linalg.norm(vector))
    mean = np.mean(partials, axis=0)
    return mean / np.linalg.norm(mean)


def utterances() -> list[np.ndarray]:
    """Noise of several lengths, some louder and some quieter than -30 dB."""
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.1 if row % 2 else 0.003, length) for row, length in enumerate(LENGTHS)]


def test_parameters():
    """Four gates of each layer, two biases each, and the linear layer."""
    layers = [4 * 256 * (size + 256 + 2) for size in (40, 256, 256)]
    assert count_parameters(DVector()) == sum(layers) + 256 * 257
    assert set(DVector().state_dict()) == {
        *(f"lstm.{kind}_l{layer}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") for layer in range(3)),
        "linear.weight",
        "linear.bias",
    }


def test_embeddings_equal_a_computation_in_numpy():
    net = DVector(mel_bins=20, channels=12, layers=2, embedding_dim=10).double().eval()
    for samples in utterances():
        with torch.inference_mode():
            found = net(torch.from_numpy(samples)[None])[0].numpy()
        np.testing.assert_allclose(found, reference(net, samples), rtol=1e-6, atol=1e-8)


def test_long_recordings_are_processed_in_pieces(monkeypatch):
    net = DVector(mel_bins=20, channels=12, layers=1, embedding_dim=10).eval()
    samples = 0.1 * torch.randn(2, 100_000)
    whole = net(samples)
    monkeypatch.setattr("avsv.nnet.audio.dvector.PIECE", 3)
    torch.testing.assert_close(net(samples), whole)


def test_silence_and_single_samples_give_finite_embeddings():
    net = DVector(channels=8, layers=1).eval()
    for samples in (torch.zeros(1, 16_000), torch.zeros(1, 1), torch.full((1, 1), 1e-20)):
        assert net(samples).isfinite().all()
    with pytest.raises(ValueError, match=r"DVector: samples of shape \(2, 3, 4\), expected \(B, n\)"):
        net(torch.zeros(2, 3, 4))


def test_weights_of_another_network_are_refused():
    net, state = DVector(), DVector().state_dict()
    scales = {"similarity_weight": torch.ones(1), "similarity_bias": torch.ones(1)}
    assert net.convert_published({**state, **scales}).keys() == state.keys()
    for changes, message in (
        ({"linear.bias": torch.ones(3)}, r"linear.bias has shape \(3,\), expected \(256,\)"),
        ({"lstm.weight_ih_l3": torch.ones(1)}, "lstm.weight_ih_l3: not part of this network"),
    ):
        with pytest.raises(ValueError, match=message):
            net.convert_published({**state, **changes})
    with pytest.raises(ValueError, match=r"linear\.bias: missing"):
        net.convert_published({key: value for key, value in state.items() if key != "linear.bias"})


def test_the_published_network_gives_the_same_embeddings():
    package = pytest.importorskip("resemblyzer", exc_type=ImportError)
    theirs = package.VoiceEncoder("cpu", verbose=False)
    net = DVector().eval()
    net.load_state_dict(net.convert_published({**theirs.state_dict()}))
    for samples in utterances():
        times = np.arange(len(samples)) / 16_000
        voiced = samples + 0.02 * np.sin(2 * np.pi * 150 * times * (1 + 0.1 * np.sin(times)))
        voiced = voiced.astype(np.float32)
        wanted = theirs.embed_utterance(package.audio.normalize_volume(voiced, -30, increase_only=True))
        with torch.inference_mode():
            found = net(torch.from_numpy(voiced)[None])[0].numpy()
        assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()
        assert count_partials(torch.tensor(len(samples))) == len(
            theirs.compute_partial_slices(len(samples), 1.3, 0.75)[0]
        )
