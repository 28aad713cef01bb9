"""From whole utterances to embedding arks."""

import dataclasses
import itertools
import shutil
import sys
from pathlib import Path

import commands
import kaldiio
import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from synthetic import FACES, FBANK, config, make_data_dir

from avsv.audio.config import write_settings
from avsv.audio.fbank import Fbank
from avsv.bin import extract_embeddings
from avsv.corruption.embed import embed_sides, modes_of_side
from avsv.data.batch import Batch
from avsv.data.clips import WholeUtterances
from avsv.data.inputs import Inputs
from avsv.data.lists import read_utterances
from avsv.embed.directories import embed_share
from avsv.embed.extract import embed_batches
from avsv.embed.modes import choose_modes
from avsv.embed.parts import PartWriter, merge_parts, merge_shares
from avsv.errors import DataError
from avsv.io.ark import read_vectors
from avsv.io.lists import read_list
from avsv.model.saved import TrainedEmbedder, TrainedSystem
from avsv.model.trainable import TrainableSystem
from avsv.video.config import FacesConfig

MODES = ["AV", "A", "V"]


def make_system(folder: Path, modalities: str = "AV", **sections: dict) -> Path:
    """The folder of a system whose statistics are not those of new batch normalization layers."""
    settings = config(modalities, **sections)
    torch.manual_seed(0)
    system = TrainableSystem(settings, 3)
    for name, value in system.state_dict().items():
        if "running" in name:
            value.uniform_(0.5, 1.5)
    video = FACES if "V" in modalities else None
    TrainedSystem.of(system, settings, ["a", "b", "c"], FBANK, video).save(folder / "final.pt")
    (folder / "config.yaml").write_text(settings.to_yaml())
    return folder


@pytest.fixture(scope="module")
def system(tmp_path_factory) -> Path:
    return make_system(tmp_path_factory.mktemp("system"))


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("data")
    return [
        make_data_dir(folder / "dev", 3, 3, (0.8, 2.0)),
        make_data_dir(folder / "eval", 4, 3, (0.6, 1.6), 1, without_audio=("s2-u1",), without_video=("s0-u0", "s3-u2")),
    ]


def run(system: Path, sets: list[Path], out: Path, jobs: int, modes: list[str] = MODES) -> Path:
    out.mkdir()
    for job in range(1, jobs + 1):
        embed_share(system, modes, sets, out, job, jobs, use_gpu=False, num_workers=0, progress=out / f"{job}.progress")
    merge_shares(out, jobs, modes, out, sets)
    return out


def test_embeddings_are_those_of_single_utterances(system, sets, tmp_path, capsys):
    out = run(system, sets, tmp_path / "out", jobs=2)
    network = TrainedSystem.load(system / "final.pt").build()
    for directory in sets:
        feats = kaldiio.load_scp(str(directory / "feats.scp"))
        faces = kaldiio.load_scp(str(directory / "faces.scp"))
        table = read_utterances(directory)
        clips = WholeUtterances(table, np.zeros(len(table)), config("AV").embed, Inputs(FBANK, FACES))
        for mode in MODES:
            keys, vectors = read_vectors(out / f"{directory.name}.{mode}.scp")
            able = [
                key for key in table.keys if ("A" not in mode or key in feats) and ("V" not in mode or key in faces)
            ]
            assert keys == able
            for index, key in enumerate(table.keys):
                if key not in able:
                    continue
                with torch.no_grad():
                    alone = network.embed(clips.batch_of([index]).prepare("cpu"), [mode])[mode][0].numpy()
                np.testing.assert_allclose(vectors[keys.index(key)], alone, atol=2e-5)
    told = capsys.readouterr().out.splitlines()
    assert any(line.startswith("eval.AV: 3 of 12 utterances lack a modality") for line in told)
    assert not any(line.startswith("dev.") for line in told)
    assert (out / "eval.AV.missing").read_text().split() == ["s0-u0", "s2-u1", "s3-u2"]
    assert (out / "eval.A.missing").read_text().split() == ["s2-u1"]
    assert not (out / "dev.AV.missing").exists()


