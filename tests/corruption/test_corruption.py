"""Each corruption compared with a closed form, on signals, frames and clips; and its dependence on seeds only."""

import numpy as np
import pytest
import torch
from synthetic import FACES, FBANK, config, make_data_dir, make_noise

from avsv.audio.fbank import mean_normalize
from avsv.corruption.clips import corrupted_utterances
from avsv.corruption.codec import CODECS, find_encoder, through_codec
from avsv.corruption.kinds import (
    Corruption,
    check_level,
    conditions,
    format_level,
    read_sweeps,
    why_impossible,
)
from avsv.corruption.mixture import Mixture
from avsv.corruption.sound import DISTANCE, ROOM_VOLUME, Noises, add_room, held_out, room_response
from avsv.corruption.table import KINDS
from avsv.data.audio_source import Waveforms
from avsv.data.clips import WholeUtterances
from avsv.data.lists import read_utterances
from avsv.errors import DataError
from avsv.model.inputs import inputs_of

RATE = 16000
ROWS = np.arange(100)


def decibels(signal, other):
    return 10 * np.log10(np.mean(np.float64(signal) ** 2) / np.mean(np.float64(other) ** 2))


def voice(size=RATE, seed=0):
    """Noise that comes and goes like syllables."""
    envelope = 1 + np.sin(2 * np.pi * 4 * np.arange(size) / RATE)
    return (0.05 * envelope * np.random.default_rng(seed).standard_normal(size)).astype(np.float32)


@pytest.fixture(scope="module")
def noises(tmp_path_factory):
    return Noises(make_noise(tmp_path_factory.mktemp("noises"))[0])


@pytest.mark.parametrize("kind", ["noise", "music", "babble"])
def test_signal_to_noise_ratio_is_the_requested_one(noises, kind):
    clean = voice(40000)  # longer than the recordings
    added = []
    for level in (20, 0, -5):
        noisy = Corruption(kind, level, noises=noises).sound(clean, "id1", RATE)
        added.append(noisy - clean)
        assert noisy.dtype == np.float32
        assert decibels(clean, added[-1]) == pytest.approx(level, abs=0.01)
    # The levels differ only in the level.
    np.testing.assert_allclose(10 * added[0], added[1], atol=1e-5)


def test_babble_has_five_voices_that_are_equally_loud(tmp_path):
    folder, _ = make_noise(tmp_path)
    noises = Noises(folder)
    windows = []
    noises.window = lambda kind, size, rng: windows.append(rng.standard_normal(size) * 3 ** len(windows)) or windows[-1]
    babble = noises.babble(RATE, np.random.default_rng(0))
    assert len(windows) == 5
    expected = sum(window / np.sqrt(np.mean(window**2)) for window in windows)
    np.testing.assert_allclose(babble, expected, atol=1e-5)


def test_noises_are_a_quarter_of_each_type():
    names = [f"n{number:03d}" for number in range(103)]
    kept = held_out(names)
    assert len(kept) == 25
    assert kept == held_out(reversed(names)) == sorted(kept)
    assert held_out(["one"]) == ["one"]


@pytest.mark.parametrize("rt60", [0.3, 1.2])
def test_room_decays_by_60_dB(rt60):
    response = room_response(rt60, np.random.default_rng(1), RATE).astype(np.float64)
    assert response[0] == 1.0
    # Schroeder's backward integration: the slope of the remaining energy.
    energy = np.cumsum(response[:0:-1] ** 2)[::-1]
    level = 10 * np.log10(energy / energy[0])
    early, late = np.argmax(level < -5), np.argmax(level < -35)
    assert 2 * (late - early) / RATE == pytest.approx(rt60, rel=0.05)
    # The ratio of reverberant to direct energy is the squared distance in critical distances.
    assert energy[0] == pytest.approx(DISTANCE**2 / (0.057**2 * ROOM_VOLUME / rt60), rel=1e-3)
    click = np.zeros(RATE, np.float32)
    click[100] = 1
    heard = add_room(click, rt60, np.random.default_rng(1), RATE)
    assert len(heard) == RATE
    assert np.abs(heard[:100]).max() < 1e-6
    assert np.abs(heard).argmax() == 100


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_clipping_reaches_the_requested_share(share):
    clean = voice()
    clipped = Corruption("clipping", share).sound(clean, "id1", RATE)
    level = np.abs(clipped).max()
    assert np.mean(clipped != clean) == pytest.approx(share, abs=1e-4)
    np.testing.assert_array_equal(clipped, np.clip(clean, -level, level))


