"""From lists to clips to batches."""

import itertools
from pathlib import Path

import cv2
import kaldiio
import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from synthetic import FACES, FBANK, config, make_data_dir, make_noise

from avsv.audio.augment import NoiseReverb
from avsv.audio.config import FbankConfig
from avsv.audio.log_mel import LogMel
from avsv.audio.speed import change_speed
from avsv.config.sections import DataConfig, EmbedConfig
from avsv.data.batch import Batch
from avsv.data.clips import TrainingClips, WholeUtterances
from avsv.data.face_source import spread_rows
from avsv.data.inputs import Inputs
from avsv.data.lists import read_ages, read_genders, read_utterances
from avsv.data.loading import load_batches
from avsv.data.mixup import Partners
from avsv.data.sampler import BatchSampler, SpeakerBatchSampler
from avsv.data.wrong import wrong_rows
from avsv.errors import DataError
from avsv.io.ark import ArkWriter
from avsv.io.lists import write_list
from avsv.video.config import FaceFormat

PLAIN = DataConfig(window=0.6, noise_reverb=False, spec_augment=None, video_augment=False)
CLOCK_FACES = FaceFormat(channels=1, height=8, width=8, fps=25.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data_dir(tmp_path_factory.mktemp("data") / "train")


@pytest.fixture(scope="module")
def clock_data(tmp_path_factory) -> Path:
    """Features (t, t^2) at frame t and pictures whose pixels are all t, so that a window reveals its position."""
    folder = tmp_path_factory.mktemp("clock")
    lengths = {"a": (298, 75), "b": (198, 50), "c": (30, 8), "d": (0, 60), "e": (250, 0), "f": (300, 40)}
    with ArkWriter(folder / "feats", "float") as feats, ArkWriter(folder / "faces", "pixels") as faces:
        for key, (audio, video) in lengths.items():
            time = np.arange(audio, dtype=np.float32)
            if audio:
                feats.write(key, np.stack([time, time**2], axis=1))
            if video:
                faces.write(key, np.repeat(np.arange(video, dtype=np.uint8)[:, None], 64, axis=1))
    write_list(folder / "utt2spk", {key: key for key in lengths})
    write_list(folder / "utt2num_frames", {key: audio for key, (audio, _) in lengths.items() if audio})
    write_list(folder / "utt2num_faces", {key: video for key, (_, video) in lengths.items() if video})
    return folder


def clock_clips(folder: Path, window: float, video_frames: int | None = None) -> TrainingClips:
    settings = DataConfig(
        window=window, video_frames=video_frames, noise_reverb=False, spec_augment=None, video_augment=False
    )
    table = read_utterances(folder)
    return TrainingClips(
        table, np.zeros(len(table)), settings, Inputs(FbankConfig(num_mel_bins=2), CLOCK_FACES), seed=1
    )


def audio_start(features: torch.Tensor) -> int:
    """The time of the first frame, from (t + 1)^2 - t^2 = 2t + 1, which does not depend on the subtracted mean."""
    return round((float(features[1, 1] - features[0, 1]) - 1) / 2)


def test_audio_and_video_windows_begin_together_and_stay_inside(clock_data):
    clips = clock_clips(clock_data, window=1.0)
    starts = set()
    for epoch in range(600):
        batch = clips[[(epoch, 0)]]
        assert batch.audio.shape == (1, 98, 2) and batch.video.shape == (1, 25, 1, 8, 8)
        assert batch.audio_mask.all() and batch.video_mask.all()
        first = int(batch.video[0, 0, 0, 0, 0])
        assert batch.video[0, :, 0, 0, 0].tolist() == list(range(first, first + 25))
        assert audio_start(batch.audio[0]) == 4 * first
        assert batch.audio[0].mean(dim=0).abs().max() < 0.01
        starts.add(first)
    # 75 video frames, 298 feature frames: the last start that both allow is 50 and (298 - 98) / 4 = 50.
    assert starts == set(range(51))


def test_a_clip_shorter_than_the_window_is_padded_under_false_masks_and_counted(clock_data):
    clips = clock_clips(clock_data, window=1.0)
    batch = clips[[(0, 2)]]
    assert batch.audio_mask[0].tolist() == [True] * 30 + [False] * 68
    assert batch.video_mask[0].tolist() == [True] * 8 + [False] * 17
    assert audio_start(batch.audio[0]) == 0 and batch.video[0, :8, 0, 0, 0].tolist() == list(range(8))
    # c in both; nothing else is shorter than 98 feature frames or 25 video frames.
    assert clips.count_short() == 1
    # Frames spread over the window keep their times: of frames 5, 15 and 25 the clip has only those below 8.
    spread = clock_clips(clock_data, window=1.2, video_frames=3)[[(0, 2)]]
    assert spread.video_mask[0].tolist() == [True, False, False] and int(spread.video[0, 0, 0, 0, 0]) == 5


def test_a_missing_modality_is_masked_out(clock_data):
    batch = clock_clips(clock_data, window=1.0)[[(0, 0), (0, 3), (0, 4)]]
    assert batch.keys == ["a", "d", "e"]
    assert batch.audio_mask.any(dim=1).tolist() == [True, False, True]
    assert batch.video_mask.any(dim=1).tolist() == [True, True, False]


def test_a_clip_whose_video_ends_before_the_first_spread_frame_shows_its_last(clock_data):
    batch = clock_clips(clock_data, window=2.0, video_frames=1)[[(0, 2)]]
    assert batch.video_mask[0].tolist() == [True] and int(batch.video[0, 0, 0, 0, 0]) == 7


def test_spread_rows_are_the_frames_of_a_lower_rate():
    # SPEC B.1: floor((j + 0.5) * fps_src / fps_dst); 2 s at 25 fps shown at 6 fps are 12 frames.
    assert spread_rows(50, 12).tolist() == [int((j + 0.5) * 25 / 6) for j in range(12)]


def test_features_of_a_window_of_the_waveform_equal_the_stored_ones(data):
    # Without noise lists, the waveform is not changed. Stored features are rounded to two bytes.
    quiet = FbankConfig(**{**FBANK.to_dict(), "dither": 0.0})
    stored = read_utterances(data, "feats.scp", video=False)
    waves = read_utterances(data, "audio.scp", video=False)
    for epoch, index in itertools.product(range(3), range(4)):
        a = TrainingClips(stored, np.zeros(24), PLAIN, Inputs(quiet), seed=0)[[(epoch, index)]]
        b = TrainingClips(waves, np.zeros(24), PLAIN, Inputs(quiet), 0, NoiseReverb(None, None))[[(epoch, index)]]
        b = b.prepare("cpu")
        assert a.audio.shape == (1, 58, 20)
        torch.testing.assert_close(a.audio, b.audio, atol=2e-3, rtol=0)


def test_clips_depend_on_epoch_and_utterance_only(data, tmp_path):
    noise, rirs = make_noise(tmp_path)
    table = read_utterances(data, "audio.scp")
    settings = DataConfig(window=0.6, video_frames=3)

    def clips(seed: int = 0) -> TrainingClips:
        return TrainingClips(table, np.arange(24), settings, Inputs(FBANK, FACES), seed, NoiseReverb(noise, rirs))

    together = clips()[[(3, 5), (3, 11), (4, 5)]].prepare("cpu")
    for row, item in enumerate([(3, 5), (3, 11), (4, 5)]):
        alone = clips()[[item]].prepare("cpu")
        # Products of matrices of other sizes may round differently.
        torch.testing.assert_close(alone.audio[0], together.audio[row], atol=1e-5, rtol=0)
        assert torch.equal(alone.video[0], together.video[row])
    assert not torch.equal(together.audio[0], together.audio[2]) and not torch.equal(
        together.video[0], together.video[2]
    )
    assert not torch.equal(clips(seed=1)[[(3, 5)]].prepare("cpu").audio[0], together.audio[0])
    assert together.label.tolist() == [5, 11, 5]


def test_loader_workers_do_not_change_batches(data, tmp_path):
    noise, rirs = make_noise(tmp_path)
    table = read_utterances(data, "audio.scp")
    clips = TrainingClips(
        table, np.zeros(24), DataConfig(window=0.6), Inputs(FBANK, FACES), 0, NoiseReverb(noise, rirs)
    )
    sampler = BatchSampler(24, batch_size=8, epochs=1, seed=0)
    torch.set_num_threads(2)
    try:
        here, there = (
            [batch.prepare("cpu") for batch in load_batches(clips, sampler, workers, False)] for workers in (0, 2)
        )
    finally:
        torch.set_num_threads(1)
    assert len(here) == len(there) == 3
    for a, b in zip(here, there, strict=True):
        assert a.keys == b.keys and torch.equal(a.audio, b.audio) and torch.equal(a.video, b.video)


def test_sampler_gives_each_rank_its_share_of_the_same_batches():
    whole = list(BatchSampler(23, batch_size=6, epochs=2, seed=5))
    shares = [list(BatchSampler(23, batch_size=6, epochs=2, seed=5, rank=rank, world=3)) for rank in range(3)]
    assert len(whole) == 6 and all(len(batch) == 6 for batch in whole)
    for number, batch in enumerate(whole):
        assert sorted(batch) == sorted(item for share in shares for item in share[number])
    for epoch in range(2):
        drawn = [index for batch in whole for number, index, _ in batch if number == epoch]
        assert len(drawn) == len(set(drawn)) == 18
    first, second = ([index for batch in whole[n : n + 3] for _, index, _ in batch] for n in (0, 3))
    assert first != second


def test_sampler_starts_anywhere():
    whole = list(BatchSampler(20, batch_size=4, epochs=3, seed=0))
    for epoch, batch in ((0, 0), (0, 3), (1, 0), (2, 4)):
        sampler = BatchSampler(20, batch_size=4, epochs=3, seed=0)
        sampler.start(epoch, batch)
        assert list(sampler) == whole[5 * epoch + batch :] and len(sampler) == 15 - 5 * epoch - batch


def test_sampler_refuses_an_uneven_share():
    with pytest.raises(DataError, match=r"train.batch_size: 10 is not a multiple of the 3 processes"):
        BatchSampler(100, batch_size=10, epochs=1, seed=0, world=3)
    with pytest.raises(DataError, match="2 training utterances are too few for 4 processes"):
        BatchSampler(2, batch_size=8, epochs=1, seed=0, world=4)


def test_whole_utterances_hold_everything_once_and_alike(data):
    table = read_utterances(data)
    clips = WholeUtterances(table, np.zeros(24), EmbedConfig(batch_size=5, video_frames=4), Inputs(FBANK, FACES))
    assert sorted(index for batch in clips.batches for index in batch.tolist()) == list(range(24))
    assert len(clips) == 5
    batch = clips[0]
    assert isinstance(batch, Batch) and len(batch) == 5
    feats = kaldiio.load_scp(str(data / "feats.scp"))
    faces = kaldiio.load_scp(str(data / "faces.scp"))
    assert max(len(matrix) for matrix in feats.values()) == batch.audio.shape[1]
    for row, key in enumerate(batch.keys):
        matrix = feats[key]
        expected = torch.from_numpy(matrix - matrix.mean(axis=0))
        torch.testing.assert_close(batch.audio[row][batch.audio_mask[row]], expected, atol=1e-4, rtol=0)
        count = len(faces[key])
        rows = faces[key][[int((j + 0.5) * count / 4) for j in range(4)]]
        assert batch.video[row].flatten(1).numpy().astype(float).tolist() == rows.tolist()


def test_face_frames_per_second(data):
    """The middle frames of equal parts of the clip, as many as its length has at this rate, and at least one."""
    table = read_utterances(data)
    every = WholeUtterances(table, np.zeros(24), EmbedConfig(), Inputs(None, FACES))
    for rate in (2, 10, 25, 100, 1e-3):
        clips = WholeUtterances(table, np.zeros(24), EmbedConfig(video_fps=rate), Inputs(None, FACES))
        counts = set()
        for index in np.flatnonzero(table.video_frames).tolist():
            found, whole = clips.batch_of([index]).video[0], every.batch_of([index]).video[0]
            count = min(len(whole), max(1, round(len(whole) / FACES.fps * rate)))
            rows = [int((j + 0.5) * len(whole) / count) for j in range(count)]
            assert torch.equal(found, whole[rows])
            counts.add(count)
        assert counts == {1} or rate > 1e-3
        in_batches = [batch.video_mask.sum(dim=1) for batch in clips.prepared() if batch.video is not None]
        assert set(torch.cat(in_batches).tolist()) - {0} == counts
    with pytest.raises(ValueError, match="video_fps: cannot be combined with video_frames"):
        EmbedConfig(video_frames=3, video_fps=2)


def test_mirrored_frames_follow_the_frames(data):
    table = read_utterances(data)
    plain, mirrored = (
        WholeUtterances(
            table, np.zeros(24), EmbedConfig(batch_size=2, video_frames=4, mirror=mirror), Inputs(None, FACES)
        )[0]
        for mirror in (False, True)
    )
    assert mirrored.keys == plain.keys and mirrored.video_mask.all()
    assert mirrored.video.shape[1] == 2 * plain.video.shape[1] == 8
    torch.testing.assert_close(mirrored.video[:, :4], plain.video, rtol=0, atol=0)
    for column in range(plain.video.shape[-1]):
        assert (mirrored.video[:, 4:, ..., column] == plain.video[..., -1 - column]).all()


def test_whole_utterances_are_batched_by_modality_and_video_frames(clock_data, monkeypatch):
    # Padded to the longest, the three are 3 x 75 frames.
    monkeypatch.setattr(WholeUtterances, "MAX_VIDEO_FRAMES", 225)
    table = read_utterances(clock_data)
    clips = WholeUtterances(
        table, np.zeros(6), EmbedConfig(batch_size=3), Inputs(FbankConfig(num_mel_bins=2), CLOCK_FACES)
    )
    assert [[table.keys[index] for index in batch] for batch in clips.batches] == [["f", "a", "b"], ["c"], ["e"], ["d"]]
    assert clips[2].video is None and clips[3].audio is None
    monkeypatch.setattr(WholeUtterances, "MAX_VIDEO_FRAMES", 224)
    assert [len(batch) for batch in clips._plan()] == [2, 2, 1, 1]


def damage(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("utt2num_frames", "s0-u0 x\n", "utt2num_frames: s0-u0: 'x' is not a number of frames"),
        (
            "utt2num_frames",
            "s0-u0 60\n",
            "utt2num_frames: no line for s0-u1 of feats.scp: make it again with steps/make_fbank.sh",
        ),
        ("feats.scp", "", "feats.scp: the list is empty"),
        ("feats.scp", "s0-u0 a:1\ns0-u0 a:2\n", "feats.scp:2: 's0-u0' occurs twice"),
        ("utt2spk", "s0-u0 s0\n", "feats.scp: s0-u1 is not in utt2spk: run utils/fix_data_dir.sh"),
        ("utt2spk", "s0-u0 s0 x\n", "utt2spk:1: 3 fields, expected 2"),
    ],
)
def test_bad_lists_are_named(tmp_path, name, text, message):
    folder = make_data_dir(tmp_path / "train", speakers=1, utterances=2)
    damage(folder, name, text)
    with pytest.raises(DataError) as error:
        read_utterances(folder)
    assert message in str(error.value)


