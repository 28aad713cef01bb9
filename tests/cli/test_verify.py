"""The commands that use a model, as a shell runs them."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from finished_run import FinishedRun, make_run, run_step
from paths import ROOT
from video_media import ffmpeg

import avsv
from avsv.cli.__main__ import program
from avsv.io.ark import read_vectors
from avsv.io.lists import Scores, read_list, read_scores
from avsv.io.safetensors import read_tensors, write_tensors
from avsv.model.saved import TrainedSystem
from avsv.verification.demo import introduction
from avsv.verification.gallery import Gallery
from avsv.verification.model import Model


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
    """What the program does in a shell; it runs in this process, because importing PyTorch takes most of its time."""
    output, errors = io.StringIO(), io.StringIO()
    status: object = 0
    with (
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        warnings.catch_warnings(),
        mock.patch.object(sys, "argv", ["avsv", *map(str, words)]),
    ):
        try:
            program()
        except SystemExit as end:
            status = end.code or 0
    return subprocess.CompletedProcess(sys.argv, status, output.getvalue(), errors.getvalue())


def in_shell(*words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "avsv.cli", *map(str, words)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def test_verify(run, clips):
    same = in_shell("verify", run.system, clips["s0-u0"], clips["s0-u1"], "--far", 0.1)
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


def test_errors_begin_with_the_name_of_the_program():
    failed = in_shell("verify", "nothing", "a.wav", "b.wav")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("avsv: error: nothing: no such model: give the folder of a model")


def test_a_model_of_the_built_in_corpus_says_so(run, clips, tmp_path):
    """The program and its page, and the model that is handed on; other corpora give no warning."""
    system = tmp_path / "work" / run.system.name
    shutil.copytree(run.system, system)
    (tmp_path / "work/results").mkdir()
    pair = clips["s0-u0"], clips["s0-u1"]
    for corpus, warned in (("builtin", True), ("voxceleb", False)):
        (tmp_path / "work/results/results.csv").write_text(f"system,corpus,mode\n{system.name},{corpus},AVxAV\n")
        assert command("export", system, tmp_path / corpus).returncode == 0
        for model in (system, tmp_path / corpus):
            done = command("verify", model, *pair, "--explain", tmp_path / "page.html")
            assert done.returncode == 0
            said = "synthetic voices and drawn faces: its decisions say nothing about people"
            with mock.patch("avsv.verification.demo.serve") as served:
                assert (said in command("demo", model).stderr) == warned
            assert (
                f"**Caution: made for the built-in corpus of {said}" in introduction(served.call_args.args[0])
            ) == warned
            assert (said in done.stderr) == (said in (tmp_path / "page.html").read_text()) == warned
        command("enroll", tmp_path / "g", corpus, pair[0], "--model", system)
        assert ("synthetic voices" in command("identify", tmp_path / "g", pair[1]).stderr) == warned


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
        (["", "CLIP", "CLIP"], "the name of a model is empty: give its folder"),
        (["SYSTEM", "CLIP", ""], "the name of a recording is empty"),
        (["FOLDER", "CLIP", "CLIP"], "exp: holds the systems small: choose one, as in "),
        (
            ["SYSTEM", "CLIP", "CLIP", "--explain", "CLIP"],
            "s0-u0.mkv: the name of this output must end in .html or .htm",
        ),
        (["nothing", "a", "b", "--explain", "no/x.html"], "no/x.html: cannot be written: there is no folder no"),
        (
            ["SYSTEM", "CLIP", "CLIP", "--detector", "yunet"],
            "give --detector-weights FOLDER with face_detection_yunet_",
        ),
        (["SYSTEM", "CLIP", "CLIP", "--detector-weights", "."], "small uses no detector: give --detector as well"),
        (["SYSTEM", "CLIP", "CLIP", "--device", "cuda"], "device cuda: 0 GPUs are visible: use cpu"),
        (["SYSTEM", "CLIP", "CLIP", "--detector", "yunet", "--detector-weights", "."], "no such file: detector yunet"),
    ],
)
def test_bad_input_ends_in_one_line(run, clips, words, message):
    names = {"SYSTEM": run.system, "FOLDER": run.system.parent, "CLIP": clips["s0-u0"]}
    done = command("verify", *(names.get(word, word) for word in words))
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and message in done.stderr, done.stderr


@pytest.mark.parametrize(
    "words, message",
    [
        (["--far", "2"], "argument --far: '2': a false-accept rate is between 0 and 1, as in 0.01"),
        (["--far", "nan"], "argument --far: 'nan': a false-accept rate is between 0 and 1"),
        (["--mode", "AB"], "argument --mode: invalid choice: 'AB'"),
        (["--mod", "AxA"], "unrecognized arguments: --mod"),
    ],
)
def test_wrong_options_are_noticed_before_anything_is_read(words, message):
    done = command("verify", "nothing", "a.wav", "b.wav", *words)
    assert done.returncode == 2 and message in done.stderr, done.stderr


def test_the_decision_is_printed_even_if_the_page_cannot_be_written(run, clips, tmp_path):
    with mock.patch("avsv.io.atomic.Path.write_text", side_effect=OSError(28, "No space left on device")):
        done = command("verify", run.system, clips["s0-u0"], clips["s0-u1"], "--explain", tmp_path / "x.html")
    assert done.returncode == 1 and "log-likelihood ratio" in done.stdout
    assert f"no space left on the device while writing {tmp_path / 'x.html'}: free some space" in done.stderr


def test_a_mean_of_both_orders_says_so(run, clips, tmp_path):
    done = command(
        "verify", run.system, clips["s0-u0"], clips["s0-u1"], "--mode", "AVxA", "--explain", tmp_path / "x.htm"
    )
    assert "\nmode AVxA, mean of both orders: cosine " in done.stdout, done.stderr
    assert "<td>AVxA, mean of both orders</td>" in (tmp_path / "x.htm").read_text()


def scores_of(folder: Path, suffix: str) -> dict[str, Scores]:
    return {path.stem: read_scores(path) for path in folder.glob(f"*.{suffix}")}


def test_score_a_data_directory_and_files(run, clips, tmp_path):
    trials, data = run.data["eval"] / "trials/eval", run.data["eval"]
    done = command("score", run.system, trials, "--data", data, "-o", tmp_path / "stored")
    assert done.returncode == 0, done.stderr
    for suffix in ("cos", "asnorm", "llr"):
        ours, recipe = scores_of(tmp_path / "stored", suffix), scores_of(run.system / "scores/eval", suffix)
        assert ours.keys() == recipe.keys() and len(ours) >= 5
        for mode, scores in ours.items():
            assert (scores.enroll == recipe[mode].enroll).all()
            np.testing.assert_allclose(scores.score, recipe[mode].score, rtol=1e-5, atol=1e-5)
    # A list without labels whose ids are paths; the second side has no video.
    sounds = read_list(data / "wav.scp")
    pairs = [("s0-u0", "s0-u1"), ("s0-u0", "s2-u1")]
    (tmp_path / "pairs").write_text("".join(f"{clips[a].name} {sounds[b]}\n" for a, b in pairs))
    done = command("score", run.system, tmp_path / "pairs", "--root", clips["s0-u0"].parent, "-o", tmp_path / "files")
    assert done.returncode == 0, done.stderr
    files = scores_of(tmp_path / "files", "llr")
    assert set(files) == {"AxA", "AVxA", "AxV"}
    assert files["AVxA"].enroll.tolist() == ["s0-u0.mkv", "s0-u0.mkv"]
    found = avsv.load(run.system).verify(clips["s0-u0"], sounds["s2-u1"])
    assert files["AVxA"].score[1] == pytest.approx(found.llr, rel=1e-4)


def test_models_are_scored_as_the_recipe_scores_them(run, clips, tmp_path):
    """Models of several utterances, in a list with labels and in one without, in all six modes."""
    system, data = tmp_path / "exp/small", tmp_path / "eval"
    shutil.copytree(run.system, system)
    shutil.copytree(run.data["eval"], data)
    (data / "enroll").write_text("m0 s0-u0 s0-u1\nm1 s1-u0 s1-u1 s1-u2\nm2 s2-u2\n")
    tests = [f"s{n}-u2" for n in range(4)]
    pairs = [(f"m{n}", key) for n in range(3) for key in tests] + [("s3-u0", "m0"), ("m1", "m2"), ("s3-u0", "s3-u1")]
    (data / "trials/models").write_text(
        "".join(f"{a} {b} {'target' if a[1] == b[1] else 'nontarget'}\n" for a, b in pairs)
    )
    (data / "trials/blind").write_text("".join(f"{a} {b}\n" for a, b in pairs))
    run_step("score_cosine", system / "embeddings", system / "scores", run.data["dev"], data)
    directories = run.data["train"], run.data["dev"], data
    run_step("score_norm", "--top-n", 5, system / "embeddings", system / "scores", *directories)
    run_step("calibrate", "--quality", "duration faces norm cohort", "--others", data, "--", system.parent,
             run.data["dev"], "small")  # fmt: skip
    for name in ("models", "blind"):
        done = command("score", system, data / "trials" / name, "--data", data, "-o", tmp_path / name)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        for suffix in ("cos", "asnorm", "llr"):
            ours, recipe = scores_of(tmp_path / name, suffix), scores_of(system / "scores" / name, suffix)
            assert ours.keys() == recipe.keys() and (len(ours) == 6 or suffix == "llr")
            for mode, scores in ours.items():
                assert list(zip(scores.enroll, scores.test, strict=True)) == pairs
                np.testing.assert_allclose(scores.score, recipe[mode].score, rtol=1e-5, atol=1e-5)
    # The same models, of paths.
    (tmp_path / "paths").write_text("m0 s1-u2.mkv\n")
    (tmp_path / "enroll").write_text("m0 s0-u0.mkv s0-u1.mkv\n")
    options = "--root", clips["s0-u0"].parent, "--enroll", tmp_path / "enroll", "--modes", "AVxAV"
    done = command("score", system, tmp_path / "paths", *options, "-o", tmp_path / "files")
    assert done.returncode == 0, done.stderr
    wanted = scores_of(system / "scores/models", "cos")["AVxAV"].score[pairs.index(("m0", "s1-u2"))]
    assert scores_of(tmp_path / "files", "cos")["AVxAV"].score.tolist() == [pytest.approx(wanted, abs=1e-4)]
    # A quality measure that is unknown for a side of another trial.
    sound = read_list(data / "wav.scp")["s0-u0"]
    (tmp_path / "paths").write_text(f"{sound} s1-u2.mkv\ns0-u0.mkv s1-u2.mkv\n")
    done = command("score", system, tmp_path / "paths", *options, "--max-lost", 0.5, "-o", tmp_path / "files")
    assert done.returncode == 0, done.stderr
    assert scores_of(tmp_path / "files", "llr")["AVxAV"].enroll.tolist() == ["s0-u0.mkv"]


def test_score_recordings_of_a_data_directory_without_features(run, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("wav.scp", "video.scp", "utt2spk"):
        (bare / name).symlink_to(run.data["eval"] / name)
    (tmp_path / "pairs").write_text("s0-u0 s1-u1\n")
    done = command("score", run.system, tmp_path / "pairs", "--data", bare, "-o", tmp_path / "out", "--modes", "AVxAV")
    assert done.returncode == 0, done.stderr
    assert "reading its recordings" in done.stderr
    recipe = scores_of(run.system / "scores/eval", "cos")["AVxAV"]
    (row,) = np.flatnonzero((recipe.enroll == "s0-u0") & (recipe.test == "s1-u1"))
    assert scores_of(tmp_path / "out", "cos")["AVxAV"].score[0] == pytest.approx(recipe.score[row], abs=1e-5)


def test_each_mode_scores_the_trials_that_have_it(run, clips, tmp_path):
    """Trials of different modalities in one list; score files of an earlier list do not stay beside them."""
    sounds, videos = (read_list(run.data["eval"] / name) for name in ("wav.scp", "video.scp"))
    clip, out = clips["s1-u1"], tmp_path / "out"
    firsts = [clips["s0-u0"], sounds["s0-u1"], videos["s0-u2"]]
    (tmp_path / "pairs").write_text("".join(f"{first} {clip}\n" for first in firsts))
    out.mkdir()
    for name in ("AVxAV.llr", "AxA.asnorm1", "notes"):
        (out / name).touch()
    failed = command("score", run.system, tmp_path / "pairs", "-o", out, "--modes", "AVxAV")
    assert failed.returncode == 1 and failed.stderr.count("\n") == 1
    assert f"pairs:2: '{firsts[1]} {clip}' lacks what mode AVxAV needs, first of 2 (2 of 3 trials" in failed.stderr
    done = command("score", run.system, tmp_path / "pairs", "-o", out)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    counts = {mode: len(scores.score) for mode, scores in scores_of(out, "cos").items()}
    assert counts == {"AVxAV": 1, "AxA": 2, "VxV": 2, "AVxA": 2, "AVxV": 2, "AxV": 3}
    assert f"{out}/AxA.cos: 2 of 3 trials\n" in done.stdout and f"{out}/AxV.cos: 3 trials\n" in done.stdout
    assert scores_of(out, "cos")["VxV"].enroll.tolist() == [str(firsts[0]), str(firsts[2])]
    (tmp_path / "pairs").write_text(f"{sounds['s0-u0']} {sounds['s1-u0']}\n")
    done = command("score", run.system, tmp_path / "pairs", "-o", out)
    assert f"{out}/AVxAV.cos: removed: an earlier run left it" in done.stderr
    assert {path.name.partition(".")[0] for path in out.iterdir()} == {"AxA", "notes"}
    assert (out / "AxA.asnorm1").exists()


@pytest.fixture
def broken(run, clips, tmp_path) -> dict[str, Path]:
    """Two good clips, one file that is none, and one that does not exist."""
    (tmp_path / "text.mp4").write_text("no video")
    return {"a": clips["s0-u0"], "b": clips["s1-u0"], "bad": tmp_path / "text.mp4", "none": tmp_path / "none.mp4"}


def test_recordings_that_cannot_be_read_are_lost_trials(run, broken, tmp_path):
    a, b, bad, none = broken.values()
    (tmp_path / "pairs").write_text(f"{a} {b}\n{a} {bad}\n{none} {bad}\n{b} {a}\n")
    words = "score", run.system, tmp_path / "pairs", "-o", tmp_path / "out"
    failed = command(*words, "--max-lost", 0.3)
    assert failed.returncode == 1 and not (tmp_path / "out").exists()
    assert f"pairs:2: {bad}: {bad}: not a media file" in failed.stderr and "(2 of 4 trials are lost" in failed.stderr
    done = command(*words, "--max-lost", 0.5)
    assert done.returncode == 0, done.stderr
    warned = done.stderr.splitlines()
    assert len(warned) == 2 and "pairs:2:" in warned[0] and f"pairs:3: {none}: {none}: no such file" in warned[1]
    assert scores_of(tmp_path / "out", "cos")["AVxAV"].enroll.tolist() == [str(a), str(b)]


def test_recordings_that_cannot_be_embedded_are_named(run, broken, tmp_path):
    a, b, bad, none = broken.values()
    words = "embed", run.system, a, bad, none, b, "-o", tmp_path / "x.npz"
    failed = command(*words, "--max-lost", 0.4)
    assert failed.returncode == 1 and not (tmp_path / "x.npz").exists()
    assert failed.stderr.count("\n") == 2 and "(2 of 4 recordings are lost" in failed.stderr
    done = command(*words, "--max-lost", 0.5)
    assert done.returncode == 0 and f"warning: {none}: no such file" in done.stderr and str(bad) in done.stderr
    assert np.load(tmp_path / "x.npz")["keys"].tolist() == sorted([str(a), str(b)])


def test_utterances_without_a_recording_are_named(run, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    wav = read_list(run.data["eval"] / "wav.scp")
    (bare / "wav.scp").write_text(f"s0-u0 {wav['s0-u0']}\n")
    (bare / "utt2spk").write_text("s0-u0 s0\ns0-u1 s0\n")
    words = "embed", run.system, bare, "-o", tmp_path / "x"
    failed = command(*words)
    assert failed.returncode == 1 and f"s0-u1: {bare} has no recording of it (1 of 2 recordings" in failed.stderr
    assert command(*words, "--max-lost", 0.5).returncode == 0
    assert read_vectors(tmp_path / "x.scp")[0] == ["s0-u0"]
    (tmp_path / "pairs").write_text("s0-u0 s0-u0\ns0-u0 s0-u1\n")
    words = "score", run.system, tmp_path / "pairs", "--data", bare, "-o", tmp_path / "out"
    assert f"pairs:2: s0-u1: {bare} has no recording of it (1 of 2 trials" in command(*words).stderr
    assert command(*words, "--max-lost", 0.5).stdout.startswith(f"{tmp_path}/out/AxA.cos: 1 of 2 trials\n")


def test_what_cannot_be_written_is_said_before_the_model_is_loaded(run, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(Model, "load", mock.Mock(side_effect=AssertionError))
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "eval"
    data.mkdir()
    for name in ("wav.scp", "utt2spk"):
        shutil.copy(run.data["eval"] / name, data)
    for name in ("a b.wav", "good.csv", "pairs"):
        (tmp_path / name).write_text(f"{clips['s0-u0']} {clips['s1-u0']}\n")
    Path("models").write_text(f"m0 {clips['s0-u0']} {clips['s0-u0']}\n")
    Path("scores").mkdir()
    shutil.copy("pairs", "scores/AxA.cos")
    before = (data / "wav.scp").read_text()
    for words, message in (
        (["embed", "MODEL", data, "-o", data / "wav"], "wav.scp: is read and would be replaced"),
        (["embed", "MODEL", "good.csv", "-o", "good.csv"], "good.csv: is read and would be replaced"),
        (["embed", "MODEL", clips["s0-u0"], "-o", "x"], "begins with a slash, so it is no key of Kaldi: write OUT.npz"),
        (["embed", "MODEL", "../x/a.wav", "-o", "x"], "'../x/a.wav' has . or .. between slashes, so it is no key"),
        (["embed", "MODEL", "a b.wav", "-o", "x"], "'a b.wav' has a blank, so it is no key"),
        (["embed", "MODEL", "a b.wav", "-o", "no/x.npz"], "no/x.npz: cannot be written: there is no folder no"),
        (["score", "MODEL", "scores/AxA.cos", "-o", "scores"], "scores/AxA.cos: is read and would be replaced"),
        (["score", "MODEL", "pairs", "-o", "pairs"], "pairs: is a file: give the name of a folder"),
        (
            ["score", "MODEL", "pairs", "--enroll", "models", "-o", "x"],
            "models:1: the model 'm0' has an utterance twice",
        ),
    ):
        failed = command(*words)
        assert failed.returncode == 1 and failed.stderr.count("\n") == 1
        assert message in failed.stderr, failed.stderr
    assert (data / "wav.scp").read_text() == before


def test_embed(run, clips, tmp_path):
    stored = dict(zip(*read_vectors(run.system / "embeddings/eval.AV.scp"), strict=True))
    done = command("embed", run.system, run.data["eval"], "-o", tmp_path / "all")
    assert done.returncode == 0, done.stderr
    keys, matrix = read_vectors(tmp_path / "all.scp")
    assert keys == sorted(stored)
    np.testing.assert_allclose(matrix, [stored[key] for key in keys], rtol=1e-5, atol=1e-6)
    pair = [clips["s0-u0"], clips["s3-u2"]]
    assert command("embed", run.system, *pair, "-o", tmp_path / "x.npz").returncode == 0
    assert command("embed", run.system, *pair, "-o", tmp_path / "x.csv", "--mode", "A").returncode == 0
    content = np.load(tmp_path / "x.npz")
    assert content["keys"].tolist() == [str(path) for path in pair]
    np.testing.assert_allclose(content["embeddings"], [stored["s0-u0"], stored["s3-u2"]], rtol=1e-3, atol=1e-4)
    voices = dict(zip(*read_vectors(run.system / "embeddings/eval.A.scp"), strict=True))
    rows = [line.split(",") for line in (tmp_path / "x.csv").read_text().splitlines()]
    np.testing.assert_allclose(np.array([row[1:] for row in rows], float)[0], voices["s0-u0"], rtol=1e-3, atol=1e-4)


def test_enroll_and_identify(run, clips, tmp_path):
    gallery = tmp_path / "people"
    first = command("enroll", gallery, "Ann Lee", clips["s0-u0"], clips["s0-u1"], "--model", run.system)
    assert first.returncode == 0, first.stderr
    sounds = read_list(run.data["eval"] / "wav.scp")
    assert command("enroll", gallery, "Bob", sounds["s1-u0"]).returncode == 0
    assert command("enroll", gallery, "Bob", sounds["s1-u1"]).stdout.endswith("Bob: A from 2 recordings; 2 enrolled\n")
    known = command("identify", gallery, clips["s0-u2"], "--json", "--far", 0.1)
    assert known.returncode == 0, known.stderr
    found = json.loads(known.stdout)
    assert found["name"] == "Ann Lee" and [one["mode"] for one in found["candidates"]] == ["AVxAV", "AVxA"]
    # The mean of the unit embeddings of both recordings, by hand.
    stored = dict(zip(*read_vectors(run.system / "embeddings/eval.AV.scp"), strict=True))
    unit = {key: vector / np.linalg.norm(vector) for key, vector in stored.items()}
    ann = unit["s0-u0"] + unit["s0-u1"]
    assert found["candidates"][0]["cosine"] == pytest.approx(ann @ unit["s0-u2"] / np.linalg.norm(ann), abs=1e-4)
    stranger = command("identify", gallery, clips["s3-u0"], "--far", 0.001)
    assert stranger.returncode == 3 and stranger.stdout.startswith("nobody\n")
    # Only the voices; what a decision was made with.
    voice = command("identify", gallery, clips["s0-u2"], "--json", "--far", 0.1, "--mode", "AxA")
    found = json.loads(voice.stdout)
    assert [one["mode"] for one in found["candidates"]] == ["AxA", "AxA"] and found["rate"] == 0.05
    for one in found["candidates"]:
        point = avsv.load(run.system).operating_point("AxA", 0.05, 1)
        assert (one["threshold"], one["measured"]) == (point.threshold, point.measured)
        assert one["accepted"] == (one["llr"] > one["threshold"])
    assert "0.05 % of other persons are accepted: 0.1 % in 2 comparisons" in stranger.stdout
    picture = command("identify", gallery, read_list(run.data["eval"] / "video.scp")["s0-u2"], "--mode", "AxA")
    assert picture.returncode == 1 and "has no audio" in picture.stderr


def test_two_enrollments_at_once(run, clips, tmp_path, monkeypatch):
    """Somebody who was enrolled while others' recordings were embedded stays, also in a gallery that did not exist."""
    gallery = tmp_path / "people"
    embed = Model.embed_reading

    def embed_late(model, reading):
        monkeypatch.setattr(Model, "embed_reading", embed)
        assert command("enroll", gallery, "Bob", clips["s1-u0"], "--model", run.system).returncode == 0
        return embed(model, reading)

    monkeypatch.setattr(Model, "embed_reading", embed_late)
    done = command("enroll", gallery, "Ann", clips["s0-u0"], "--model", run.system)
    assert done.returncode == 0 and done.stdout.endswith("2 enrolled\n"), done.stderr
    assert set(Gallery.read(gallery).people) == {"Ann", "Bob"}


