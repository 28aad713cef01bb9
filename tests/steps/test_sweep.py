"""Corruption sweeps from trained systems to tables: rates, differences, jobs, and which results are kept."""

import csv
import shutil
import sys
from pathlib import Path

import commands
import numpy as np
import pytest
import soundfile
import torch
import yaml
from matplotlib.image import imread
from paths import ROOT
from synthetic import FACES, FBANK, config, make_data_dir, make_noise, make_trials

from avsv.audio.quality import voice_quality
from avsv.bin import measure_quality, sweep
from avsv.bin.analyse import analyse_networks
from avsv.config.sections import EmbedConfig
from avsv.corruption.gate import gate_material
from avsv.corruption.kinds import Corruption
from avsv.corruption.mixture import Mixture
from avsv.corruption.sound import Noises
from avsv.corruption.sweep import Bench, Protocol
from avsv.data.clips import WholeUtterances
from avsv.data.face_source import FaceCrops, spread_rows
from avsv.data.inputs import Inputs
from avsv.data.lists import read_utterances
from avsv.data.quality import MEASURES, read_quality
from avsv.embed.directories import embed_share
from avsv.embed.parts import merge_shares
from avsv.errors import DataError
from avsv.io.lists import read_list, read_scores
from avsv.model.embedder import Embedder
from avsv.model.inputs import inputs_of
from avsv.model.saved import TrainedSystem
from avsv.model.trainable import TrainableSystem
from avsv.scoring.bootstrap import speaker_bootstrap
from avsv.scoring.gate import EXPERTS, Expert, Gate, Gated, Reliability, find_gate, write_gate
from avsv.scoring.metrics import eer
from avsv.video.quality import face_quality

SYSTEMS = {"voice": "A", "face": "V", "both": "AV"}
SWEEPS = "noise: [10, 0]\nblur: [20]\nno_video: [0.5, 1]\ncodec: [gsm 13]\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Data, untrained systems with their embeddings, and a list of sweeps."""
    folder = tmp_path_factory.mktemp("a world")
    data = [make_data_dir(folder / "data" / "train", 5, 3), make_data_dir(folder / "data" / "eval", 4, 4, seed=1)]
    make_trials(data[1], "eval")
    (folder / "data" / "corpus").write_text("made-up\n")
    make_noise(folder / "data")
    (folder / "sweeps.yaml").write_text(SWEEPS)
    for name, letters in SYSTEMS.items():
        pooling = {"audio": {"pooling": "we_asp"}, "visual": {"pooling": "we_asp"}} if letters == "AV" else {}
        settings, home = config(letters, **pooling), folder / "exp" / name
        torch.manual_seed(len(letters))
        system, out = TrainableSystem(settings, 5), home / "embeddings"
        out.mkdir(parents=True)
        audio, video = FBANK if "A" in letters else None, FACES if "V" in letters else None
        gather_statistics(system.embedder, settings.embed, data[0], inputs_of(settings, audio, video))
        TrainedSystem.of(system, settings, list("abcde"), audio, video).save(home / "final.pt")
        (home / "config.yaml").write_text(settings.to_yaml())
        modes = list(settings.modalities)
        embed_share(home, modes, data, out, 1, 1, use_gpu=False, num_workers=0, progress=None)
        merge_shares(out, 1, modes, out, data)
        for directory in data:
            (out / f".{directory.name}.done").write_text("made\n")
    return folder


def gather_statistics(network: Embedder, settings: EmbedConfig, directory: Path, inputs: Inputs) -> None:
    """Compute statistics of batch normalization: with the initial ones, all embeddings are nearly equal."""
    table = read_utterances(directory, inputs.audio_list, inputs.video is not None)
    clips = WholeUtterances(table, np.zeros(len(table)), settings, inputs)
    network.train()
    for number in 5 * list(range(len(clips))):
        with torch.no_grad():
            network.embed(clips[number].prepare("cpu"), network.modes[:1])


def bench(world, names=("both",), **options) -> Bench:
    data = world / "data"
    return Bench(Protocol(world / "exp", data / "train", [data / "eval"], resamples=50, **options), names)


