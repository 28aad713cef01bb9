"""Face crops that are cut out when they are read equal those in an ark, byte for byte."""

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run
from synthetic import FACES, make_data_dir, trained_weights, write_config
from video_media import soft_video, write_levels

from avsv.bin.make_face_crops import make_face_crops
from avsv.embed.directories import embed_share
from avsv.errors import DataError
from avsv.io.ark import ArkWriter, is_online, read_rows
from avsv.io.lists import read_list, write_list
from avsv.train.material import Sources
from avsv.train.run import train_system
from avsv.video.config import FacesConfig
from avsv.video.online import read_faces


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, str]:
    """Videos with constant and variable rates, a folder of images at one per second, a pipe."""
    folder = tmp_path_factory.mktemp("some clips")
    soft_video(folder / "long.mp4", size="64x48", seconds=2.2, rate=30)
    times = np.cumsum(np.random.default_rng(0).integers(1, 5, 40)).tolist()
    write_levels(folder / "uneven.mkv", list(range(10, 210, 5)), times, Fraction(1, 50))
    images = folder / "images"
    images.mkdir()
    rng = np.random.default_rng(1)
    for number in range(1, 5):
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        (images / f"{number}.ppm").write_bytes(b"P6 24 20 255\n" + pixels.tobytes())
        # A face that moves, as the detector "folder" finds it.
        np.save(images / f"{number}.npy", np.array([[2.0 + number, 3.0, 14.0 + number, 16.0]]))
    return {
        "long": f"{folder}/long.mp4",
        "uneven": f"{folder}/uneven.mkv",
        "images": str(images),
        "pipe": f"cat '{folder}/long.mp4' |",
    }


def both(clips: dict[str, str], config: FacesConfig, folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Locations of the same crops in an ark and online."""
    found, counts = [], []
    for kind in ("pixels", "online"):
        with ArkWriter(folder / kind, kind) as writer:
            numbers, failed = make_face_crops(clips, config, writer, None)
        assert not failed
        found.append(read_list(folder / f"{kind}.scp"))
        counts.append(numbers)
    assert counts[0] == counts[1]
    assert all(map(is_online, found[1].values()))
    return found[0], found[1]


@pytest.mark.parametrize("fps", [25.0, 10.0, 40.0])
def test_rows_are_those_of_the_ark(clips, fps, tmp_path):
    stored, online = both(clips, FacesConfig(channels=3, height=12, width=16, fps=fps, source_fps=1.0), tmp_path)
    rng = np.random.default_rng(0)
    for key, location in stored.items():
        pixels = read_rows(location)
        np.testing.assert_array_equal(read_faces(online[key], np.arange(len(pixels))), pixels)
        for size in (1, 3, 7):
            rows = np.sort(rng.integers(0, len(pixels), size))  # some of them twice
            np.testing.assert_array_equal(read_faces(online[key], rows), pixels[rows])


def test_faces_that_were_found_stay_where_they_are(clips, tmp_path):
    config = FacesConfig(height=16, width=16, fps=5.0, source_fps=1.0, detector="folder")
    stored, online = both({"images": clips["images"]}, config, tmp_path)
    pixels = read_rows(stored["images"])
    assert len({row.tobytes() for row in pixels}) > 4, "the face moves between images"
    for rows in ([0], [3, 4, 11], range(20)):
        np.testing.assert_array_equal(read_faces(online["images"], np.array(rows)), pixels[list(rows)])


def test_what_cannot_be_read_is_said(clips, tmp_path):
    folder = tmp_path / "images"
    shutil.copytree(clips["images"], folder)
    _, online = both({"a": str(folder)}, FacesConfig(height=8, width=8, fps=1.0, source_fps=1.0), tmp_path)
    (folder / "4.ppm").unlink()
    assert len(read_faces(online["a"], np.array([2]))) == 1
    with pytest.raises(DataError, match=r"images: shorter than when its frames were counted"):
        read_faces(online["a"], np.array([2, 3]))
    with pytest.raises(DataError, match="no record of online face crops"):
        read_faces(online["a"].replace(":", ":1"), np.array([0]))


def test_training_and_embeddings_are_those_from_arks(tmp_path):
    """A system trained and applied with crops of both kinds: the same weights and vectors, bit for bit."""
    torch.set_num_threads(1)
    train = make_data_dir(tmp_path / "train", speakers=3, utterances=3)
    rng = np.random.default_rng(0)
    videos = {}
    for key, count in read_list(train / "utt2num_faces").items():
        # Every frame has its own gray level.
        levels = rng.integers(0, 256, int(count)).tolist()
        videos[key] = str(write_levels(tmp_path / f"{key}.mkv", levels, range(len(levels)), Fraction(1, 25)))
    config = FacesConfig(height=FACES.height, width=FACES.width)
    results = []
    for name, scp in zip(("arks", "online"), both(videos, config, tmp_path), strict=True):
        write_list(train / "faces.scp", scp)
        exp = tmp_path / name
        data = {"av_mixup": True, "video_augment": True}
        path = write_config(tmp_path / f"{name}.yaml", "AV", data=data, train={"epochs": 1})
        workers = 2 if name == "online" else 0
        train_system(path, Sources(train, train, train / "fbank.yaml"), exp, num_workers=workers)
        (exp / "parts").mkdir()
        embed_share(exp, ["V", "AV"], [train], exp / "parts")
        vectors = {path.name: path.read_bytes() for path in (exp / "parts").iterdir()}
        results.append((vectors, trained_weights(exp)))
    (stored, weights), (online, others) = results
    assert len(stored) == 5  # keys and vectors of two modes, and the list of modes
    assert stored == online
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_the_step_stores_one_kind_or_the_other(clips, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write_list(data / "video.scp", {key: clips[key] for key in ("long", "uneven")})
    (data / "faces.yaml").write_text("height: 16\nwidth: 16\n")

    def step(*words: str) -> subprocess.CompletedProcess[str]:
        return run("steps/make_face_crops.sh", *words, "--config", data / "faces.yaml", data)

    frames = {}
    for faces, jobs, suffixes in (("arks", "2", {".ark"}), ("online", "1", {".online"}), ("arks", "1", {".ark"})):
        assert step("--faces", faces, "--nj", jobs).returncode == 0
        found = list((data / "arks").glob("faces_data.*"))
        assert {path.suffix for path in found} & {".ark", ".online"} == suffixes
        assert len([path for path in found if path.suffix == ".scp"]) == int(jobs)
        frames[faces] = (data / "utt2num_faces").read_text(), (data / "faces.conf").read_text()
    assert frames["arks"] == frames["online"]
    assert "--faces is arks or online, not 'disk'" in step("--faces", "disk").stderr