@pytest.mark.parametrize("modalities", ["A", "AV"])
def test_embeddings_at_several_speeds(sets, tmp_path, modalities):
    """The cosine is the mean of those at equal speeds, each computed from the resampled waveform."""
    folder = make_system(tmp_path, modalities, embed={"speeds": True, "video_frames": None})
    modes = MODES if modalities == "AV" else ["A"]
    out = run(folder, sets, tmp_path / "out", 2, modes)
    at_recorded_speed = TrainedSystem.load(folder / "final.pt").build()
    at_recorded_speed.speeds = 1
    fbank = Fbank(**FBANK.to_dict())
    directory = sets[1]
    sounds, faces = read_list(directory / "audio.scp", fields=2), kaldiio.load_scp(str(directory / "faces.scp"))
    keys = [key for key in sorted(sounds) if key in faces]

    def brute_force(key: str, speed: float, mode: str) -> torch.Tensor:
        wave = soundfile.read(sounds[key], dtype="float32")[0]
        wave = wave[: (FBANK.num_frames(len(wave)) - 1) * FBANK.shift_samples + FBANK.window_samples]
        if speed != 1:
            wave = torchaudio.functional.resample(torch.from_numpy(wave), round(10 * speed), 10).numpy()
        features = fbank(torch.from_numpy(wave))
        fields = {"audio": (features - features.mean(0))[None], "audio_mask": torch.ones(1, len(features)).bool()}
        if modalities == "AV":
            fields["video"] = torch.from_numpy(faces[key].astype(np.uint8)).reshape(1, -1, 1, FACES.height, FACES.width)
            fields["video_mask"] = torch.ones(fields["video"].shape[:2]).bool()
        with torch.no_grad():
            return at_recorded_speed.embed(Batch([key], torch.tensor([-1]), **fields).prepare("cpu"), [mode])[mode][0]

    for mode in modes:
        found = dict(zip(*read_vectors(out / f"{directory.name}.{mode}.scp"), strict=True))
        views = {key: [brute_force(key, speed, mode) for speed in (1.0, 0.9, 1.1)] for key in keys}
        for a, b in itertools.combinations(keys, 2):
            cosine = found[a] @ found[b] / np.linalg.norm(found[a]) / np.linalg.norm(found[b])
            expected = np.mean([torch.cosine_similarity(x, y, dim=0) for x, y in zip(views[a], views[b], strict=True)])
            assert cosine == pytest.approx(expected, abs=2e-5)

    loaded = TrainedEmbedder.load(folder)
    sides = embed_sides([loaded], directory, keys, modalities, None)
    for mode, embeddings in modes_of_side(loaded, sides[loaded.name]).items():
        stored = dict(zip(*read_vectors(out / f"{directory.name}.{mode}.scp"), strict=True))
        for key, vector in zip(keys, embeddings.matrix, strict=True):
            np.testing.assert_allclose(vector, stored[key] / np.linalg.norm(stored[key]), atol=2e-5)


@pytest.mark.parametrize("jobs", [3, 20])
def test_the_number_of_jobs_changes_no_byte(system, sets, tmp_path, monkeypatch, jobs):
    monkeypatch.chdir(tmp_path)
    one, many = (run(system, sets, Path("out"), n).rename(f"out{n}") for n in (1, jobs))
    names = sorted(path.name for path in one.glob("*.[as][rc][kp]"))
    assert len(names) == 12
    for name in names:
        assert (one / name).read_bytes() == (many / name).read_bytes(), name
    totals = [[int(word) for word in path.read_text().split()] for path in many.glob("*.progress")]
    assert all(done == total for done, total in totals)


def test_all_modes_from_one_pass_equal_one_by_one(system, sets):
    network = TrainedSystem.load(system / "final.pt").build()
    table = read_utterances(sets[0])
    clips = WholeUtterances(table, np.zeros(len(table)), config("AV").embed, Inputs(FBANK, FACES))
    passes = []
    network.audio.register_forward_hook(lambda *_: passes.append(1))
    (together,) = embed_batches(network, [clips[0]], MODES, "cpu")
    assert len(passes) == 1
    for mode in MODES:
        (alone,) = embed_batches(network, [clips[0]], [mode], "cpu")
        np.testing.assert_array_equal(together[mode][1], alone[mode][1])


