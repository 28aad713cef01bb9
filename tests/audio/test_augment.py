"""Noise at the requested level, rooms as direct convolution, choices from the lists, dependence on the generator."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from avsv.audio import augment
from avsv.audio.augment import NoiseReverb, reverberate, scale_to_snr
from avsv.audio.wav import float_to_int16, int16_to_float, wav_bytes
from avsv.errors import DataError
from avsv.io.lists import write_list

RATE = 16000


@pytest.fixture
def clean():
    return (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)


@pytest.fixture
def lists(tmp_path):
    """Folders of 3 noises, 2 pieces of music, 8 voices and 2 rooms; each file has its own constant value."""

    def make(types=("noise", "music", "speech"), seconds=3.0, rooms=True):
        counts = {"noise": 3, "music": 2, "speech": 8}
        sources, kinds = {}, {}
        for kind in types:
            for number in range(counts[kind]):
                key = f"{kind}-{number}"
                path = tmp_path / f"{key}.wav"
                rng = np.random.default_rng(number)
                samples = float_to_int16(0.2 * rng.standard_normal(int(seconds * RATE)).astype(np.float32))
                path.write_bytes(wav_bytes(samples, RATE))
                sources[key], kinds[key] = str(path), kind
        for name in ("musan", "rirs"):
            (tmp_path / name).mkdir(exist_ok=True)
        write_list(tmp_path / "musan" / "wav.scp", sources)
        write_list(tmp_path / "musan" / "utt2type", kinds)
        responses = {}
        for number in range(2):
            response = 0.5 * np.exp(-np.arange(4000) / (400 * (number + 1)))
            (tmp_path / f"room{number}.wav").write_bytes(wav_bytes(float_to_int16(response), RATE))
            responses[f"room{number}"] = str(tmp_path / f"room{number}.wav")
        write_list(tmp_path / "rirs" / "wav.scp", responses)
        return tmp_path / "musan", tmp_path / "rirs" if rooms else None

    return make


@pytest.mark.parametrize("level", [1.0, 1e-4])
def test_five_decibels_are_five_decibels(clean, level):
    noise = np.random.default_rng(1).uniform(-0.3, 0.3, len(clean)).astype(np.float32)
    added = scale_to_snr(noise, level * clean, 5.0).astype(np.float64)
    measured = 10 * np.log10(np.mean((level * clean).astype(np.float64) ** 2) / np.mean(added**2))
    assert measured == pytest.approx(5.0, abs=1e-4)
    assert added.std() > 0 and scale_to_snr(noise, level * clean, 5.0).dtype == np.float32


def test_silent_noise_adds_nothing(clean):
    assert not scale_to_snr(np.zeros_like(clean), clean, 0.0).any()
    assert not scale_to_snr(clean, np.zeros_like(clean), 0.0).any()


def test_an_impulse_is_no_room(clean):
    impulse = np.zeros(100, np.float32)
    impulse[0] = 0.3
    assert np.allclose(reverberate(clean, impulse), clean, atol=1e-6)
    assert reverberate(clean, impulse).dtype == np.float32
    assert np.allclose(reverberate(clean, np.roll(impulse, 7))[7:], clean[:-7], atol=1e-6)


@pytest.mark.parametrize("length", [1, 50, 16000, 30000])
def test_a_room_is_a_direct_convolution(clean, length):
    response = np.random.default_rng(2).standard_normal(length)
    expected = np.convolve(clean[:3000].astype(np.float64), response / np.linalg.norm(response))[:3000]
    assert np.allclose(reverberate(clean[:3000], response), expected, atol=1e-5)


def test_choices_are_equally_likely_and_shrink_with_the_lists(lists, clean, monkeypatch):
    noise = NoiseReverb(*lists())
    assert noise.choices == ["clean", "reverb", "music", "babble", "noise"]
    drawn = Counter()
    monkeypatch.setattr(NoiseReverb, "apply", lambda self, choice, waveform, rng: drawn.update([choice]))
    rng = np.random.default_rng(0)
    for _ in range(5000):
        noise(clean, rng)
    # Four standard deviations of a binomial around 1000.
    assert len(drawn) == 5 and all(abs(count - 1000) < 4 * 28.3 for count in drawn.values())
    assert NoiseReverb(*lists(types=("noise",))).choices == ["clean", "reverb", "noise"]
    assert NoiseReverb(*lists(types=("speech", "music"), rooms=False)).choices == ["clean", "music", "babble"]
    assert NoiseReverb(None, None).choices == ["clean"]


@pytest.mark.parametrize(
    ("choice", "files", "low", "high"), [("noise", (1, 1), 0, 15), ("music", (1, 1), 5, 15), ("babble", (3, 7), 13, 20)]
)
def test_numbers_of_files_and_levels(lists, clean, monkeypatch, choice, files, low, high):
    noise = NoiseReverb(*lists())
    draws = []

    def record(added, waveform, snr):
        draws[-1].append(snr)
        return scale_to_snr(added, waveform, snr)

    monkeypatch.setattr(augment, "scale_to_snr", record)
    rng = np.random.default_rng(0)
    for _ in range(200):
        draws.append([])
        noise.apply(choice, clean, rng)
    assert {len(draw) for draw in draws} == set(range(files[0], files[1] + 1))
    levels = np.concatenate(draws)
    assert low <= levels.min() < low + 0.05 * (high - low) and high - 0.05 * (high - low) < levels.max() <= high
    assert len(np.unique(levels)) == len(levels)


def test_babble_is_the_clean_clip_and_windows_of_its_files(lists, clean):
    """Least squares on all windows of the files: only a few have weight, and they explain everything."""
    musan, rirs = lists(seconds=1.0)
    noisy = NoiseReverb(musan, rirs).apply("babble", clean, np.random.default_rng(3))
    # The files are as long as the clip, so there is one window of each.
    voices = np.stack(
        [
            int16_to_float(float_to_int16(0.2 * np.random.default_rng(n).standard_normal(RATE).astype(np.float32)))
            for n in range(8)
        ],
        axis=1,
    )
    weights, *_ = np.linalg.lstsq(voices, noisy - clean, rcond=None)
    used = np.abs(weights) > 1e-4
    assert 3 <= used.sum() <= 7
    assert np.allclose(voices @ weights, noisy - clean, atol=1e-5)
    powers = 10 * np.log10(np.mean(clean**2) / np.mean((voices[:, used] * weights[used]) ** 2, axis=0))
    assert powers.min() >= 13 and powers.max() <= 20 and len(set(powers.round(3))) == used.sum()


def test_a_short_noise_is_repeated(lists, clean):
    musan, _ = lists(types=("noise",), seconds=0.25, rooms=False)
    added = NoiseReverb(musan, None).apply("noise", clean, np.random.default_rng(0)) - clean
    period = RATE // 4
    assert np.allclose(added[:period], added[period : 2 * period], atol=1e-6) and added.std() > 0


@pytest.mark.parametrize("choice", ["clean", "reverb", "music", "babble", "noise"])
def test_equal_generators_give_equal_bits(lists, clean, choice):
    before = clean.copy()
    musan, rirs = lists()
    results = [NoiseReverb(musan, rirs).apply(choice, clean, np.random.default_rng(7)) for _ in range(2)]
    assert np.array_equal(*results) and np.array_equal(clean, before)
    assert results[0].dtype == np.float32 and len(results[0]) == len(clean)
    if choice != "clean":
        others = [NoiseReverb(musan, rirs).apply(choice, clean, np.random.default_rng(seed)) for seed in range(8, 16)]
        assert not all(np.array_equal(results[0], other) for other in others)


def test_only_the_window_of_a_long_noise_is_read(lists, clean):
    musan, _ = lists(types=("music",), seconds=120.0, rooms=False)
    noise = NoiseReverb(musan, None)

    def bytes_read():
        return int(Path("/proc/self/io").read_text().split()[1])

    noise.apply("music", clean, np.random.default_rng(0))
    before = bytes_read()
    for seed in range(50):
        noise.apply("music", clean, np.random.default_rng(seed))
    # A window and a header or buffer each, while the whole recording has 120 * RATE * 2 bytes.
    assert (bytes_read() - before) / 50 < len(clean) * 2 + 100_000


def test_bad_lists_are_named(lists, clean, tmp_path):
    musan, rirs = lists()

    def message(change):
        types = {f"noise-{n}": "noise" for n in range(3)}
        sources = {key: str(tmp_path / f"{key}.wav") for key in types}
        change(sources, types)
        write_list(musan / "wav.scp", sources)
        write_list(musan / "utt2type", types)
        with pytest.raises(DataError) as caught:
            NoiseReverb(musan, rirs).apply("noise", clean, np.random.default_rng(0))
        return str(caught.value)

    assert message(lambda s, t: t.pop("noise-1")) == f"{musan}/utt2type: no line for 'noise-1'"
    assert message(lambda s, t: s.pop("noise-1")) == f"{musan}/wav.scp: no line for 'noise-1'"
    assert (
        message(lambda s, t: t.update({"noise-1": "hum"}))
        == f"{musan}/utt2type:2: type 'hum', expected one of noise, music, speech"
    )
    (tmp_path / "slow.wav").write_bytes(wav_bytes(np.ones(100, np.int16), 8000))
    only_slow = {"noise-0": str(tmp_path / "slow.wav")}
    reason = message(lambda s, t: (s.clear(), t.clear(), s.update(only_slow), t.update({"noise-0": "noise"})))
    assert reason.startswith(f"{tmp_path}/slow.wav: sample rate 8000, expected 16000: windows can be read from")
    (tmp_path / "slow.wav").write_bytes(wav_bytes(np.ones(0, np.int16), RATE))
    with pytest.raises(DataError, match=r"slow\.wav: no samples"):
        NoiseReverb(musan, None).apply("noise", clean, np.random.default_rng(0))
    with pytest.raises(DataError, match=f"{tmp_path}/none/wav.scp: no such file"):
        NoiseReverb(None, tmp_path / "none")
    for number in range(2):
        (tmp_path / f"room{number}.wav").write_bytes(wav_bytes(np.zeros(100, np.int16), RATE))
    with pytest.raises(DataError, match=r"room\d\.wav: the room response is all zero"):
        NoiseReverb(None, rirs).apply("reverb", clean, np.random.default_rng(0))