def test_band_keeps_what_is_inside_and_nothing_else():
    time = np.arange(2 * RATE) / RATE
    tones = {f: np.sin(2 * np.pi * f * time).astype(np.float32) for f in (100, 240, 310, 1000, 3390, 3460, 6000)}
    inner = slice(RATE // 2, -RATE // 2)
    for frequency, tone in tones.items():
        heard = Corruption("band", "300-3400").sound(tone, "id1", RATE)
        gain = decibels(heard[inner], tone[inner])
        if 300 <= frequency <= 3400:
            assert gain == pytest.approx(0, abs=0.01)
        else:
            assert gain < -60
    noise = voice()
    np.testing.assert_allclose(Corruption("band", "0-8000").sound(noise, "id1", RATE), noise, atol=1e-6)


@pytest.mark.parametrize("level", ["opus 16", "mp3 16", "aac 32", "g722", "g711", "amr 12.2"])
def test_codecs_keep_length_and_lose_little(level):
    name = level.split()[0]
    if find_encoder(name) is None:
        pytest.skip(f"no encoder of {name}")
    clean = Corruption("band", "200-3000").sound(voice(), "id1", RATE)
    heard = Corruption("codec", level).sound(clean, "id1", RATE)
    assert (len(heard), heard.dtype) == (RATE, np.float32)
    assert not np.array_equal(heard, clean)
    # Apart from the delay, the output resembles the input.
    lags = np.fft.irfft(np.fft.rfft(heard, 2 * RATE) * np.conj(np.fft.rfft(clean, 2 * RATE)))
    lag = int(np.abs(lags).argmax())
    assert 0 <= (lag + RATE) % (2 * RATE) - RATE < 0.08 * RATE
    assert lags.max() / np.linalg.norm(heard) / np.linalg.norm(clean) > 0.7
    np.testing.assert_array_equal(heard, Corruption("codec", level).sound(clean, "id2", RATE))


def test_mu_law_has_its_quantization_noise():
    """Eight bits of mu-law: about 38 dB for a loud tone, a textbook figure (ITU-T G.711)."""
    tone = (0.5 * np.sin(2 * np.pi * 700 * np.arange(RATE) / RATE)).astype(np.float32)
    heard = through_codec(tone, "g711", None, RATE)
    inner = slice(2000, -2000)
    basis = np.stack([f(2 * np.pi * 700 * np.arange(RATE)[inner] / RATE) for f in (np.sin, np.cos)], axis=1)
    rest = heard[inner] - basis @ np.linalg.lstsq(basis, heard[inner], rcond=None)[0]
    assert 34 < decibels(tone[inner], rest) < 42


def test_codec_that_is_not_there(monkeypatch):
    monkeypatch.setitem(CODECS, "mp3", CODECS["mp3"]._replace(encoders=("libnothing",)))
    assert why_impossible("codec", "mp3 16", None) == "PyAV has no encoder for mp3"
    with pytest.raises(DataError, match="libnothing"):
        through_codec(voice(), "mp3", 16000, RATE)


def picture(kind, level, frames, key="id1", seed=0):
    before = frames.copy()
    seen = Corruption(kind, level, seed).picture(frames, key)
    assert (seen.shape, seen.dtype) == (frames.shape, np.uint8)
    np.testing.assert_array_equal(frames, before)
    return seen


def test_blur_is_gaussian():
    spot = np.zeros((1, 1, 101, 101), np.uint8)
    spot[0, 0, 48:53, 48:53] = 255
    seen = picture("blur", 5, spot)[0, 0].astype(float)
    places = np.arange(101) - 50
    spread = (seen.sum(axis=0) * places**2).sum() / seen.sum()
    # Variances add: that of the square of five pixels is (25 - 1) / 12; rounding to gray levels cuts the tails.
    assert np.sqrt(spread - 2) == pytest.approx(5.05, rel=0.1)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_occlusion_hides_its_share(share):
    frames = np.full((3, 3, 112, 96), 255, np.uint8)
    hidden = picture("occlusion", share, frames) != 255
    assert hidden.mean() == pytest.approx(share, rel=0.03)
    assert (hidden == hidden[:1, :1]).all()
    places = {int((picture("occlusion", share, frames, f"id{n}") != 255)[0, 0].argmax()) for n in range(5)}
    assert len(places) > 1


def test_low_resolution_has_no_finer_detail():
    stripes = np.zeros((1, 1, 48, 48), np.uint8)
    stripes[:, :, ::2] = 200
    assert np.ptp(picture("resolution", 12, stripes)[0, 0].astype(int)) <= 1
    constant_blocks = np.kron(np.arange(16).reshape(4, 4) * 16, np.ones((12, 12))).astype(np.uint8)[None, None]
    seen = picture("resolution", 4, constant_blocks)
    np.testing.assert_array_equal(seen[0, 0, 6::12, 6::12] // 8, constant_blocks[0, 0, 6::12, 6::12] // 8)
    np.testing.assert_array_equal(picture("resolution", 48, stripes), stripes)


def test_darkness_leaves_its_share_of_light():
    frames = np.full((4, 1, 64, 64), 200, np.uint8)
    seen = picture("darkness", 0.3, frames).astype(float)
    assert seen.mean() == pytest.approx(60, abs=0.2)
    assert seen.std() == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_frame_drops_show_the_last_frame(share):
    count = 5000
    seen = Corruption("frame_drop", share).rows(np.arange(count), count, 25.0, "id1")
    kept = np.unique(seen)
    assert 1 - len(kept) / count == pytest.approx(share, abs=0.02)
    for row in (0, 7, 1234, 4999):
        before = kept[kept <= row]
        assert seen[row] == (before[-1] if len(before) else kept[0])
    harder = np.unique(Corruption("frame_drop", 0.95).rows(np.arange(count), count, 25.0, "id1"))
    assert set(harder) <= set(kept)
    assert len(np.unique(Corruption("frame_drop", 1).rows(ROWS, 100, 25.0, "id1"))) == 1


@pytest.mark.parametrize("seconds", [0.2, 1, -0.4])
def test_out_of_step_is_found_by_cross_correlation(seconds):
    motion = np.random.default_rng(0).standard_normal(100)
    seen = motion[Corruption("out_of_step", seconds).rows(ROWS, 100, 25.0, "id1")]
    products = np.fft.irfft(np.fft.rfft(seen) * np.conj(np.fft.rfft(motion)), 100)
    assert products.argmax() == round(seconds * 25) % 100


@pytest.mark.parametrize("share", [0.25, 0.5, 1])
def test_wrong_face_is_one_stretch_of_the_clip(share):
    strange = Corruption("wrong_face", share).strangers(ROWS, 100, "id1")
    assert strange.mean() == share
    assert np.count_nonzero(np.diff(strange.astype(int))) <= 2


@pytest.mark.parametrize("kind", ["no_audio", "no_video"])
def test_a_share_of_the_clips_lacks_a_modality(kind):
    keys = [f"id{n}" for n in range(4000)]
    lacking = {level: {key for key in keys if Corruption(kind, level).lacks(key)} for level in (0.1, 0.5, 1)}
    for level, found in lacking.items():
        assert len(found) / len(keys) == pytest.approx(level, abs=0.025)
    assert lacking[0.1] < lacking[0.5] < lacking[1]
    assert {key for key in keys if Corruption(kind, 0.5, seed=1).lacks(key)} != lacking[0.5]


def test_all_levels_of_the_configuration_make_sense():
    sweeps = read_sweeps("conf/sweeps.yaml")
    assert len(conditions(sweeps)) == sum(len(levels) for levels in sweeps.values()) > 40
    assert set(KINDS) - set(sweeps) == {"music"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("noize: [5]", "noize: unknown key: did you mean 'noise'"),
        ("noise: 5", "noise: expected a list of levels"),
        ("noise: []", "noise: expected a list of levels"),
        ("noise: [5, 5.0]", "noise: a level occurs twice"),
        ("noise: [loud]", "noise: loud: signal-to-noise ratio .* must be a number from -20 to 60"),
        ("clipping: [1.5]", "clipping: 1.5: share of the samples must be a number from 0 to 1"),
        ("codec: [speex 8]", "codec: 'speex 8': choose one of the codecs opus"),
        ("codec: [opus fast]", "codec: 'opus fast': 'fast' is not a bit rate"),
        ("band: [3400-300]", "band: '3400-300' is not a pass band: its ends are in the wrong order"),
        ("band: [wide]", "band: 'wide' is not a pass band like 300-3400"),
    ],
)
def test_wrong_sweeps(tmp_path, text, message):
    path = tmp_path / "sweeps.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=f"^{path}: {message}"):
        read_sweeps(path)


def test_levels_and_lists_that_do_not_go():
    with pytest.raises(DataError, match="blur: 0: standard deviation"):
        Corruption("blur", 0)
    check_level("codec", "opus 6", "x")
    assert format_level(0.25) == "0.25"
    assert why_impossible("babble", 5, None) == "no recordings of type speech"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = make_data_dir(tmp_path_factory.mktemp("clips") / "data", speakers=3, utterances=2, seconds=(1.2, 1.6))
    system = config("AV")
    return folder, system, inputs_of(system, FBANK, FACES)


def load(world, corruption, audio="audio.scp"):
    folder, system, inputs = world
    table = read_utterances(folder, audio, True)
    if corruption is None:
        waveforms = None if audio == "feats.scp" else Waveforms(table, RATE)
        clips = WholeUtterances(table, np.full(len(table), -1), system.embed, inputs, waveforms)
    else:
        clips = corrupted_utterances(table, system.embed, inputs, corruption)
    found = {}
    for number in range(len(clips)):
        batch = clips[number]
        assert not isinstance(batch, DataError)
        for row, key in enumerate(batch.keys):
            found[key] = (batch.audio[row][batch.audio_mask[row]], batch.video[row][batch.video_mask[row]])
    return found


def test_without_corruption_clips_are_those_of_the_features(world):
    stored, computed = load(world, None, "feats.scp"), load(world, None)
    for key in stored:
        assert torch.allclose(stored[key][0], computed[key][0], atol=0.01)
        assert torch.equal(stored[key][1], computed[key][1])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("no_")])