def test_an_embedding_that_is_not_finite_names_the_utterance(system, sets):
    network = TrainedSystem.load(system / "final.pt").build()
    table = read_utterances(sets[0])
    batch = WholeUtterances(table, np.zeros(len(table)), config("AV").embed, Inputs(FBANK, FACES))[0]
    batch.audio[1, 3, 4] = float("nan")
    with pytest.raises(DataError, match=f"^{batch.keys[1]}: its A embedding is not finite"):
        list(embed_batches(network, [batch], ["V", "A"], "cpu"))


def test_modes_are_those_of_the_system(system):
    assert choose_modes(system, []) == ["AV", "A", "V"] and choose_modes(system, ["V"]) == ["V"]
    with pytest.raises(DataError, match=r"--modes: VA: the system .* embeds in AV, A, V"):
        choose_modes(system, ["VA"])


def test_missing_parts_and_modalities_are_said(tmp_path):
    def write(job: int, keys: list[str], vectors: list[list[float]]) -> None:
        with PartWriter(tmp_path, job) as part:
            for key, vector in zip(keys, vectors, strict=True):
                part.write("eval.A", [key], np.array([vector]))

    write(1, ["b", "a"], [[2.0, 2.5], [1.0, 1.5]])
    with pytest.raises(DataError, match=r"part.2: no such file: run this job again"):
        merge_parts(tmp_path, 2, "eval.A", tmp_path / "eval.A")
    with pytest.raises(KeyboardInterrupt), PartWriter(tmp_path, 2) as part:
        part.write("eval.A", ["c"], np.array([[9.0, 9.5]]))
        raise KeyboardInterrupt
    with pytest.raises(DataError, match=r"part.2: no such file"):
        merge_parts(tmp_path, 2, "eval.A", tmp_path / "eval.A")
    write(2, ["aa"], [[3.0, 3.5]])
    assert merge_parts(tmp_path, 2, "eval.A", tmp_path / "eval.A") == ["a", "aa", "b"]
    assert read_vectors(tmp_path / "eval.A.scp")[1].tolist() == [[1.0, 1.5], [3.0, 3.5], [2.0, 2.5]]
    with pytest.raises(DataError, match=r"no utterance has the modalities that eval.AV needs"):
        merge_parts(tmp_path, 2, "eval.AV", tmp_path / "eval.AV")


VIDEO, AUDIO = ("video.scp", "faces.scp", "faces.conf", "utt2num_faces"), ("wav.scp", "feats.scp", "utt2num_frames")


@pytest.mark.parametrize(
    ("gone", "left", "said"),
    [(VIDEO, "A", "other: no video.scp: AV and V left out"), (AUDIO, "V", "other: no wav.scp: AV and A left out")],
)
def test_a_set_may_lack_a_modality(system, sets, tmp_path, capsys, gone, left, said):
    """What is left is embedded as it is beside the other; the modes that are not there are told in one line."""
    other = shutil.copytree(sets[0], tmp_path / "other")
    for name in (*gone, "audio.scp") if left == "V" else gone:
        (other / name).unlink(missing_ok=True)
    whole = run(system, [sets[0]], tmp_path / "whole", 1)
    out = tmp_path / "out"
    out.mkdir()
    (out / "other.AV.scp").write_text("of an earlier extraction\n")
    embed_share(system, MODES, [sets[1], other], out)
    merge_shares(out, 1, MODES, out, [sets[1], other])
    assert said in capsys.readouterr().out.splitlines()
    assert sorted(path.name for path in out.glob("other.*")) == [f"other.{left}.ark", f"other.{left}.scp"]
    assert len(list(out.glob("eval.*.scp"))) == 3
    keys, vectors = read_vectors(out / f"other.{left}.scp")
    same, expected = read_vectors(whole / f"dev.{left}.scp")
    assert keys == same
    np.testing.assert_allclose(vectors, expected, atol=2e-5)


def test_modes_read_only_what_they_need(system, sets, tmp_path):
    """A set whose face crops have not been made is not taken for one without faces; mode A does not need them."""
    other = shutil.copytree(sets[0], tmp_path / "other")
    (other / "faces.scp").rename(other / "video.scp")
    with pytest.raises(DataError, match=r"faces.scp: no such file: run steps/make_face_crops.sh"):
        embed_share(system, MODES, [other], tmp_path)
    embed_share(system, ["A"], [other], tmp_path)
    merge_shares(tmp_path, 1, ["A"], tmp_path, [other])
    assert len(read_list(tmp_path / "other.A.scp")) == 9
    for name in VIDEO:
        (other / name).unlink(missing_ok=True)
    visual = make_system(tmp_path, "V")
    with pytest.raises(DataError, match=r"other: no video.scp: V cannot be embedded"):
        embed_share(visual, ["V"], [other], tmp_path)


