"""A trained system as a folder, and verification with it: the scores of the recipe, and one line for what is wrong."""

import errno
import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from finished_run import FinishedRun, make_run, recording_of
from paths import ROOT

import avsv
from avsv.errors import DataError
from avsv.io.lists import read_list, read_scores, read_trials
from avsv.scoring.calibration import fit_calibration
from avsv.verification.card import model_card, write_model
from avsv.verification.decision import operating_point
from avsv.verification.model import Model
from avsv.verification.run import package_of_run

MODES = ["AVxAV", "AxA", "VxV", "AVxA", "AVxV", "AxV"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> FinishedRun:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    write_model(package_of_run(run.system), folder, "CC-BY-4.0")
    return folder


def assert_scores_of_the_recipe(model: Model, run: FinishedRun, modes: list[str], count: int = 8) -> None:
    for mode in modes:
        scored = {suffix: read_scores(run.system / "scores/eval" / f"{mode}.{suffix}") for suffix in ("cos", "asnorm")}
        calibrated = run.system / "scores/eval" / f"{mode}.llr"
        trials = list(zip(scored["cos"].enroll, scored["cos"].test, strict=True))
        for n in np.linspace(0, len(trials) - 1, count).astype(int):
            pair = [recording_of(run.data["eval"], key) for key in trials[n]]
            found = model.verify(*pair, mode=mode)
            assert found.mode == mode
            assert found.cosine == pytest.approx(scored["cos"].score[n], abs=2e-6)
            assert found.score == pytest.approx(scored["asnorm"].score[n], rel=1e-3, abs=1e-3)
            if calibrated.is_file():
                assert found.llr == pytest.approx(read_scores(calibrated).score[n], rel=1e-3, abs=1e-3)
            else:
                assert found.llr is None and found.accepted is None


def test_files_are_scored_as_the_recipe_scores_them(run, exported):
    model = avsv.load(run.system)
    assert model.modes == MODES
    assert_scores_of_the_recipe(model, run, MODES)
    keys = list(read_list(run.data["eval"] / "wav.scp"))[:2]
    pair = [recording_of(run.data["eval"], key) for key in keys]
    assert avsv.load(exported).verify(*pair) == model.verify(*pair)


@pytest.mark.parametrize(
    "options",
    [
        {"variant": "as-norm2"},
        {"variant": "s-norm", "subtract_mean": True, "embed": {"mirror": True, "video_frames": None}},
        {"quality": "duration faces norm cohort"},
    ],
)
def test_other_settings_of_scoring_and_embedding(options, tmp_path):
    run = make_run(tmp_path, **options)
    write_model(package_of_run(run.system), tmp_path / "model")
    assert_scores_of_the_recipe(avsv.load(tmp_path / "model"), run, MODES, 3)


@pytest.mark.parametrize("modalities, embed", [("A", {"speeds": True}), ("V", {})])
def test_systems_of_one_modality(modalities, embed, tmp_path):
    run = make_run(tmp_path, modalities, embed=embed)
    model = avsv.load(run.system)
    assert_scores_of_the_recipe(model, run, [f"{modalities}x{modalities}"], 3)
    keys = list(read_list(run.data["eval"] / "wav.scp"))
    other = recording_of(run.data["eval"], keys[0])
    other = other.video if modalities == "A" else other.audio
    with pytest.raises(DataError, match=f"{other}: lacks what small needs"):
        model.verify(other, other)


def test_an_embedding_is_that_of_the_ark(run):
    model = avsv.load(run.system)
    key = list(read_list(run.data["eval"] / "wav.scp"))[3]
    recording = recording_of(run.data["eval"], key)
    for mode in ("AV", "A", "V"):
        stored = kaldiio.load_scp(str(run.system / f"embeddings/eval.{mode}.scp"))[key]
        np.testing.assert_allclose(model.embed(recording, mode=mode), stored, rtol=2e-4, atol=1e-5)
    waveform, _ = soundfile.read(recording.audio, dtype="float32")
    np.testing.assert_allclose(model.embed(waveform=waveform), model.embed(recording.audio), rtol=1e-5, atol=1e-6)
    faces = model.read(recording.video).faces
    frames = model.embed(frames=faces.crops[:, 0])
    np.testing.assert_allclose(frames, model.embed(recording.video), rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError, match="samples outside"):
        model.embed(waveform=32768 * waveform)
    with pytest.raises(DataError, match=r"frames: float64 \(3, 4\): expected bytes"):
        model.embed(frames=np.zeros((3, 4)))
    with pytest.raises(DataError, match=r"frames: uint8 \(32, 32, 3\): a single picture: use image\[None\]"):
        model.embed(frames=np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(DataError, match="samples that are not finite numbers"):
        model.embed(waveform=np.full(16000, np.nan))
    with pytest.raises(DataError, match="give a recording or arrays, not both"):
        model.embed(recording.audio, waveform=waveform)
    with pytest.raises(DataError, match="give a recording, a waveform or frames"):
        model.embed()
    with pytest.raises(DataError, match="lacks what small needs in mode V"):
        model.embed(waveform=waveform, mode="V")


def test_what_is_compared_follows_from_the_files(run, tmp_path):
    model = avsv.load(run.system)
    keys = list(read_list(run.data["eval"] / "wav.scp"))[:2]
    first, second = (recording_of(run.data["eval"], key) for key in keys)
    image = sorted(Path(second.video).glob("*.png"))[0]
    for a, b, mode, used in (
        (first.audio, second.audio, "AxA", ("A", "A")),
        (first.video, second.audio, "AxV", ("V", "A")),
        (first, second.video, "AVxV", ("AV", "V")),
        (first.audio, second, "AVxA", ("A", "AV")),
        (image, second.video, "VxV", ("V", "V")),
    ):
        found = model.verify(a, b)
        assert (found.mode, found.a.modality, found.b.modality) == (mode, *used)
        assert (found.a.voice_seconds is not None) == ("A" in used[0]) and bool(found.a.faces) == ("V" in used[0])
    # One image has one face, which stands for all frames.
    assert model.read(image).faces.count == 1
    found = model.verify(first, second, mode="AxA")
    assert (found.a.modality, found.a.faces) == ("A", 0)
    assert found.cosine == model.verify(first.audio, second.audio).cosine
    with pytest.raises(TypeError, match=r"use \.accepted"):
        bool(found)


@pytest.mark.parametrize(("mode", "left_out"), [("AVxA", "video"), ("AVxV", "audio")])
def test_one_order_has_a_calibration_of_its_own(run, mode, left_out):
    """A mean of two scores spreads less than one of them: its threshold would accept too many."""
    model = avsv.load(run.system)
    mean, first = (read_scores(run.system / "scores/dev" / f"{mode}.{suffix}") for suffix in ("asnorm", "asnorm1"))
    trials = read_trials(run.data["dev"] / "trials/dev")
    assert trials.enroll.tolist() == first.enroll.tolist() and trials.test.tolist() == first.test.tolist()
    orders = first.score, 2 * mean.score - first.score
    expected = fit_calibration(np.concatenate(orders), np.tile(trials.is_target, 2), 0.01)
    settings = model.package.settings.calibration[f"{mode}/1"]
    assert (settings.scale, settings.offset) == pytest.approx(expected[:2], rel=1e-4)
    for n in (0, len(first.score) // 2, len(first.score) - 1):
        a, b = (recording_of(run.data["dev"], key) for key in (first.enroll[n], first.test[n]))
        found = model.verify(a, replace(b, **{left_out: None}), mode=mode)
        assert found.orders == 1 and model.verify(a, b, mode=mode).orders == 2
        assert found.score == pytest.approx(orders[0][n], rel=1e-3, abs=1e-3)
        assert found.llr == pytest.approx(settings.scale * found.score + settings.offset, rel=1e-4, abs=1e-4)
        other = model.verify(replace(a, **{left_out: None}), b, mode=mode)
        assert other.score == pytest.approx(orders[1][n], rel=1e-3, abs=1e-3)


def test_audio_of_another_rate_and_with_two_channels_is_converted(run, tmp_path):
    model = avsv.load(run.system)
    key = next(iter(read_list(run.data["eval"] / "wav.scp")))
    source = recording_of(run.data["eval"], key).audio
    copy = tmp_path / "copy.flac"
    subprocess.run(["sox", source, "-r", "44100", "-c", "2", copy], check=True)
    assert model.verify(source, copy).cosine > 0.98


def test_thresholds_are_measured_where_the_trials_allow_it():
    rng = np.random.default_rng(0)
    nontarget, target = np.sort(rng.normal(-3, 2, 20_000)), np.sort(rng.normal(3, 2, 500))
    for far in (0.1, 0.01, 0.002):
        point = operating_point(target, nontarget, far)
        accepted = np.count_nonzero(nontarget > point.threshold)
        assert point.measured and accepted <= far * 20_000 and accepted >= far * 20_000 - 1
    far_out = operating_point(target, nontarget, 0.0001)
    # The quantile of the normal distribution that they were drawn from.
    assert not far_out.measured and far_out.threshold == pytest.approx(-3 + 2 * 3.719, abs=0.1)
    with pytest.raises(DataError, match="between 0 and 1"):
        operating_point(target, nontarget, 1.5)
    # So small that 1 - rate is 1.
    assert (
        10 < operating_point(target, nontarget, 1e-20).threshold < operating_point(target, nontarget, 1e-320).threshold
    )


def test_the_folder_holds_no_pickle_and_describes_itself(exported, run):
    assert sorted(path.name for path in exported.iterdir()) == [
        "MODEL.md",
        "model.json",
        "scores.safetensors",
        "weights.safetensors",
    ]
    for path in exported.glob("*.safetensors"):
        assert json.loads(path.read_bytes()[8:].split(b"\0")[0].partition(b"}}")[0] + b"}}")
    digest = hashlib.md5((run.data["train"] / "utt2spk").read_bytes()).hexdigest()
    settings = json.loads((exported / "model.json").read_text())
    assert settings["license"] == "CC-BY-4.0" and settings["training"]["lists"]["train/utt2spk"] == digest
    page = (exported / "MODEL.md").read_text()
    assert "License: CC-BY-4.0" in page and "12 speakers of an unnamed corpus, seed 0" in page
    assert "avsv verify FOLDER FIRST SECOND" in page
    assert "Audio: one channel at 16000 Hz, as 20 log-mel filterbank energies" in page
    assert "Face crops: gray, 16 rows, 16 columns, 25 per second; the central part of the picture" in page
    assert f"| train/utt2spk | {digest} |" in page


def change(name: str, before: str, after: str):
    def apply(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))

    return apply


def remove(name: str):
    return lambda folder: (folder / name).unlink()


def cut(name: str):
    def apply(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return apply


@pytest.mark.parametrize(
    "damage, message",
    [
        (remove("model.json"), r"model.json: no such file: .* is not the folder of a model"),
        (remove("weights.safetensors"), r"weights.safetensors: no such file: only a part of the model is there"),
        (remove("scores.safetensors"), r"scores.safetensors: no such file: only a part of the model is there"),
        (cut("weights.safetensors"), r"weights.safetensors: not a complete safetensors file"),
        (cut("scores.safetensors"), r"scores.safetensors: not a complete safetensors file"),
        (change("model.json", '"format": 2', '"format": 3'), r"model.json: format 3, .* reads format 2: update avsv"),
        (change("model.json", '"format": 2', '"format": 1'), r"format 1, .* reads format 2: export the model again"),
        (change("model.json", '"identity": "', '"identity": "0'), r"the files of two models are mixed"),
        (change("model.json", '"num_mel_bins"', '"num_mels"'), r"fbank.num_mels: unknown key: did you mean 'num_mel_b"),
        (change("model.json", '"dim": 16', '"dim": 8'), r"weights of .* do not fit"),
        (cut("model.json"), r"model.json: cannot be read"),
    ],
)
def test_half_a_model_is_refused(exported, tmp_path, damage, message):
    shutil.copytree(exported, tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(DataError, match=message):
        avsv.load(tmp_path / "model")


def test_the_weights_of_the_detector_go_with_the_model(run, tmp_path):
    weights = tmp_path / "detectors"
    weights.mkdir()
    (weights / "face_detection_yunet_2023mar.onnx").write_bytes(b"weights")
    model = avsv.load(run.system, detector="yunet", detector_weights=weights)
    write_model(model.package, tmp_path / "model")
    shutil.rmtree(weights)
    replaced = avsv.load(tmp_path / "model").package
    write_model(replaced, tmp_path / "model", "CC-BY-4.0")
    faces = avsv.load(tmp_path / "model").package.faces
    assert faces.detector == "yunet"
    assert Path(faces.detector_weights, "face_detection_yunet_2023mar.onnx").read_bytes() == b"weights"
    shutil.rmtree(tmp_path / "model/detector")
    with pytest.raises(DataError, match=r"yunet_2023mar.onnx: no such file: only a part of the model is there"):
        avsv.load(tmp_path / "model")
    with pytest.raises(DataError, match="face detection: detector: yunett: did you mean 'yunet'"):
        avsv.load(run.system, detector="yunett")


@pytest.mark.parametrize("of_model, name", [(False, "notes.txt"), (True, "notes.txt"), (True, "detector/my_yolo.pt")])
def test_a_folder_with_other_files_is_not_overwritten(run, exported, tmp_path, of_model, name):
    folder = tmp_path / "model"
    if of_model:
        shutil.copytree(exported, folder)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("mine")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(DataError, match="holds other files"):
        write_model(package_of_run(run.system), folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_file_that_is_called_like_those_of_a_model_is_not_overwritten(run, tmp_path):
    (tmp_path / "model.json").write_text("{}")
    (tmp_path / "weights.safetensors").write_text("theirs")
    with pytest.raises(DataError, match=r"it is not the description of a model: .* is not replaced: give a new folder"):
        write_model(package_of_run(run.system), tmp_path)
    assert (tmp_path / "weights.safetensors").read_text() == "theirs"


def test_a_model_remains_until_the_next_one_is_complete(run, exported, tmp_path, monkeypatch):
    shutil.copytree(exported, tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr("avsv.verification.package.write_text", full)
        write_model(package_of_run(run.system), tmp_path / "model", "MIT")
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
    # The terms remain those that were given once.
    for license, kept in ((None, "CC-BY-4.0"), ("MIT", "MIT"), (None, "MIT")):
        write_model(package_of_run(run.system), tmp_path / "model", license)
        assert avsv.load(tmp_path / "model").package.settings.license == kept
    assert {path.name for path in (tmp_path / "model").iterdir()} == before.keys()


def test_the_corpus_is_known_before_there_are_results(run, tmp_path):
    """From the word beside the lists of the training, of which the paths may be relative to the recipe."""
    system = tmp_path / "exp/preset/small"
    shutil.copytree(run.system, system)
    about = (system / "run.yaml").read_text()
    (system / "run.yaml").write_text(about.replace(f"{run.data['train'].parent}/", "data/"))
    (tmp_path / "data").mkdir()
    assert avsv.load(system).package.settings.training.corpus is None
    (tmp_path / "data/corpus").write_text("builtin\n")
    write_model(package_of_run(system), tmp_path / "model")
    for folder in (system, tmp_path / "model"):
        with pytest.warns(UserWarning, match="small: made for the built-in corpus of synthetic voices") as warned:
            assert avsv.load(folder).package.settings.training.corpus == "builtin"
        assert len(warned) == 1 and warned[0].filename == __file__
    page = (tmp_path / "model/MODEL.md").read_text()
    assert "**Caution: made for the built-in corpus" in page and "12 speakers of builtin, seed 0" in page


def test_a_description_without_any_threshold_says_why(run):
    package = package_of_run(run.system)
    assert "| AVxA, one order | " in model_card(package)
    nothing = {mode: dict.fromkeys(part) for mode, part in package.settings.thresholds.items()}
    page = model_card(replace(package, settings=replace(package.settings, thresholds=nothing)))
    assert "The development trials are too few to measure a threshold" in page and "| mode |" not in page


@pytest.mark.parametrize(
    "missing, message",
    [
        ("scores/normalization.safetensors", "run stages 6 to 9 of the recipe first"),
        ("scores/development.safetensors", "run stage 9 of the recipe first"),
        ("scores/calibration.csv", "run stage 9 of the recipe first"),
        ("final.pt", "train this system first"),
    ],
)
def test_an_unfinished_run_is_refused(run, tmp_path, missing, message):
    shutil.copytree(run.system, tmp_path / "small")
    (tmp_path / "small" / missing).unlink()
    with pytest.raises(DataError, match=message):
        avsv.load(tmp_path / "small")


def test_a_run_of_an_earlier_version_is_told_what_to_do(run, tmp_path):
    shutil.copytree(run.system, tmp_path / "small")
    (tmp_path / "small/scores/normalization.safetensors").unlink()
    (tmp_path / "small/scores/.norm.done").touch()
    with pytest.raises(DataError, match=r"remove .*\.norm\.done and run stages 8 and 9 again"):
        avsv.load(tmp_path / "small")


def test_recordings_that_cannot_be_used(run, tmp_path):
    model = avsv.load(run.system)
    key = next(iter(read_list(run.data["eval"] / "wav.scp")))
    good = recording_of(run.data["eval"], key)
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "faint.wav", 1e-4 * rng.normal(size=16000), 16000)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "folder").mkdir()
    for name, message in (
        ("faint.wav", "no speech: 0.00 s of voice, at least 0.2 s are needed"),
        ("empty.wav", r"the file is empty"),
        ("text.mp4", "not a media file: it is text"),
        ("folder", "the folder has no images"),
        ("nothing.mp4", "no such file or folder"),
    ):
        with pytest.raises(DataError, match=f"{name}: .*{message}"):
            model.verify(good, tmp_path / name)
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    muted = replace(good, name="muted", audio=str(tmp_path / "silent.wav"))
    for other, way_out in ((good, "VxV"), (good.audio, "AxV"), (good.video, "VxV")):
        message = rf"silent.wav: all 16000 samples are 0: nothing was recorded; --mode {way_out} uses its face only"
        with pytest.raises(DataError, match=message):
            model.verify(other, muted)
        assert model.verify(other, muted, mode=way_out).mode == way_out
    for options, message in (
        ({"mode": "AxB"}, "mode 'AxB' is not one of"),
        ({"mode": "VxV"}, "has no video"),
        ({"far": 0.0}, "a false-accept rate is between 0 and 1"),
    ):
        with pytest.raises(DataError, match=message):
            model.verify(good, good.audio, **options)


def test_loading_a_model_does_not_import_the_compiler_of_pytorch(run):
    """It takes longer than all else; arithmetic and random draws on the meta device would import it."""
    code = "import sys, avsv; avsv.load(sys.argv[1]); print('torch' in sys.modules, 'torch._dynamo' in sys.modules)"
    command = [sys.executable, "-c", code, str(run.system)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"


def test_importing_the_package_imports_nothing_that_takes_long():
    code = "import sys, avsv; print(avsv.__version__, {'torch', 'numpy', 'cv2', 'av'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1)[1] == "set()\n"
    assert (ROOT / "avsv" / "py.typed").is_file()