def test_a_corruption_changes_what_it_touches_and_repeats(world, noises, kind):
    level = {"band": "300-3400", "codec": "g711", "resolution": 4, "length": 0.8, "blur": 10}.get(kind, 0.6)
    corruption = Corruption(kind, level, noises=noises)
    clean, once, again = load(world, None), load(world, corruption), load(world, corruption)
    for key in clean:
        for letter, before, after, repeated in zip("AV", clean[key], once[key], again[key], strict=True):
            assert torch.equal(after, repeated)
            changed = before.shape != after.shape or not torch.equal(before, after)
            assert changed == (letter in corruption.touches), (key, letter)


def test_short_clips_are_windows_of_the_long_ones(world):
    folder, _, inputs = world
    table = read_utterances(folder, "audio.scp", True)
    corruption = Corruption("length", 0.8)
    starts = []
    for key, (audio, _) in load(world, corruption).items():
        assert len(audio) == inputs.audio.num_frames(round(0.8 * RATE))
        full = int(table.video_frames[table.keys.index(key)])
        starts.append(int(corruption.start(key, full / 25 - 0.8) * 25) / 25)
        whole = load_fbank(world, key)
        first = round(starts[-1] * 100)
        assert torch.allclose(mean_normalize(whole[first : first + len(audio)]), audio, atol=0.02)
    assert len(set(starts)) > 1