def test_without_corruption_the_networks_give_the_stored_embeddings(world):
    """Minimal reverberation recomputes all audio from waveforms: the scores hardly change."""
    measured = bench(world)
    clean = {rate.mode: rate for rate in measured.measure(None, ["both"])["both"]}
    same = {rate.mode: rate for rate in measured.measure(Corruption("clipping", 0), ["both"])["both"]}
    assert list(clean) == ["AVxAV", "AxA", "VxV"]
    assert same["VxV"] == clean["VxV"]
    for mode in ("AVxAV", "AxA"):
        assert same[mode].eer == pytest.approx(clean[mode].eer, abs=3)
        assert same[mode].draws != clean[mode].draws or same[mode] == clean[mode]


def test_rates_and_intervals_are_those_of_the_metrics(world):
    measured = bench(world, names=("voice",))
    (rate,) = measured.measure(None, ["voice"])["voice"]
    (trial_set, _), *_ = measured.sets
    trials = trial_set.lists[0]
    clean = measured.clean["voice", "eval"]["A"].matrix
    cohort = measured.cohorts["voice"]["A"].means
    scores = []
    for a, b in zip(clean[trials.enroll], clean[trials.test], strict=True):
        sides = [np.sort(cohort @ x)[::-1] for x in (a, b)]
        scores.append(0.5 * sum((a @ b - side.mean()) / side.std() for side in sides))
    is_target = trials.trials.is_target
    assert rate.eer == pytest.approx(100 * eer(scores, is_target), abs=1e-4)
    speakers = [trial_set.speakers[side] for side in (trials.enroll, trials.test)]
    interval = speaker_bootstrap(scores, is_target, *speakers, 50, 0)
    assert (rate.low, rate.high) == pytest.approx([100 * x for x in interval], abs=1e-4)
    assert (rate.n_target, rate.n_target + rate.n_nontarget, rate.n_speakers) == (is_target.sum(), len(is_target), 4)


def test_a_system_that_knows_nothing_guesses(world):
    measured = bench(world, names=("face", "both"))
    clean = {(r.mode): r for r in measured.measure(None, ["both"])["both"]}
    found = measured.measure(Corruption("no_video", 1), ["face", "both"])
    (face,) = found["face"]
    both = {rate.mode: rate for rate in found["both"]}
    assert (face.eer, face.guessed) == (50, face.n_target + face.n_nontarget)
    assert both["VxV"].eer == 50
    assert both["AxA"] == clean["AxA"]
    assert both["AVxAV"].guessed == 0
    # Half of the trials are guessed: a rate between the others.
    share = 0.5
    (half,) = bench(world, names=("face",)).measure(Corruption("no_video", share), ["face"])["face"]
    assert 0 < half.guessed < half.n_target + half.n_nontarget


@pytest.fixture(scope="module")
def gated(world) -> Path:
    """The world with measured quality, and a gate of the fused system that darkness and quiet voices close."""
    for name in ("train", "eval"):
        data = world / "data" / name
        config = world / "fbank.yaml"
        config.write_text(yaml.safe_dump(FBANK.to_dict()))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                sys, "argv", ["measure", "--fbank-config", str(config), *map(str, (data, data / "utt2spk", data))]
            )
            measure_quality.main()
    reliabilities = {
        "A": Reliability(MEASURES["A"], np.array([0.1, 0, 0, 0, 1.0]), 4.0),
        "V": Reliability(MEASURES["V"], np.array([3.0, 0, 0, 0]), -12.0),
    }
    gate = Gate(reliabilities, {"AV": Expert(1.0, -1.0), "A": Expert(0.8, -0.5), "V": Expert(0.6, 0.1)})
    folder = world / "exp/both_gate/scores"
    folder.mkdir(parents=True)
    write_gate(folder, Gated("both_gate", "both", gate))
    return world