def test_a_recording_counts_once_and_a_person_can_be_removed(run, clips, tmp_path):
    gallery, copy = tmp_path / "people", tmp_path / "copy.mkv"
    shutil.copy(clips["s0-u0"], copy)
    assert command("enroll", gallery, "Ann", clips["s0-u0"], "--model", run.system).returncode == 0
    done = command("enroll", gallery, " Ann ", copy, clips["s0-u1"], clips["s0-u1"])
    assert done.returncode == 0 and "Ann: AV from 2, A from 2, V from 2 recordings; 1 enrolled" in done.stdout
    for line, clip in zip(done.stderr.splitlines(), (copy, clips["s0-u1"]), strict=True):
        assert line == f"avsv: warning: {clip}: is a recording of Ann already: not added again"
    failed = command("remove", gallery, "Bob")
    assert failed.returncode == 1 and "people: 'Bob' is not enrolled: the gallery has Ann" in failed.stderr
    assert command("remove", gallery, "Ann").stdout.endswith("Ann: removed; 0 enrolled\n")
    assert "nobody is enrolled in the gallery" in command("identify", gallery, copy).stderr
    assert command("remove", tmp_path / "none", "Ann").returncode == 1
    assert not (tmp_path / ".none.lock").exists()


def test_a_model_that_was_moved(run, clips, tmp_path):
    system = tmp_path / "small"
    shutil.copytree(run.system, system)
    assert command("enroll", tmp_path / "g", "Ann", clips["s0-u0"], "--model", system).returncode == 0
    system.rename(tmp_path / "moved")
    for words in (["enroll", tmp_path / "g", "Bob", clips["s1-u0"]], ["identify", tmp_path / "g", clips["s1-u0"]]):
        failed = command(*words)
        assert failed.returncode == 1
        assert f"{system}: no such model, which made {tmp_path / 'g'}: if it was moved, give --model" in failed.stderr
    assert command("enroll", tmp_path / "g", "Bob", clips["s1-u0"], "--model", tmp_path / "moved").returncode == 0
    assert command("identify", tmp_path / "g", clips["s1-u0"], "--far", 0.1).returncode == 0


