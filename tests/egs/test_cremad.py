"""The recipe of a second corpus, egs/cremad, on a synthetic tree with its layout."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import run
from paths import ROOT
from video_media import ffmpeg

from avsv.errors import DataError
from avsv.io.lists import read_list, read_trials
from avsv.video.config import FacesConfig
from avsv.video.crop import FaceCropper

RECIPE = ROOT / "egs" / "cremad"
TRAIN, DEV, EVAL = (1001, 1003, 1004, 1007, 1090), (1008, 1017, 1026), (1002, 1005, 1011, 1014)
CLIPS = ("DFA_ANG_XX", "IEO_SAD_LO", "IEO_SAD_HI", "WSI_NEU_XX")


@pytest.fixture(scope="module")
def cremad(tmp_path_factory) -> Path:
    """Twelve actors with four clips each; one clip has no picture, another has empty sound."""
    root = tmp_path_factory.mktemp("CREMA D")
    sound, picture = root / "a.wav", root / "a.flv"
    soundfile.write(sound, 0.1 * np.random.default_rng(0).standard_normal(16000), 16000, subtype="PCM_16")
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=480x360:rate=30000/1001:duration=0.4", "-c:v", "flv", picture)
    for folder in ("AudioWAV", "VideoFlash", "AudioMP3"):
        (root / folder).mkdir()
    rows = ['"ActorID","Age","Sex","Race","Ethnicity"']
    for actor in (*TRAIN, *DEV, *EVAL):
        rows.append(f'{actor},{actor - 980},"{"Female" if actor % 2 else "Male"}","Unknown","Not Hispanic"')
        for clip in CLIPS:
            (root / "AudioWAV" / f"{actor}_{clip}.wav").hardlink_to(sound)
            (root / "VideoFlash" / f"{actor}_{clip}.flv").hardlink_to(picture)
    (root / "VideoDemographics.csv").write_text("\n".join(rows) + "\n")
    (root / "VideoFlash" / "1001_DFA_ANG_XX.flv").unlink()
    (root / "AudioWAV" / "1003_WSI_NEU_XX.wav").unlink()
    (root / "AudioWAV" / "1003_WSI_NEU_XX.wav").touch()
    (root / "AudioWAV" / "README.wav").touch()
    for place in ("music/a", "noise/a", "speech/a"):
        (root / "musan" / place).mkdir(parents=True)
        (root / "musan" / place / f"{place[0]}.wav").hardlink_to(sound)
    for place in ("smallroom", "mediumroom"):
        (root / "simulated_rirs" / place / "Room001").mkdir(parents=True)
        (root / "simulated_rirs" / place / "Room001" / "r.wav").hardlink_to(sound)
    return root


def test_lists_of_the_tree(cremad, tmp_path):
    data = tmp_path / "data"
    command = ["--cremad-root", cremad, "--musan-root", cremad / "musan", "--rirs-root", cremad, "--data", data]
    command += ["--preset", "tiny", "--exp", tmp_path / "exp", "--nj", "2"]
    done = run("./run.sh", "--stop-stage", "1", *command, cwd=RECIPE)
    assert done.returncode == 0, done.stderr
    for part, actors in (("train", TRAIN), ("dev", DEV), ("eval", EVAL)):
        keys = sorted(f"{actor}_{clip}" for actor in actors for clip in CLIPS)
        assert read_list(data / part / "utt2spk") == {key: key[:4] for key in keys}
        assert set(read_list(data / part / "utt2dur")) == set(keys)
        assert read_list(data / part / "utt2emotion") == {key: key.split("_")[2] for key in keys}
        assert read_list(data / part / "spk2gender") == {str(a): "mf"[a % 2] for a in sorted(actors)}
        assert read_list(data / part / "spk2age") == {str(a): str(a - 980) for a in sorted(actors)}
    train = set(read_list(data / "train" / "utt2spk"))
    assert train - set(read_list(data / "train" / "video.scp")) == {"1001_DFA_ANG_XX"}
    assert train - set(read_list(data / "train" / "wav.scp")) == {"1003_WSI_NEU_XX"}
    for part in ("dev", "eval"):
        trials = read_trials(data / part / "trials" / part)
        kinds = set()
        for one, other, target in zip(*trials, strict=True):
            assert one[5:8] != other[5:8], "a trial compares different sentences"
            assert (one[:4] == other[:4]) == target
            kinds.add((bool(target), int(one[:4]) % 2 == int(other[:4]) % 2))
        assert kinds == {(True, True), (False, True), (False, False)}
        # Every clip has two target trials: the actor has that many clips of another sentence.
        assert np.unique(trials.enroll[trials.is_target], return_counts=True)[1].tolist() == [2] * 4 * len(
            DEV if part == "dev" else EVAL
        )
    assert (data / "corpus").read_text() == "cremad\n"

    again = run("./run.sh", "--stop-stage", "0", *command, cwd=RECIPE)
    assert "the lists are up to date" in again.stderr
    assert set(read_list(data / "train" / "wav.scp")) == train - {"1003_WSI_NEU_XX"}


def test_faces_of_flash_video(cremad):
    """The center of the picture, in color, at 25 frames per second: 12 frames at 29.97 are 0.4 s."""
    config = FacesConfig.read(RECIPE / "conf" / "faces.yaml")
    crops = FaceCropper(config)(str(cremad / "VideoFlash" / "1001_IEO_SAD_LO.flv"))
    assert crops.shape == (10, 3 * 128 * 128)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "--cremad-root DIR: say where CREMA-D is"), (["--cremad-root", "local"], "is --cremad-root the folder")],
)
def test_wrong_root(arguments, message, tmp_path):
    done = run("local/prepare_data.sh", *arguments, tmp_path / "data", cwd=RECIPE)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_damaged_demographics(tmp_path):
    spec = importlib.util.spec_from_file_location("cremad", RECIPE / "local/cremad.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table = tmp_path / "VideoDemographics.csv"
    for content, message in (
        (b"Actor,Age,Sex\n1001,51,Male\n", ":2: no ActorID"),
        (b"ActorID,Age,Sex\n1001,51,\n", ":2: no Sex"),
        (b"ActorID,Age,Sex\n1001\n", ":2: no Age"),
        (b"ActorID,Age,Sex\n\xff,51,Male\n", "not a text file"),
    ):
        table.write_bytes(content)
        with pytest.raises(DataError, match=message):
            module.read_people(table)


def test_only_local_and_conf_are_its_own():
    own = [path for path in RECIPE.rglob("*") if path.is_file() and not path.is_symlink()]
    own = [
        path
        for path in own
        if path.relative_to(RECIPE).parts[0] not in ("data", "exp") and "__pycache__" not in path.parts
    ]
    assert {path.relative_to(RECIPE).parts[0] for path in own} == {"local", "conf"}
    assert sum(len(path.read_text().splitlines()) for path in own) < 160