def load_fbank(world, key):
    from avsv.io.ark import read_rows
    from avsv.io.lists import read_list

    return torch.from_numpy(read_rows(read_list(world[0] / "feats.scp")[key]))


def test_wrong_face_shows_another_person(world):
    clean, wrong = load(world, None), load(world, Corruption("wrong_face", 1))
    means = {key: video.float().mean(dim=0).flatten() for key, (_, video) in clean.items()}
    for key, (_, video) in wrong.items():
        seen = video.float().mean(dim=0).flatten()
        near = max(means, key=lambda other: torch.corrcoef(torch.stack([seen, means[other]]))[0, 1].item())
        assert near.split("-")[0] != key.split("-")[0]


def test_a_mixture_draws_kinds_then_levels_for_voice_and_face_alone():
    levels = [("clipping", 0.1), ("clipping", 0.2), ("length", 1), ("darkness", 0.1), ("no_video", 1), ("no_audio", 1)]
    mixture = Mixture(levels, seed=5)
    keys = [f"id{number}" for number in range(4000)]
    drawn = {letter: [mixture.of(key, letter) for key in keys] for letter in "AV"}
    for letter, shares in {
        "A": {None: 1 / 2, ("clipping", 0.1): 1 / 8, ("clipping", 0.2): 1 / 8, ("length", 1): 1 / 4},
        "V": {None: 1 / 2, ("darkness", 0.1): 1 / 4, ("length", 1): 1 / 4},
    }.items():
        found = [corruption and (corruption.kind, corruption.level) for corruption in drawn[letter]]
        assert set(found) == set(shares)
        for name, share in shares.items():
            assert found.count(name) / len(keys) == pytest.approx(share, abs=0.03)
    clean = {letter: np.array([corruption is None for corruption in part]) for letter, part in drawn.items()}
    assert np.mean(clean["A"] & clean["V"]) == pytest.approx(1 / 4, abs=0.03)
    assert [mixture.of(key, "A") for key in keys[:9]] == drawn["A"][:9]
    assert [Mixture(levels, seed=6).of(key, "A") for key in keys] != drawn["A"]