def test_missing_lists_say_what_to_run(tmp_path):
    folder = make_data_dir(tmp_path / "train", speakers=1, utterances=1)
    (folder / "faces.scp").unlink()
    with pytest.raises(DataError, match=r"faces.scp: no such file: run steps/make_face_crops.sh"):
        read_utterances(folder)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_ark_cut_short_names_the_utterance(tmp_path, workers):
    folder = make_data_dir(tmp_path / "train", speakers=2, utterances=2)
    ark = folder / "feats.ark"
    ark.write_bytes(ark.read_bytes()[:-3000])
    table = read_utterances(folder, video=False)
    clips = WholeUtterances(table, np.zeros(4), EmbedConfig(batch_size=1), Inputs(FBANK))
    with pytest.raises(DataError, match=r"^s1-u1: .*feats.ark:\d+: the ark is truncated"):
        list(load_batches(clips, range(4), workers, False))


def test_features_of_another_size_are_refused(data):
    table = read_utterances(data, video=False)
    batch = WholeUtterances(table, np.zeros(24), EmbedConfig(), Inputs(FbankConfig()))[0]
    assert isinstance(batch, DataError)
    assert "20 columns instead of 80 as in the configuration: run steps/make_fbank.sh" in str(batch)


def test_a_window_shorter_than_a_frame_is_refused(data):
    table = read_utterances(data)
    settings = config("A", data={"window": 0.01}).data
    with pytest.raises(DataError, match=r"data.window: 0.01 s is shorter than one feature frame"):
        TrainingClips(table, np.zeros(24), settings, Inputs(FBANK, FACES), seed=0)