def test_a_gate_uses_the_quality_of_what_was_embedded(gated):
    """Trial by trial, from the faces in the dark and the scores of the fused system."""
    measured = bench(gated, names=("both", "both_gate"))
    corruption = Corruption("darkness", 0.1)
    (rate,) = measured.measure(corruption, ["both", "both_gate"])["both_gate"]
    (trial_set, directory), *_ = measured.sets
    trials, gate = trial_set.lists[0], measured.gates["both_gate"].gate
    table = read_utterances(directory, "audio.scp", True)
    voice, clean, dark = {}, {}, {}
    for index, key in enumerate(table.keys):
        samples, _ = soundfile.read(table.audio[index], dtype="float32")
        voice[key] = gate.reliabilities["A"](np.array([voice_quality(samples, 16000)]))[0]
        faces = FaceCrops(table, FACES).read(index, spread_rows(int(table.video_frames[index]), 10))
        for found, frames in ((clean, faces), (dark, corruption.picture(faces, key))):
            found[key] = gate.reliabilities["V"](np.array([face_quality(frames)]))[0]
    assert np.mean(list(dark.values())) < np.mean(list(clean.values())) - 0.5
    tests = measured.embed([measured.systems["both"]], trial_set, directory, corruption)["both"]
    scores = {
        mode: measured.compare("both", trials, mode, embeddings, tests.get(mode, embeddings)).normalized
        for mode, embeddings in measured.clean["both", "eval"].items()
    }
    llr = []
    for n, (enroll, test) in enumerate(zip(trials.trials.enroll, trials.trials.test, strict=True)):
        a, v = voice[enroll] * voice[test], clean[enroll] * dark[test]
        both, one, other = (scores[mode][n] * gate.experts[mode].scale + gate.experts[mode].offset for mode in EXPERTS)
        llr.append(a * v * both + a * (1 - v) * one + (1 - a) * v * other)
    assert rate.eer == pytest.approx(100 * eer(llr, trials.trials.is_target), abs=1e-3)
    assert (rate.mode, rate.guessed) == ("AVxAV", 0)


def test_a_gate_without_video_is_the_voice(gated):
    measured = bench(gated, names=("both_gate",))
    (rate,) = measured.measure(Corruption("no_video", 1), ["both_gate"])["both_gate"]
    (trial_set, directory), *_ = measured.sets
    trials, gate = trial_set.lists[0], measured.gates["both_gate"].gate
    clean = measured.clean["both", "eval"]["A"]
    scores = measured.compare("both", trials, "A", clean, clean).normalized
    reliability = gate.reliabilities["A"](read_quality(directory, "A", trial_set.sides))
    r = reliability[trials.enroll] * reliability[trials.test]
    assert rate.eer == pytest.approx(100 * eer(r * (0.8 * scores - 0.5), trials.trials.is_target), abs=1e-3)


def test_material_of_a_gate_is_that_of_its_mixture(gated):
    """Each utterance is corrupted as the mixture draws, so the two corruptions of a mixture of one kind are known."""
    measured = bench(gated, names=("both",))
    mixture = Mixture([("darkness", 0.1), ("no_audio", 1)], seed=3)
    material = gate_material(measured, "both", [mixture, mixture])
    (trial_set, _), *_ = measured.sets
    trials = trial_set.lists[0]
    assert len(material.is_target) == 2 * len(trials.enroll) == 2 * len(material.clean_target)
    # Only faces are corrupted: a voice that is missing cannot be measured.
    np.testing.assert_allclose(material.scores["A"][: len(trials.enroll)], material.clean["A"], atol=0.05)
    changed = np.abs(material.scores["V"][: len(trials.enroll)] - material.clean["V"]) > 0.05
    dark = np.array([mixture.of(key, "V") is not None for key in trials.trials.test])
    assert 0 < dark.sum() < len(dark)
    assert changed[dark].mean() > 0.9 and not changed[~dark].any()
    light = material.quality["V"][: len(trials.enroll), 1, MEASURES["V"].index("brightness")]
    assert light[dark].max() < light[~dark].min()


def test_both_sides_corrupted_differ_from_the_test_side(world):
    noises = Noises(world / "data" / "musan")
    corruption = Corruption("noise", 0, noises=noises)
    rates = {
        sides: bench(world, names=("voice",), corrupted=sides).measure(corruption, ["voice"])["voice"]
        for sides in ("test", "both")
    }
    assert rates["test"] != rates["both"]


def run(world, out, jobs, *options, kinds="", names="voice face both") -> None:
    data = world / "data"
    common = ["--config", world / "sweeps.yaml", "--kinds", kinds, "--systems", names]
    common += ["--stamps", " ".join("x" for _ in names.split()), "--noise-dir", data / "musan"]
    common += ["--cohort", data / "train", "--resamples", 50, "--parts", out / "parts", "--git", "abc", *options]
    (out / "parts").mkdir(parents=True, exist_ok=True)
    for step in [["--job", job, "--num-jobs", jobs] for job in range(1, jobs + 1)] + [["--merge"]]:
        with pytest.MonkeyPatch.context() as patch:
            arguments = ["sweep", *common, *step, world / "exp", out, data / "eval"]
            patch.setattr(sys, "argv", [str(word) for word in arguments])
            sweep.main()