def test_what_cannot_be_enrolled_is_said_before_anything_is_embedded(run, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(Model, "load", mock.Mock(side_effect=AssertionError))
    (tmp_path / "empty.wav").touch()
    good, new = clips["s0-u0"], tmp_path / "g"
    for words, message in (
        ([new, "", good], "name '': use printable characters"),
        ([new, "Ann", good, tmp_path / "none.mp4"], "none.mp4: no such file or folder"),
        ([new, "Ann", good, tmp_path / "empty.wav"], "empty.wav: the file is empty"),
        ([tmp_path, "Ann", good], "is a folder: give the name of a file"),
        ([tmp_path / "no/g", "Ann", good], f"there is no folder {tmp_path / 'no'}"),
        ([good, "Ann", good], "is read and would be replaced"),
        ([good, "Ann", clips["s0-u1"]], "s0-u0.mkv: not a gallery"),
    ):
        failed = command("enroll", *words, "--model", run.system)
        assert failed.returncode == 1 and message in failed.stderr, failed.stderr


def test_a_person_whose_voice_and_face_are_from_different_recordings(run, clips, tmp_path):
    """They are compared by one of the two, whoever else is in the gallery and in whatever order they were enrolled."""
    sounds, videos = (read_list(run.data["eval"] / name) for name in ("wav.scp", "video.scp"))
    found = []
    for order in (("Ann", "Bob"), ("Bob", "Ann")):
        gallery = tmp_path / order[0]
        recordings = {"Ann": [sounds["s0-u0"], sounds["s0-u1"], videos["s0-u0"]], "Bob": [sounds["s1-u0"]]}
        for name in order:
            for recording in recordings[name]:
                assert command("enroll", gallery, name, recording, "--model", run.system).returncode == 0
        done = command("identify", gallery, clips["s0-u2"], "--json", "--far", 0.1)
        found.append(json.loads(done.stdout))
        assert {one["name"]: one["mode"] for one in found[-1]["candidates"]} == {"Ann": "AVxA", "Bob": "AVxA"}
        face = json.loads(command("identify", gallery, videos["s0-u2"], "--json", "--far", 0.1).stdout)
        assert {one["name"]: one["mode"] for one in face["candidates"]} == {"Ann": "VxV", "Bob": "AxV"}
    assert found[0] == found[1]
    voices, both = (
        dict(zip(*read_vectors(run.system / f"embeddings/eval.{mode}.scp"), strict=True)) for mode in ("A", "AV")
    )
    ann = sum(voices[key] / np.linalg.norm(voices[key]) for key in ("s0-u0", "s0-u1"))
    wanted = ann @ both["s0-u2"] / np.linalg.norm(ann) / np.linalg.norm(both["s0-u2"])
    assert found[0]["candidates"][0]["cosine"] == pytest.approx(wanted, abs=1e-4)


def test_a_rate_that_is_none_is_refused_however_many_people_are_enrolled(run, clips, tmp_path):
    for key, name in (("s0-u0", "Ann"), ("s1-u0", "Bob")):
        assert command("enroll", tmp_path / "g", name, clips[key], "--model", run.system).returncode == 0
    done = command("identify", tmp_path / "g", clips["s0-u1"], "--far", 1.5)
    assert done.returncode == 2 and "--far: '1.5': a false-accept rate is between 0 and 1" in done.stderr


def test_a_damaged_gallery(run, clips, tmp_path):
    assert command("enroll", tmp_path / "g", "Ann", clips["s0-u0"], "--model", run.system).returncode == 0
    content = read_tensors(tmp_path / "g")
    for people in (
        None,
        "",
        "{",
        '[{"name": "Ann"}]',
        "[" * 100_000,
        json.dumps([{"name": "Ann", "counts": {"X": 1}}]),
    ):
        about = {key: value for key, value in content.metadata.items() if key != "people"}
        write_tensors(tmp_path / "bad", content.arrays, about | ({} if people is None else {"people": people}))
        done = command("identify", tmp_path / "bad", clips["s0-u1"])
        assert done.returncode == 1 and "bad: a damaged gallery: copy it again" in done.stderr, people


def test_a_gallery_of_another_model(run, clips, tmp_path):
    trained = TrainedSystem.load(run.system / "final.pt")
    name = next(iter(trained.embedder))
    trained.embedder[name] = trained.embedder[name] + 1
    other = tmp_path / "other"
    shutil.copytree(run.system, other)
    trained.save(other / "final.pt")
    assert command("enroll", tmp_path / "g", "Ann", clips["s0-u0"], "--model", run.system).returncode == 0
    for words in (("enroll", tmp_path / "g", "Bob", clips["s1-u0"]), ("identify", tmp_path / "g", clips["s1-u0"])):
        done = command(*words, "--model", other)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert "their embeddings cannot be compared: enroll them again" in done.stderr


def test_bad_input_to_the_other_commands(run, clips, tmp_path):
    (tmp_path / "unknown").write_text("s0-u0 nobody\n")
    (tmp_path / "text").write_text("nothing\n")
    data, out = run.data["eval"], tmp_path / "out"
    sounds = read_list(data / "wav.scp")
    for words, message in (
        (["score", run.system, tmp_path / "unknown", "--data", data, "-o", out], "unknown:1: 'nobody' is not among"),
        (["score", run.system, tmp_path / "text", "--data", data, "-o", out], "'nothing' is not a trial list"),
        (["score", run.system, tmp_path / "none", "--data", data, "-o", out], "none: no such file"),
        (
            ["score", run.system, tmp_path / "unknown", "--data", data, "--enroll", tmp_path / "unknown", "-o", out],
            "unknown:1: the model 's0-u0' has the name of an utterance",
        ),
        (["embed", run.system, sounds["s0-u0"], "--mode", "V", "-o", f"{out}.npz"], "lacks what --mode V needs"),
        (["enroll", tmp_path / "gallery", "Ann", clips["s0-u0"]], "no such gallery: give --model to create it"),
        (
            ["enroll", tmp_path / "g", "Nobody", clips["s0-u0"], "--model", run.system],
            "answers for strangers: choose another",
        ),
        (["embed", run.system, sounds["s0-u0"], "-o", ""], "--out: expected OUT.npz, OUT.csv or the prefix"),
        (["identify", tmp_path / "gallery", clips["s0-u0"]], "no such gallery: 'avsv enroll' creates one"),
        (["identify", tmp_path / "text", clips["s0-u0"]], "not a gallery of 'avsv enroll', or only a part of one"),
        (["identify", tmp_path, clips["s0-u0"]], "is a folder, not a gallery"),
        (["export", tmp_path, out], "is not the folder of a model"),
    ):
        done = command(*words)
        assert done.returncode == 1 and done.stdout == "", done.stdout
        assert done.stderr.count("\n") == 1 and message in done.stderr, done.stderr
        assert not out.exists()