def test_a_batch_is_prepared_for_networks():
    pixels = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 2, 1, 1, 1)
    batch = Batch(["a"], torch.zeros(1, dtype=torch.long), video=pixels, video_mask=torch.ones(1, 2).bool())
    # SPEC B.1: black -0.5, white +0.5.
    assert batch.prepare("cpu").video.flatten().tolist() == [-0.5, 0.5] and batch.video.dtype == torch.uint8
    with pytest.raises(ValueError, match="audio and audio_mask must be given together"):
        Batch(["a"], torch.zeros(1, dtype=torch.long), audio=torch.zeros(1, 2, 3))


# --- inputs of networks ----------------------------------------------------------------------------------------------


def test_color_becomes_gray_and_is_scaled_as_cv2_does():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, size=(3, 3, 40, 40), dtype=np.uint8)
    shown = Inputs(video=FaceFormat(3, 40, 40, 25.0), image=(1, 40, 40)).show(frames)
    for frame, gray in zip(frames, shown, strict=True):
        expected = cv2.cvtColor(frame.transpose(1, 2, 0), cv2.COLOR_RGB2GRAY)
        assert np.abs(gray[0].astype(int) - expected).max() <= 1
    # Reducing the size by half by area gives the mean of four pixels.
    halved = Inputs(video=FaceFormat(3, 40, 40, 25.0), image=(3, 20, 20)).show(frames)
    means = frames.reshape(3, 3, 20, 2, 20, 2).mean(axis=(3, 5))
    assert np.abs(halved - means).max() <= 0.51
    gray = frames[:, :1]
    three = Inputs(video=FaceFormat(1, 40, 40, 25.0), image=(3, 40, 40)).show(gray)
    assert three.shape == (3, 3, 40, 40) and (three == gray).all()
    assert Inputs(video=FaceFormat(1, 40, 40, 25.0), image=(1, 60, 80)).show(gray).shape == (3, 1, 60, 80)


