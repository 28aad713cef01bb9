"""Lists to clips to batches."""

import itertools
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import torch
from synthetic import FACES, FBANK, config, make_data_dir, make_noise

from avsv.audio.augment import NoiseReverb
from avsv.audio.config import FbankConfig
from avsv.data.batch import Batch
from avsv.data.clips import TrainingClips, WholeUtterances, spread_rows
from avsv.data.lists import read_utterances
from avsv.data.loading import load_batches
from avsv.data.sampler import BatchSampler
from avsv.errors import DataError
from avsv.io.ark import ArkWriter
from avsv.io.lists import write_list
from avsv.system.config import DataConfig, EmbedConfig
from avsv.video.config import FaceFormat

PLAIN = DataConfig(window=0.6, noise_reverb=False, spec_augment=None, video_augment=False)
CLOCK_FACES = FaceFormat(channels=1, height=8, width=8, fps=25.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data_dir(tmp_path_factory.mktemp("data") / "train")


@pytest.fixture(scope="module")
def clock_data(tmp_path_factory) -> Path:
    """Features (t, t^2) at frame t and pictures whose pixels are all t: what is cut out tells where."""
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
    return TrainingClips(table, np.zeros(len(table)), settings, FbankConfig(num_mel_bins=2), CLOCK_FACES, seed=1)


def audio_start(features: torch.Tensor) -> int:
    """The time of the first frame: (t + 1)^2 - t^2 = 2t + 1, whatever mean was taken off."""
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
    # Frames spread over the window keep their times: of 5, 15 and 25 the clip has only frames below 8.
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
    # No noise lists: the waveform is left alone. Stored features are rounded to two bytes.
    quiet = FbankConfig(**{**FBANK.to_dict(), "dither": 0.0})
    stored = read_utterances(data, "feats.scp", video=False)
    waves = read_utterances(data, "audio.scp", video=False)
    for epoch, index in itertools.product(range(3), range(4)):
        a = TrainingClips(stored, np.zeros(24), PLAIN, quiet, None, seed=0)[[(epoch, index)]]
        b = TrainingClips(waves, np.zeros(24), PLAIN, quiet, None, 0, NoiseReverb(None, None))[[(epoch, index)]]
        assert a.audio.shape == (1, 58, 20)
        torch.testing.assert_close(a.audio, b.audio, atol=2e-3, rtol=0)


def test_clips_depend_on_epoch_and_utterance_only(data, tmp_path):
    noise, rirs = make_noise(tmp_path)
    table = read_utterances(data, "audio.scp")
    settings = DataConfig(window=0.6, video_frames=3)

    def clips(seed: int = 0) -> TrainingClips:
        return TrainingClips(table, np.arange(24), settings, FBANK, FACES, seed, NoiseReverb(noise, rirs))

    together = clips()[[(3, 5), (3, 11), (4, 5)]]
    for row, item in enumerate([(3, 5), (3, 11), (4, 5)]):
        alone = clips()[[item]]
        assert torch.equal(alone.audio[0], together.audio[row]) and torch.equal(alone.video[0], together.video[row])
    assert not torch.equal(together.audio[0], together.audio[2]) and not torch.equal(
        together.video[0], together.video[2]
    )
    assert not torch.equal(clips(seed=1)[[(3, 5)]].audio[0], together.audio[0])
    assert together.label.tolist() == [5, 11, 5]


def test_loader_workers_change_nothing(data, tmp_path):
    noise, rirs = make_noise(tmp_path)
    table = read_utterances(data, "audio.scp")
    clips = TrainingClips(table, np.zeros(24), DataConfig(window=0.6), FBANK, FACES, 0, NoiseReverb(noise, rirs))
    sampler = BatchSampler(24, batch_size=8, epochs=1, seed=0)
    torch.set_num_threads(2)
    try:
        here, there = (list(load_batches(clips, sampler, workers, False)) for workers in (0, 2))
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
        drawn = [index for batch in whole for number, index in batch if number == epoch]
        assert len(drawn) == len(set(drawn)) == 18
    first, second = ([index for batch in whole[n : n + 3] for _, index in batch] for n in (0, 3))
    assert first != second


def test_sampler_starts_anywhere():
    whole = list(BatchSampler(20, batch_size=4, epochs=3, seed=0))
    for epoch, batch in ((0, 0), (0, 3), (1, 0), (2, 4)):
        sampler = BatchSampler(20, batch_size=4, epochs=3, seed=0)
        sampler.start(epoch, batch)
        assert list(sampler) == whole[5 * epoch + batch :] and len(sampler) == 15 - 5 * epoch - batch


def test_sampler_refuses_an_uneven_share():
    with pytest.raises(DataError, match=r"train.batch_size: 10 is no multiple of the 3 processes"):
        BatchSampler(100, batch_size=10, epochs=1, seed=0, world=3)
    with pytest.raises(DataError, match="2 training utterances are too few for 4 processes"):
        BatchSampler(2, batch_size=8, epochs=1, seed=0, world=4)


def test_whole_utterances_hold_everything_once_and_alike(data):
    table = read_utterances(data)
    clips = WholeUtterances(table, np.zeros(24), EmbedConfig(batch_size=5, video_frames=4), 20, FACES)
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


def test_whole_utterances_are_batched_by_modality_and_video_frames(clock_data, monkeypatch):
    # Padded to the longest, the three are 3 x 75 frames.
    monkeypatch.setattr(WholeUtterances, "MAX_VIDEO_FRAMES", 225)
    table = read_utterances(clock_data)
    clips = WholeUtterances(table, np.zeros(6), EmbedConfig(batch_size=3), 2, CLOCK_FACES)
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
        ("utt2num_frames", "s0-u0 x\n", "utt2num_frames: s0-u0: 'x' is no number of frames"),
        (
            "utt2num_frames",
            "s0-u0 60\n",
            "utt2num_frames: no line for s0-u1 of feats.scp: remake it with steps/make_fbank.sh",
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
    clips = WholeUtterances(table, np.zeros(4), EmbedConfig(batch_size=1), 20, None)
    with pytest.raises(DataError, match=r"^s1-u1: .*feats.ark:\d+: the ark is cut short"):
        list(load_batches(clips, range(4), workers, False))


def test_features_of_another_size_are_refused(data):
    table = read_utterances(data, video=False)
    batch = WholeUtterances(table, np.zeros(24), EmbedConfig(), 80, None)[0]
    assert isinstance(batch, DataError)
    assert "20 columns, not the 80 that the configuration says: run steps/make_fbank.sh" in str(batch)


def test_a_window_shorter_than_a_frame_is_refused(data):
    table = read_utterances(data)
    settings = config("A", data={"window": 0.01}).data
    with pytest.raises(DataError, match=r"data.window: 0.01 s is shorter than one feature frame"):
        TrainingClips(table, np.zeros(24), settings, FBANK, FACES, seed=0)


def test_a_batch_is_prepared_for_networks():
    pixels = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 2, 1, 1, 1)
    batch = Batch(["a"], torch.zeros(1, dtype=torch.long), video=pixels, video_mask=torch.ones(1, 2).bool())
    # SPEC B.1: black -0.5, white +0.5.
    assert batch.prepare("cpu").video.flatten().tolist() == [-0.5, 0.5] and batch.video.dtype == torch.uint8
    with pytest.raises(ValueError, match="audio and audio_mask must be given together"):
        Batch(["a"], torch.zeros(1, dtype=torch.long), audio=torch.zeros(1, 2, 3))