@pytest.fixture(scope="module")
def swept(world) -> Path:
    run(world, world / "one", 1)
    return world / "one"


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_number_of_jobs_changes_no_byte(world, swept, tmp_path):
    run(world, tmp_path, 2)
    for name in ("noise.csv", "blur.csv", "no_video.csv", "SWEEPS.md", "noise.png"):
        assert (tmp_path / name).read_bytes() == (swept / name).read_bytes(), name


def test_tables(swept):
    rows = read(swept / "noise.csv")
    assert [row["level"] for row in rows[:3]] == ["clean", "10", "0"]
    assert {(row["system"], row["mode"]) for row in rows} == {
        ("voice", "AxA"), ("face", "VxV"), ("both", "AVxAV"), ("both", "AxA"), ("both", "VxV"),
    }  # fmt: skip
    rates = {(row["system"], row["mode"], row["level"]): float(row["eer"]) for row in rows}
    assert rates["face", "VxV", "0"] == rates["face", "VxV", "clean"]
    assert rates["voice", "AxA", "0"] != rates["voice", "AxA", "clean"]
    for row in rows:
        assert float(row["low"]) <= float(row["eer"]) <= float(row["high"])
        if row["mode"] == "AVxAV":
            system, mode = row["single"].split()
            best = min(rates[line["system"], line["mode"], row["level"]] for line in rows if line["mode"] != "AVxAV")
            assert rates[system, mode, row["level"]] == best
            assert float(row["difference"]) == pytest.approx(float(row["eer"]) - best, abs=2e-4)
        else:
            assert row["single"] == row["difference"] == ""
    text = (swept / "SWEEPS.md").read_text()
    assert "## Noise, by signal-to-noise ratio (dB)" in text
    assert "| clean |" in text
    assert "- codec gsm 13 is left out: PyAV has no encoder for gsm" in text
    assert not (swept / "codec.csv").exists()
    assert imread(swept / "noise.png").shape[1] > 400


