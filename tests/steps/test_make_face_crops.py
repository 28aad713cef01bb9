"""The step from video.scp to faces.scp: lists, jobs, failures, restarts, options and configuration."""

import shutil
import subprocess
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from commands import modified, run
from paths import ROOT
from video_media import soft_video

from avsv.errors import DataError
from avsv.io.ark import matrix_shape, read_rows
from avsv.io.lists import read_list, write_list
from avsv.video.config import FaceFormat, FacesConfig
from avsv.video.crop import FaceCropper

CONFIG = "channels: 1\nheight: 24\nwidth: 16\nfps: 10\n"


def step(*words: object, check: bool = True) -> subprocess.CompletedProcess:
    """Run the step in the recipe directory."""
    result = run("steps/make_face_crops.sh", *words)
    assert not check or result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """A folder with clips of different length."""
    folder = tmp_path_factory.mktemp("some media")
    for n in range(5):
        soft_video(folder / f"clip {n}.mp4", size="64x48", seconds=0.4 + 0.2 * n)
    return folder


@pytest.fixture
def data(media, tmp_path) -> Path:
    """A data directory in a path with a blank; speaker s2 has no video."""
    folder = tmp_path / "data dir"
    folder.mkdir()
    clips = {f"s{n % 2 + 2 * (n % 2)}-u{n}": f"{media}/clip {n}.mp4" for n in range(5)}
    clips["s0-u9"] = f"cat '{media}/clip 4.mp4' |"
    write_list(folder / "video.scp", clips)
    speakers = dict.fromkeys([*clips, "s2-u5", "s2-u6"], "")
    write_list(folder / "utt2spk", {key: key[:2] for key in speakers})
    (folder / "faces.yaml").write_text(CONFIG)
    return folder


def pixels(folder: Path) -> dict[str, np.ndarray]:
    return {key: read_rows(location) for key, location in read_list(folder / "faces.scp").items()}


def test_the_number_of_jobs_changes_nothing(data):
    step("--nj", 1, "--config", data / "faces.yaml", data)
    first = pixels(data)
    lists = [(data / name).read_bytes() for name in ("utt2num_faces", "faces.conf")]
    assert list(first) == list(read_list(data / "video.scp"))
    (data / ".faces.done").unlink()
    result = step("--nj", 3, "--config", data / "faces.yaml", data)
    assert "face crops for 6 of 6 clips" in result.stderr
    second = pixels(data)
    assert list(first) == list(second)
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert lists == [(data / name).read_bytes() for name in ("utt2num_faces", "faces.conf")]
    # With fewer jobs, no arks remain that are in no list.
    (data / ".faces.done").unlink()
    step("--nj", 2, "--config", data / "faces.yaml", data)
    assert sorted(path.name for path in (data / "arks").glob("*.ark")) == [
        "faces_data dir.1.ark",
        "faces_data dir.2.ark",
    ]


def test_lists_and_arks_fit_together(data, media):
    step("--nj", 3, "--config", data / "faces.yaml", data)
    form = FaceFormat.read(data / "faces.conf")
    assert form == FacesConfig.read(data / "faces.yaml")
    assert form.difference(FaceFormat(channels=1, height=24, width=16, fps=10)) is None
    counts = read_list(data / "utt2num_faces")
    locations = read_list(data / "faces.scp")
    # 0.4, 0.6, ... 1.2 s at 10 frames a second.
    assert {key: int(count) for key, count in counts.items()} == {
        "s0-u0": 4, "s0-u2": 8, "s0-u4": 12, "s0-u9": 12, "s3-u1": 6, "s3-u3": 10
    }  # fmt: skip
    kaldi = kaldiio.load_scp(str(data / "faces.scp"))
    expected = FaceCropper(FacesConfig(channels=1, height=24, width=16, fps=10))(f"{media}/clip 3.mp4")
    for key, location in locations.items():
        assert matrix_shape(location) == (int(counts[key]), form.row)
        assert np.array_equal(kaldi[key], read_rows(location))
    assert np.array_equal(read_rows(locations["s3-u3"]), expected)


def test_nothing_to_do_is_one_line_and_changed_options_redo(data):
    step("--nj", 1, "--config", data / "faces.yaml", data)
    before = modified(data)
    again = step("--nj", 1, "--config", data / "faces.yaml", data)
    assert len(again.stderr.splitlines()) == 1
    assert "face crops are up to date" in again.stderr
    assert before == modified(data)
    (data / "faces.yaml").write_text(CONFIG.replace("10", "5"))
    step("--nj", 1, "--config", data / "faces.yaml", data)
    assert read_list(data / "utt2num_faces")["s0-u0"] == "2"
    assert FaceFormat.read(data / "faces.conf").fps == 5