def test_networks_are_given_waveforms(data):
    table = read_utterances(data, "audio.scp", video=False)
    inputs = Inputs(FBANK, takes="waveform")
    whole = {key: soundfile.read(path, dtype="float32")[0] for key, path in zip(table.keys, table.audio, strict=True)}
    clips = TrainingClips(table, np.zeros(len(table)), PLAIN, inputs, seed=0)
    batch = clips[[(0, 0), (1, 3)]]
    assert batch.audio.shape == (2, 9600) and batch.audio_mask.all()
    for key, samples in zip(batch.keys, batch.audio.numpy(), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(whole[key], 9600)[::160]
        assert (windows == samples).all(axis=1).sum() == 1
    batch = WholeUtterances(table, np.zeros(len(table)), EmbedConfig(batch_size=3), inputs)[0]
    for key, samples, mask in zip(batch.keys, batch.audio, batch.audio_mask, strict=True):
        length = int(mask.sum())
        assert 0 <= len(whole[key]) - length < 160 and mask[:length].all()
        assert (samples[:length].numpy() == whole[key][:length]).all()


def test_networks_are_given_log_mel_energies(data):
    table = read_utterances(data, "audio.scp", video=False)
    batch = TrainingClips(table, np.zeros(len(table)), PLAIN, Inputs(FBANK, takes="log_mel", bins=32), seed=0)[[(0, 0)]]
    assert batch.audio.shape == (1, 61, 32) and batch.audio_mask.all()
    with pytest.raises(DataError, match=r"data.spec_augment: the audio network takes log_mel: set it to null"):
        TrainingClips(table, np.zeros(len(table)), DataConfig(window=0.6), Inputs(FBANK, takes="log_mel"), seed=0)


def test_log_mel_is_the_spectrogram_of_the_paper():
    """SPEC A.3: shape, and tones in the bins given by librosa's formula."""
    time = torch.arange(24000) / 16000
    for tone, bin_number in ((500, 13), (1000, 22), (2000, 34), (4000, 48)):
        energies = LogMel()(torch.sin(2 * torch.pi * tone * time))
        assert energies.shape == (151, 64) and int(energies.mean(dim=0).argmax()) == bin_number
    # One frame by hand: power of the windowed 512-point spectrum through the filters.
    wave = torch.randn(24000, generator=torch.Generator().manual_seed(0))
    frame = torch.zeros(512)
    frame[56:456] = torch.hann_window(400) * wave[16000 - 200 : 16000 + 200]
    power = torch.fft.rfft(frame).abs() ** 2
    filters = torchaudio.functional.melscale_fbanks(257, 0.0, 8000.0, 64, 16000)
    torch.testing.assert_close(LogMel()(wave)[100], (power @ filters + 1e-6).log(), rtol=1e-4, atol=1e-4)


# --- speed, AV-Mixup, N x M batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("speed", "length"), [(0.9, 17778), (1.1, 14546)])
def test_another_speed_moves_a_tone(speed, length):
    time = np.arange(16000) / 16000
    changed = change_speed(np.sin(2 * np.pi * 1000 * time).astype(np.float32), speed)
    assert len(changed) == length
    spectrum = np.abs(np.fft.rfft(changed))
    assert np.argmax(spectrum) * 16000 / len(changed) == pytest.approx(1000 * speed, abs=2)


def test_speeds_are_classes_of_their_own(data):
    table = read_utterances(data, "audio.scp", video=False)
    settings = DataConfig(window=0.6, noise_reverb=False, spec_augment=None, speed_perturb=True)
    labels = table.labels(sorted(set(table.speakers)))
    clips = TrainingClips(table, labels, settings, Inputs(FBANK), seed=0)
    count, seen = labels.max() + 1, set()
    for epoch in range(40):
        batch = clips[[(epoch, 2), (epoch, 5)]].prepare("cpu")
        assert batch.audio.shape == (2, 58, 20) and batch.audio_mask.all()
        assert (batch.label % count).tolist() == labels[[2, 5]].tolist()
        seen.update((batch.label // count).tolist())
    assert seen == {0, 1, 2}


def test_modality_dropout_takes_one_modality_from_a_share_of_the_clips(clock_data):
    table = read_utterances(clock_data)
    inputs, clips = Inputs(FbankConfig(num_mel_bins=2), CLOCK_FACES), {}
    for share in (0.0, 0.4):
        settings = DataConfig(
            window=0.4, noise_reverb=False, spec_augment=None, video_augment=False, modality_dropout=share
        )
        clips[share] = TrainingClips(table, np.zeros(len(table)), settings, inputs, seed=1)
    kept = []
    for index, key in enumerate(table.keys):
        whole, batch = (clips[share][[(epoch, index) for epoch in range(200)]] for share in (0.0, 0.4))
        left = torch.stack([batch.audio_mask.any(dim=1), batch.video_mask.any(dim=1)], dim=1)
        assert left.any(dim=1).all()
        if key in "de":  # of one modality only: nothing can be dropped
            assert (left == torch.tensor([key == "e", key == "d"])).all()
        else:
            kept.append(left)
        # What remains is as it is without the dropout.
        assert torch.equal(batch.audio[left[:, 0]], whole.audio[left[:, 0]])
        assert torch.equal(batch.video[left[:, 1]], whole.video[left[:, 1]])
    dropped = (~torch.cat(kept)).double().mean(dim=0)
    assert dropped.tolist() == pytest.approx([0.2, 0.2], abs=0.04)  # 800 clips: a deviation of 0.014
    with pytest.raises(ValueError, match=r"modality_dropout: 1.5: must be between 0 and 1"):
        DataConfig(modality_dropout=1.5)


def mixed_clips(folder: Path, sessions=None) -> TrainingClips:
    table = read_utterances(folder)
    settings = DataConfig(
        window=0.6, noise_reverb=False, spec_augment=None, video_augment=False, av_mixup=True, video_frames=3
    )
    return TrainingClips(table, np.zeros(len(table)), settings, Inputs(FBANK, FACES), 0, sessions=sessions)


def test_mixup_shows_another_clip_of_the_speaker(data):
    clips = mixed_clips(data)
    keys, speakers = list(clips.table.keys), list(clips.table.speakers)
    stored = {
        key: kaldiio.load_mat(location) for key, location in zip(keys, clips.table.video, strict=True) if location
    }
    for index in range(len(keys)):
        batch = clips[[(3, index)]]
        first = batch.video[0, 0].numpy().reshape(-1)
        owners = {key for key, rows in stored.items() if (rows == first).all(axis=1).any()}
        assert len(owners) == 1 and owners != {keys[index]}
        assert speakers[keys.index(owners.pop())] == speakers[index]


def test_mixup_prefers_another_recording(data):
    table = read_utterances(data)
    sessions = [str(number % 2) for number in range(len(table))]
    partners = Partners(table, sessions)
    for index in range(len(table)):
        drawn = {partners.draw(index, np.random.default_rng(seed)) for seed in range(40)}
        mine = [n for n in range(len(table)) if table.speakers[n] == table.speakers[index]]
        assert drawn == {n for n in mine if sessions[n] != sessions[index]}
    # Without another recording any other utterance is used, and without another utterance the same one.
    assert {Partners(table, ["x"] * len(table)).draw(0, np.random.default_rng(s)) for s in range(40)} == {
        n for n in range(len(table)) if table.speakers[n] == table.speakers[0] and n != 0
    }


def test_batches_of_n_speakers_and_m_utterances():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(30), rng.integers(3, 9, size=30)))
    sampler = SpeakerBatchSampler(labels, 32, per_speaker=4, epochs=3, seed=1)
    assert sampler.batches_per_epoch == len(labels) // 32
    often = np.zeros(30)
    for epoch in range(200):
        for batch in sampler.batches(epoch):
            speakers, counts = np.unique(labels[batch], return_counts=True)
            assert len(speakers) == 8 and (counts == 4).all()
            for speaker in speakers:
                mine = batch[labels[batch] == speaker]
                assert len(set(mine.tolist())) == min(4, (labels == speaker).sum())
            often[speakers] += 1
    assert often.std() / often.mean() < 0.1
    again = SpeakerBatchSampler(labels, 32, per_speaker=4, epochs=3, seed=1)
    assert list(sampler) == list(again)
    # A start in the middle continues with the same batches; ranks share the speakers of each.
    again.start(1, 2)
    assert list(again) == list(sampler)[sampler.batches_per_epoch + 2 :]
    halves = [list(SpeakerBatchSampler(labels, 32, 4, 3, 1, rank, 2)) for rank in range(2)]
    for batch, *shares in zip(sampler, *halves, strict=True):
        assert sorted(batch) == sorted(itertools.chain(*shares))
        assert not {labels[i] for _, i, _ in shares[0]} & {labels[i] for _, i, _ in shares[1]}


def test_an_utterance_that_comes_twice_in_a_batch_is_drawn_twice(data):
    table = read_utterances(data)
    labels = table.labels(sorted(set(table.speakers)))
    clips = TrainingClips(table, labels, PLAIN, Inputs(FBANK, FACES), 0)
    fewest = int(np.bincount(labels).min())
    sampler = SpeakerBatchSampler(labels, 2 * (fewest + 1), fewest + 1, epochs=40, seed=0)
    batch = next(items for items in sampler if max(repeat for _, _, repeat in items) == 1)
    twice = next(item for item in batch if item[2] == 1)
    first = (*twice[:2], 0)
    assert first in batch
    one, other = clips[[first]], clips[[twice]]
    assert one.keys == other.keys and not torch.equal(one.audio, other.audio)
    # An utterance that occurs once is the same as without the count.
    assert torch.equal(one.audio, clips[[first[:2]]].audio) and torch.equal(one.video, clips[[first[:2]]].video)


@pytest.mark.parametrize(
    ("batch_size", "per_speaker", "message"),
    [
        (10, 4, "train.batch_size: 10 is not a multiple of 4 utterances per speaker"),
        (12, 2, "need 6 speakers, but there are 5"),
    ],
)
def test_batches_that_cannot_be_made_are_refused(batch_size, per_speaker, message):
    with pytest.raises(DataError, match=message):
        SpeakerBatchSampler(np.repeat(np.arange(5), 4), batch_size, per_speaker, 1, 0)


def test_ages_of_utterances_go_before_those_of_speakers(data, tmp_path):
    table = read_utterances(data)
    table.directory = tmp_path
    assert np.isnan(read_ages(table)).all() and len(read_ages(table)) == len(table)
    (tmp_path / "spk2age").write_text("s0 30\ns1 ?\ns2 61.5\n")
    (tmp_path / "utt2age").write_text("s0-u1 31\n")
    ages = dict(zip(table.keys, read_ages(table).tolist(), strict=True))
    assert (ages["s0-u0"], ages["s0-u1"], ages["s2-u0"]) == (30, 31, 61.5)
    assert np.isnan(ages["s1-u0"]) and np.isnan(ages["s3-u0"])
    clips = TrainingClips(table, np.zeros(len(table)), PLAIN, Inputs(FBANK, FACES), 0, ages=read_ages(table))
    assert clips[[(0, list(table.keys).index("s2-u0"))]].age.tolist() == [61.5]
    (tmp_path / "spk2age").write_text("s0 old\n")
    with pytest.raises(DataError, match=r"spk2age: s0: 'old' is not an age in years"):
        read_ages(table)


def test_genders_of_speakers(data, tmp_path):
    table = read_utterances(data)
    table.directory = tmp_path
    assert np.isnan(read_genders(table)).all() and len(read_genders(table)) == len(table)
    (tmp_path / "spk2gender").write_text("s0 m\ns1 f\n")
    genders = dict(zip(table.speakers, read_genders(table).tolist(), strict=True))
    assert (genders["s0"], genders["s1"]) == (1, 0) and np.isnan(genders["s2"])
    clips = TrainingClips(table, np.zeros(len(table)), PLAIN, Inputs(FBANK, FACES), 0, genders=read_genders(table))
    assert clips[[(0, list(table.keys).index("s0-u0"))]].gender.tolist() == [1]
    (tmp_path / "spk2gender").write_text("s0 male\n")
    with pytest.raises(DataError, match=r"spk2gender: s0: 'male' is neither m nor f"):
        read_genders(table)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 1.0])
def test_wrong_labels_are_as_many_as_stated_and_none_is_right(share):
    labels = np.random.default_rng(1).permutation(np.repeat(list("abcdefghij"), 12))
    rows, sources = wrong_rows(list(labels), share, 5, "speaker")
    wrong = labels.copy()
    wrong[rows] = labels[sources]
    assert (wrong != labels).sum() == len(set(rows)) == round(share * 120)
    assert sorted(wrong) == sorted(labels)
    again, other = wrong_rows(list(labels), share, 5, "speaker")[0], wrong_rows(list(labels), share, 6, "speaker")[0]
    assert np.array_equal(again, rows) and (share in (0.0, 1.0) or set(other) != set(rows))