def test_what_was_measured_is_kept(world, swept, tmp_path):
    shutil.copytree(swept, tmp_path / "out")
    parts = tmp_path / "out" / "parts"
    before = {str(path.relative_to(parts)): path.stat().st_mtime_ns for path in parts.rglob("*.json")}
    assert len(before) == 3 * 6
    lost = {name for name in before if name.startswith(("voice/noise_10", "face/blur"))}
    for name in lost:
        (parts / name).unlink()
    run(world, tmp_path / "out", 1, kinds="blur")
    after = {str(path.relative_to(parts)): path.stat().st_mtime_ns for path in parts.rglob("*.json")}
    assert {name for name in after if after[name] != before[name]} == {x for x in lost if "blur" in x}
    # The incomplete sweep is not shown; valid ones that were not requested are.
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.csv")) == ["blur", "no_video"]
    assert (tmp_path / "out/blur.csv").read_bytes() == (swept / "blur.csv").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": "blurr"}, "sweeps.yaml has no sweep 'blurr': did you mean 'blur'"),
        ({"kinds": "codec"}, "no sweep is left: codec gsm 13 is left out"),
        ({"names": "voice nobody"}, "nobody/final.pt"),
    ],
)
def test_wrong_requests(world, tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        run(world, tmp_path, 1, **options)


def test_networks_are_analyzed(world, tmp_path, capsys):
    """Cost of every trained system; attention where both networks have temporal weights."""
    utt2spk = read_list(world / "data" / "eval" / "utt2spk")
    for name in ("voice", "both"):
        folder = tmp_path / name
        (folder / "analysis").mkdir(parents=True)
        shutil.copy(world / "exp" / name / "final.pt", folder)
        analyse_networks(folder, world / "data" / "eval", utt2spk, seed=0)
    assert [line["part"] for line in read(tmp_path / "voice/analysis/cost.csv")] == ["audio", "all"]
    assert not (tmp_path / "voice/analysis/attention.csv").exists()
    assert not (tmp_path / "voice/analysis/null.csv").exists()
    null = read(tmp_path / "both/analysis/null.csv")
    assert [line["missing"] for line in null] == ["audio", "visual"]
    assert all(float(line["distance"]) > 0 and int(line["utterances"]) == len(utt2spk) for line in null)
    rows = read(tmp_path / "both/analysis/attention.csv")
    assert {row["utterance"]: row["speaker"] for row in rows} == utt2spk
    assert all(-1 <= float(row["correlation"]) <= 1 for row in rows)
    assert len({row["correlation"] for row in rows}) > 8
    assert imread(tmp_path / "both/analysis/attention.png").shape[1] > 1000
    mean = np.mean([float(row["correlation"]) for row in rows])
    assert f"over {len(rows)} clips of 0.8 s correlate by {mean:.2f} " in capsys.readouterr().out


@pytest.mark.slow
def test_step(world, tmp_path):
    """The step reports errors before any work, makes the sweeps, and is then up to date."""
    shutil.copytree(world / "exp", tmp_path / "exp")
    data = world / "data"
    command = [ROOT / "steps/sweep.sh", "--config", world / "sweeps.yaml", "--resamples", "20", "--kinds", "no_video"]
    end = [tmp_path / "exp", "face both", data / "train", data / "eval"]

    def step(*options):
        done = commands.run(*command, *options, *end)
        return done.returncode, done.stderr

    code, text = step("--corrupted", "left")
    assert code != 0 and "--corrupted is test or both, not 'left'" in text
    code, text = step("--nj", "1")
    assert code == 0, text
    assert "1 sweeps of face both" in text
    assert len(read(tmp_path / "exp/sweeps/no_video.csv")) == 3 * 4
    made_by = (tmp_path / "exp/sweeps/command.txt").read_text()
    assert made_by.startswith("steps/sweep.sh --config ")
    assert made_by.endswith(f" --kinds no_video {tmp_path}/exp 'face both' {data}/train {data}/eval\n")
    code, text = step()
    assert code == 0 and "sweeps are up to date" in text


@pytest.mark.slow
def test_steps_of_a_gate(world, tmp_path):
    """Quality is measured, a gate is fitted, listed and scored; a second call does nothing; a sweep takes it."""
    for name in ("exp", "data"):
        shutil.copytree(world / name, tmp_path / name)
    data, exp = tmp_path / "data", tmp_path / "exp"
    shutil.rmtree(exp / "both_gate", ignore_errors=True)
    config = tmp_path / "fbank.yaml"
    config.write_text(yaml.safe_dump(FBANK.to_dict()))
    fit = ["score_gate", "--rounds", "2", "--noise-dir", data / "musan", "--config", world / "sweeps.yaml"]
    fit += [exp, "both", data / "train", data / "eval"]

    def step(name, *words):
        done = commands.run(ROOT / f"steps/{name}.sh", *words)
        return done.returncode, done.stderr

    for quality in data.glob("*/utt2*_quality"):
        quality.unlink()
    code, said = step(*fit)
    assert code != 0 and "has no measured quality: run steps/measure_quality.sh first" in said
    assert step("measure_quality", "--nj", "3", "--config", config, data / "eval")[0] == 0
    assert "quality is up to date" in step("measure_quality", "--config", config, data / "eval")[1]
    for letter in "AV":
        found = read_quality(data / "eval", letter, list(read_list(data / "eval/utt2spk")))
        assert found.shape == (16, len(MEASURES[letter])) and np.isfinite(found).all()
    assert step("score_norm", exp / "both", data / "train", data / "eval")[0] == 0
    code, said = step(*fit)
    assert code == 0, said
    assert "both_gate: fitted on" in said
    assert (exp / "gates").read_text() == "both_gate both/AVxAV both/AxA both/VxV\n"
    assert "the gate is up to date" in step(*fit)[1]
    gate = find_gate(exp, "both_gate").gate
    parts = {mode: read_scores(exp / f"both/scores/eval/{mode}x{mode}.asnorm") for mode in EXPERTS}
    usable = {}
    for letter, reliability in gate.reliabilities.items():
        keys = list(read_list(data / "eval/utt2spk"))
        of = dict(zip(keys, reliability(read_quality(data / "eval", letter, keys)), strict=True))
        usable[letter] = np.array([of[a] * of[b] for a, b in zip(parts["AV"].enroll, parts["AV"].test, strict=True)])
    made = read_scores(exp / "both_gate/scores/eval/AVxAV.asnorm")
    assert np.array_equal(made.test, parts["AV"].test)
    expected = gate({mode: part.score for mode, part in parts.items()}, usable)
    np.testing.assert_allclose(made.score, expected, rtol=1e-4, atol=1e-4)
    sweep_options = ["--config", world / "sweeps.yaml", "--resamples", "20", "--kinds", "blur", "--nj", "1"]
    code, said = step("sweep", *sweep_options, exp, "both both_gate", data / "train", data / "eval")
    assert code == 0, said
    rows = read(exp / "sweeps/blur.csv")
    assert {row["mode"] for row in rows if row["system"] == "both_gate"} == {"AVxAV"}