def test_finished_jobs_of_a_killed_step_are_kept(data, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text(
        "#!/usr/bin/env bash\n# Runs the first two jobs only, as if the machine had died.\n"
        "job=${1%%=*} log=$2; shift 2\n"
        'for n in 1 2; do "${@//$job/$n}" >"${log//$job/$n}" 2>&1 || exit 1; done\nexit 1\n'
    )
    broken.chmod(0o755)
    failed = step("--nj", 3, "--cmd", broken, "--config", data / "faces.yaml", data, check=False)
    assert failed.returncode != 0
    assert not (data / "faces.scp").exists()
    kept = {path: path.stat().st_mtime_ns for path in (data / "arks").glob("*.ark")}
    assert len(kept) == 2
    (data / "arks" / ".faces.3.ark.tmp.999999999").write_text("left by a killed job")
    step("--nj", 3, "--config", data / "faces.yaml", data)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert not list((data / "arks").glob(".*.tmp.*"))
    assert len(pixels(data)) == 6


def test_failures_are_listed_and_bounded(data, tmp_path):
    clips = read_list(data / "video.scp")
    (tmp_path / "zero.mp4").touch()
    write_list(data / "video.scp", {**clips, "s9-bad": str(tmp_path / "zero.mp4"), "s9-gone": "none.mp4"})
    refused = step("--nj", 2, "--config", data / "faces.yaml", data, check=False)
    assert refused.returncode == 1
    assert "2 of 8 lost, at most a share of 0.05 may be" in refused.stderr
    assert "s9-gone none.mp4: no such file or folder" in refused.stderr
    assert not (data / "faces.scp").exists()
    accepted = step("--nj", 1, "--max-lost", 0.3, "--config", data / "faces.yaml", data)
    assert "warning: 2 of 8 lost" in accepted.stderr
    assert "face crops for 6 of 8 clips" in accepted.stderr
    assert "s9-bad" not in pixels(data)
    reasons = read_list(data / "log" / "make_face_crops.failed")
    assert list(reasons) == ["s9-bad", "s9-gone"]
    assert "the file is empty (0 bytes)" in reasons["s9-bad"]
    # A repaired clip is tried again when the marker has been removed.
    shutil.copy(next(path for path in clips.values() if path.endswith("clip 0.mp4")), tmp_path / "zero.mp4")
    (data / ".faces.done").unlink()
    step("--nj", 1, "--max-lost", 0.3, "--config", data / "faces.yaml", data)
    assert len(pixels(data)["s9-bad"]) == 4


def test_options_override_the_configuration(data):
    (data / "faces.yaml").write_text(CONFIG + "detector: yunet\nalign: true\n")
    result = step("--nj", 1, "--detector", "none", "--align", "false", "--config", data / "faces.yaml", data)
    assert "face crops for 6 of 6 clips" in result.stderr


@pytest.mark.parametrize(
    ("words", "config", "message"),
    [
        (["--detector", "yunett"], CONFIG, "faces.yaml: detector: yunett: did you mean 'yunet'?"),
        (["--align", "true"], CONFIG, "faces.yaml: align: landmarks need a detector, and detector is 'none'"),
        (["--align", "yes"], CONFIG, "faces.yaml: align: expected true or false, not the text yes"),
        (["--min-face-share", "2"], CONFIG, "faces.yaml: min_face_share: 2.0: must be 0 to 1"),
        (["--selct", "central"], CONFIG, "unknown option --selct: the options are --align --cmd --config --detector"),
        ([], "hieght: 12\n", "faces.yaml: hieght: unknown key: did you mean 'height'?"),
        ([], "height: tall\n", "faces.yaml: height: expected a whole number, not the text tall"),
        ([], "height: 4\n", "faces.yaml: height: 4: must be 8 to 1024 pixels"),
        ([], "channels: 2\n", "faces.yaml: channels: 2: choose 1 for gray or 3 for color"),
        ([], "fps: 0\n", "faces.yaml: fps: 0.0: must be above 0 and at most 1000 frames per second"),
        ([], "margin: -1\n", "faces.yaml: margin: -1.0: must not be negative"),
        ([], "detect_every: 0\n", "faces.yaml: detect_every: 0: must be at least 1"),
        ([], "detect_side: 8\n", "faces.yaml: detect_side: 8: must be at least 64 pixels"),
    ],
)
def test_wrong_options_and_keys(data, words, config, message):
    (data / "faces.yaml").write_text(config)
    result = step("--config", data / "faces.yaml", *words, data, check=False)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (data / "faces.scp").exists()


def test_a_wrong_list(data):
    clips = (data / "video.scp").read_text().splitlines(keepends=True)
    for lines, message in (
        ([], "video.scp is empty"),
        (reversed(clips), "is not sorted, or has a key twice: run utils/fix_data_dir.sh"),
        ([clips[0], clips[0]], "is not sorted, or has a key twice"),
        (["s0-u0\n"], "1 field, expected a key and a value"),
    ):
        (data / "video.scp").write_text("".join(lines))
        result = step("--config", data / "faces.yaml", data, check=False)
        assert result.returncode == 1
        assert message in result.stderr
    (data / "video.scp").unlink()
    assert "no such file" in step("--config", data / "faces.yaml", data, check=False).stderr


def test_usage():
    assert step(check=False).returncode == 2
    assert "option --select needs a value" in step("--select", check=False).stderr
    shown = step("--help")
    for option in (
        "nj",
        "cmd",
        "config",
        "detector",
        "detector-weights",
        "align",
        "select",
        "min-face-share",
        "max-lost",
    ):
        assert f"--{option} <" in shown.stdout


def test_the_configuration_file_lists_every_key_with_its_default():
    path = ROOT / "conf" / "faces.yaml"
    assert FacesConfig.read(path) == FacesConfig()
    text = path.read_text()
    assert all(f"\n{name}: " in text for name in FacesConfig.__dataclass_fields__)


def test_reading_a_format(tmp_path):
    FaceFormat(channels=3, height=112, width=96, fps=2).write(tmp_path / "faces.conf")
    assert FaceFormat.read(tmp_path / "faces.conf") == FaceFormat(3, 112, 96, 2.0)
    assert FaceFormat.read(tmp_path / "faces.conf").row == 3 * 112 * 96
    with pytest.raises(DataError, match=r"none.conf: no such file"):
        FaceFormat.read(tmp_path / "none.conf")
    (tmp_path / "faces.conf").write_text("chanels: 3\n")
    with pytest.raises(DataError, match=r"faces.conf: chanels: unknown key: did you mean 'channels'"):
        FaceFormat.read(tmp_path / "faces.conf")