def test_a_mixture_corrupts_as_the_drawn_corruption():
    mixture = Mixture(
        [("clipping", 0.3), ("occlusion", 0.25), ("frame_drop", 0.9), ("wrong_face", 0.5), ("length", 0.5)]
    )
    wave, frames, rows = voice(), np.full((3, 1, 20, 20), 200, np.uint8), np.arange(50)
    for key in (f"id{number}" for number in range(60)):
        sound, face = mixture.of(key, "A"), mixture.of(key, "V")
        np.testing.assert_array_equal(
            mixture.sound(wave, key, RATE), wave if sound is None else sound.sound(wave, key, RATE)
        )
        np.testing.assert_array_equal(
            mixture.picture(frames, key), frames if face is None else face.picture(frames, key)
        )
        np.testing.assert_array_equal(
            mixture.rows(rows, 50, 25.0, key), rows if face is None else face.rows(rows, 50, 25.0, key)
        )
        strange = np.zeros(50, bool) if face is None else face.strangers(rows, 50, key)
        np.testing.assert_array_equal(mixture.strangers(rows, 50, key), strange)
        for letter, chosen in (("A", sound), ("V", face)):
            assert mixture.seconds(key, letter) == (0.5 if chosen is not None and chosen.kind == "length" else np.inf)


def test_the_noises_of_sweeps_are_not_those_of_gates(tmp_path):
    folder, _ = make_noise(tmp_path)
    held, others = Noises(folder), Noises(folder, others=True)
    for kind, files in others.files.items():
        assert not set(files) & set(held.files[kind])