def test_faces_of_another_size_are_refused(system, tmp_path):
    folder = make_data_dir(tmp_path / "eval", 1, 1)
    conf = folder / "faces.conf"
    conf.write_text(conf.read_text().replace("height: 16", "height: 32"))
    with pytest.raises(DataError, match=r"faces.conf: height 32, not 16 as in the training of"):
        run(system, [folder], tmp_path / "out", 1)


def test_faces_of_another_detector_are_refused(tmp_path):
    settings = config("V")
    torch.manual_seed(0)
    trained = FacesConfig(**vars(FACES), detector="yunet", detector_weights="/somewhere", align=True)
    system = TrainedSystem.of(TrainableSystem(settings, 3), settings, ["a", "b", "c"], None, trained)
    system.save(tmp_path / "final.pt")
    (tmp_path / "config.yaml").write_text(settings.to_yaml())
    # Where the weights lie does not matter, and is not handed on.
    assert TrainedSystem.load(tmp_path / "final.pt").video == dataclasses.replace(trained, detector_weights="")
    folder = make_data_dir(tmp_path / "eval", 1, 1)
    run(tmp_path, [folder], tmp_path / "out", 1, ["V"])  # nothing is known beyond the size
    dataclasses.replace(trained, align=False).write(folder / "faces.conf")
    with pytest.raises(DataError, match=r"faces.conf: align False, not True as in the training of"):
        run(tmp_path, [folder], tmp_path / "refused", 1, ["V"])


def test_features_of_another_sample_rate_are_refused(system, tmp_path):
    folder = make_data_dir(tmp_path / "eval", 1, 1)
    write_settings(dataclasses.replace(FBANK, dither=0.0), folder / "feats.ark")
    run(system, [folder], tmp_path / "out", 1)  # dither changes no stored feature
    write_settings(dataclasses.replace(FBANK, sample_rate=8000), folder / "feats.ark")
    with pytest.raises(DataError, match=r"feats.conf: the features of .*eval have sample_rate 8000, not 16000 as in"):
        run(system, [folder], tmp_path / "refused", 1)


def test_a_system_that_cannot_be_read_is_named(system, sets, tmp_path):
    (tmp_path / "config.yaml").write_text((system / "config.yaml").read_text())
    with pytest.raises(DataError, match=r"final.pt: no such file: train this system first"):
        run(tmp_path, sets, tmp_path / "refused", 1)
    (tmp_path / "final.pt").write_bytes((system / "final.pt").read_bytes()[:5000])
    with pytest.raises(DataError, match=r"final.pt: not readable .*: remove it and train this system again"):
        run(tmp_path, sets, tmp_path / "out2", 1)


def test_two_sets_of_one_name_are_refused(system, sets, tmp_path, monkeypatch):
    arguments = ["extract_embeddings", "--parts", "x", str(system), "out", str(sets[0]), str(tmp_path / "dev")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(DataError, match="two data directories are named 'dev'"):
        extract_embeddings.main()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["train.sh"], 2, "Usage: steps/train.sh [options] <config>"),
        (
            ["train.sh", "--num-wokers", "2", "a", "b", "c", "d"],
            2,
            "unknown option --num-wokers: the options are --cmd",
        ),
        (["train.sh", "--ngpu", "x", "a", "b", "c", "d"], 2, "--ngpu takes a whole number, not 'x'"),
        (["train.sh", "nothing.yaml", "a", "b", "c"], 1, "no such file: nothing.yaml"),
        (["extract_embeddings.sh", "a"], 2, "Usage: steps/extract_embeddings.sh [options] <system-dir>"),
        (["extract_embeddings.sh", "--nj", "0", "a", "b"], 2, "--nj must be at least 1"),
        (["extract_embeddings.sh", "a", "b"], 1, "no such file: a/final.pt"),
    ],
)
def test_steps_refuse_what_they_cannot_do(arguments, status, message):
    result = commands.run(f"steps/{arguments[0]}", *arguments[1:])
    assert result.returncode == status
    assert message in result.stderr
