"""The commands that use a model, as a shell runs them."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from finished_run import FinishedRun, make_run
from paths import ROOT
from video_media import ffmpeg

import avsv
from avsv.io.lists import read_list


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> FinishedRun:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def clips(run, tmp_path_factory) -> dict[str, Path]:
    """Utterances of the evaluation data as video files with sound."""
    folder = tmp_path_factory.mktemp("clips")
    videos, sounds = (read_list(run.data["eval"] / name) for name in ("video.scp", "wav.scp"))
    for key in videos:
        frames = ["-framerate", 25, "-i", f"{videos[key]}/%d.png"]
        ffmpeg(*frames, "-i", sounds[key], "-c:v", "ffv1", "-c:a", "pcm_s16le", folder / f"{key}.mkv")
    return {key: folder / f"{key}.mkv" for key in videos}


def command(*words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "avsv.cli", *map(str, words)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def test_verify(run, clips):
    same = command("verify", run.system, clips["s0-u0"], clips["s0-u1"], "--far", 0.1)
    assert same.returncode == 0, same.stderr
    assert same.stderr == ""
    lines = same.stdout.splitlines()
    assert lines[0].startswith(f"{clips['s0-u0']}: voice and face: ") and "3 crops" in lines[0]
    assert lines[2].startswith("mode AVxAV: cosine 0.") and lines[3].startswith("the same person: above ")
    other = command("verify", run.system, clips["s0-u0"], clips["s1-u0"], "--json")
    assert other.returncode == 3, other.stderr
    expected = asdict(avsv.load(run.system).verify(clips["s0-u0"], clips["s1-u0"]))
    found = json.loads(other.stdout)
    assert found["accepted"] is False and found.keys() == expected.keys()
    for name in ("cosine", "score", "llr", "threshold"):
        assert found[name] == pytest.approx(expected[name], rel=1e-4)


def test_export_and_verify_elsewhere(run, clips, tmp_path):
    done = command("export", run.system, tmp_path / "model", "--license", "CC-BY-4.0")
    assert done.returncode == 0, done.stderr
    assert "License: CC-BY-4.0" in (tmp_path / "model/MODEL.md").read_text()
    pair = clips["s1-u0"], clips["s2-u0"], "--json"
    assert command("verify", tmp_path / "model", *pair).stdout == command("verify", run.system, *pair).stdout


@pytest.mark.parametrize(
    "words, message",
    [
        (["nothing", "a.wav", "b.wav"], "nothing: no such model: give the folder of a model"),
        (["SYSTEM", "a.wav", "b.wav"], "a.wav: no such file or folder"),
        (["SYSTEM", "CLIP", "CLIP", "--far", "2"], "--far 2: a false-accept rate is between 0 and 1"),
        (["SYSTEM", "CLIP", "CLIP", "--mode", "AB"], "mode 'AB' is not one of AVxAV AxA VxV AVxA AVxV AxV"),
        (["SYSTEM", "CLIP", "CLIP", "--device", "cuda"], "device cuda: no GPU is visible: use cpu"),
        (["SYSTEM", "CLIP", "CLIP", "--detector", "yunet", "--detector-weights", "."], "no such file: detector yunet"),
    ],
)
def test_bad_input_ends_in_one_line(run, clips, words, message):
    names = {"SYSTEM": run.system, "CLIP": clips["s0-u0"]}
    done = command("verify", *(names.get(word, word) for word in words))
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and message in done.stderr, done.stderr
