"""The scoring steps with synthetic embeddings: from files to scores, ensembles, calibration, analyses and results."""

import contextlib
import csv
import hashlib
import html
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from commands import PythonPrograms, run
from paths import ROOT

from avsv.io.ark import read_vectors, write_vectors
from avsv.io.lists import read_list, read_scores, read_trials, write_list
from avsv.scoring.backend import fit_backend
from avsv.scoring.bootstrap import speaker_bootstrap
from avsv.scoring.metrics import cllr, eer, eer_rocch, min_dcf
from avsv.scoring.modes import assignments

SYSTEMS = {"ecapa": ["A"], "iresnet18": ["V"], "ssa": ["A", "AV", "V"]}
SPEAKERS = {"train": 20, "dev": 6, "eval": 8}
ALL_MODES = ["AVxAV", "AxA", "VxV", "AVxA", "AVxV", "AxV"]


def make_world(folder: Path) -> None:
    """Data directories, embeddings and training histories of three systems."""
    rng = np.random.default_rng(0)
    for name, size in SPEAKERS.items():
        speakers = [f"{name}{n:02d}" for n in range(size)]
        keys = [f"{speaker}-s{n}" for speaker in speakers for n in range(5)]
        (folder / "data" / name).mkdir(parents=True)
        write_list(folder / "data" / name / "utt2spk", {key: key.split("-")[0] for key in keys})
        write_list(folder / "data" / name / "utt2dur", {key: 1 + n % 7 for n, key in enumerate(keys)})
        write_list(folder / "data" / name / "utt2num_faces", {key: 25 + 20 * (n % 5) for n, key in enumerate(keys)})
        identity = np.repeat(rng.normal(size=(size, 24)), 5, axis=0)
        vectors = {m: identity + spread * rng.normal(size=(len(keys), 24)) for m, spread in (("A", 1.0), ("V", 0.8))}
        vectors["AV"] = vectors["A"] + vectors["V"]
        for system, modalities in SYSTEMS.items():
            embeddings = folder / "exp" / system / "embeddings"
            embeddings.mkdir(parents=True, exist_ok=True)
            for modality in modalities:
                write_vectors(embeddings / f"{name}.{modality}", keys, vectors[modality])
            (embeddings / f".{name}.done").write_text("made\n")
            history = "epoch,loss,accuracy,dev_eer\n1,9.5,0.1,0.3\n2,5.25,0.6,\n3,4,0.7,0.2\n"
            (embeddings.parent / "train.csv").write_text(history)
        if name != "train":
            (folder / "data" / name / "trials").mkdir()
            lines = [
                f"{a} {b} {'target' if a.split('-')[0] == b.split('-')[0] else 'nontarget'}\n"
                for n, a in enumerate(keys)
                for b in keys[n + 1 :]
            ]
            (folder / "data" / name / "trials" / name).write_text("".join(lines))
    (folder / "data" / "corpus").write_text("made-up\n")


def step(name: str, *arguments: object, fails: bool = False, env: Mapping[str, str] | None = None) -> str:
    """Run a step; return its output."""
    result = run(f"steps/{name}.sh", *arguments, env=env)
    assert (result.returncode != 0) == fails, result.stderr
    return result.stdout + result.stderr


def run_all(folder: Path, systems: str = " ".join(SYSTEMS), env: Mapping[str, str] | None = None) -> str:
    """All steps after the extraction of embeddings, as run.sh calls them."""
    data, exp = folder / "data", folder / "exp"
    said = ""
    for system in systems.split():
        said += step("score_cosine", exp / system, data / "dev", data / "eval", env=env)
        said += step("score_norm", "--top-n", 10, exp / system, data / "train", data / "dev", data / "eval", env=env)
    said += step("score_ensemble", exp, systems, data / "dev", env=env)
    said += step("calibrate", exp, systems, data / "dev", env=env)
    said += step("analyse", exp, systems, data / "eval", env=env)
    return said + step("report", "--resamples", 50, "--seed", 3, exp, systems, data / "eval", env=env)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A finished run, in a folder with a space in its path."""
    folder = tmp_path_factory.mktemp("a world")
    make_world(folder)
    (folder / "said").write_text(run_all(folder))
    return folder


@pytest.fixture
def scene(world, tmp_path) -> Iterator[Path]:
    """The finished run for modification; it is restored afterwards, because steps remember paths."""
    kept = shutil.copytree(world, tmp_path / "kept")
    yield world
    shutil.rmtree(world)
    shutil.copytree(kept, world)


def vectors_of(folder: Path, system: str, name: str) -> dict[str, np.ndarray]:
    keys, matrix = read_vectors(folder / "exp" / system / "embeddings" / f"{name}.scp")
    return dict(zip(keys, matrix.astype(np.float64), strict=True))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def results_of(folder: Path) -> list[dict[str, str]]:
    """The rows of results.csv without the revision of the code, which can change during a test."""
    with (folder / "exp/results/results.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "git"} for row in csv.DictReader(file)]


def test_scores_equal_brute_force(world):
    utt2spk = read_list(world / "data/train/utt2spk")
    sides = {m: vectors_of(world, "ssa", f"eval.{m}") for m in SYSTEMS["ssa"]}
    cohorts = {}
    for modality in sides:
        train = vectors_of(world, "ssa", f"train.{modality}")
        unit = {key: vector / np.linalg.norm(vector) for key, vector in train.items()}
        by_speaker = [[unit[k] for k in unit if utt2spk[k] == s] for s in sorted(set(utt2spk.values()))]
        cohorts[modality] = [np.mean(vectors, axis=0) for vectors in by_speaker]

    def normalized(enroll, test, e, t):
        tops = [
            np.sort([cosine(sides[m][key], other) for other in cohorts[m]])[-10:] for m, key in ((enroll, e), (test, t))
        ]
        return sum((cosine(sides[enroll][e], sides[test][t]) - top.mean()) / top.std() for top in tops) / 2

    for mode, orders in {
        "AVxAV": [("AV", "AV")],
        "AVxV": [("AV", "V"), ("V", "AV")],
        "AxV": [("A", "V"), ("V", "A")],
    }.items():
        raw = read_scores(world / f"exp/ssa/scores/eval/{mode}.cos")
        norm = read_scores(world / f"exp/ssa/scores/eval/{mode}.asnorm")
        trials = read_trials(world / "data/eval/trials/eval")
        for scores in (raw, norm):
            np.testing.assert_array_equal(scores.enroll, trials.enroll)
            np.testing.assert_array_equal(scores.test, trials.test)
        for n in range(0, len(raw.score), 37):
            e, t = raw.enroll[n], raw.test[n]
            expected = np.mean([cosine(sides[a][e], sides[b][t]) for a, b in orders])
            assert raw.score[n] == pytest.approx(expected, abs=1e-6)
            assert norm.score[n] == pytest.approx(np.mean([normalized(a, b, e, t) for a, b in orders]), abs=1e-6)


def test_files_of_every_system(world):
    for system, modes in (("ecapa", ["AxA"]), ("iresnet18", ["VxV"]), ("ssa", ALL_MODES), ("ens_all", ["AVxAV"])):
        for name in ("dev", "eval"):
            files = {path.name for path in (world / "exp" / system / "scores" / name).iterdir()}
            stages = ("asnorm", "llr") if system == "ens_all" else ("asnorm", "cos", "llr")
            orders = {f"{mode}.asnorm1" for mode in modes if len(assignments(mode)) == 2}
            assert files == {f"{mode}.{stage}" for mode in modes for stage in stages} | orders
    assert not list(world.rglob("*.tmp.*"))


def test_ensemble_is_the_mean_of_its_members(world):
    members = [("ecapa", "AxA"), ("iresnet18", "VxV"), ("ssa", "AVxAV")]
    paths = [world / f"exp/{system}/scores/eval/{mode}.asnorm" for system, mode in members]
    mean = np.mean([read_scores(path).score.astype(np.float64) for path in paths], axis=0)
    made = read_scores(world / "exp/ens_all/scores/eval/AVxAV.asnorm")
    np.testing.assert_allclose(made.score, mean, rtol=1e-6)
    assert (world / "exp/ensembles").read_text() == "ens_all ecapa/AxA iresnet18/VxV ssa/AVxAV\n"


def test_calibration_is_one_rising_map_fitted_on_development_trials(world):
    with (world / "exp/ssa/scores/calibration.csv").open() as file:
        records = {record["mode"]: record for record in csv.DictReader(file)}
    record = records["AVxAV"]
    trials = read_trials(world / "data/dev/trials/dev")
    assert int(record["n_target"]) == trials.is_target.sum()
    for name in ("dev", "eval"):
        raw = read_scores(world / f"exp/ssa/scores/{name}/AVxAV.asnorm").score
        llr = read_scores(world / f"exp/ssa/scores/{name}/AVxAV.llr").score
        np.testing.assert_allclose(llr, float(record["scale"]) * raw + float(record["offset"]), rtol=1e-4, atol=1e-4)
    llr = read_scores(world / "exp/ssa/scores/dev/AVxAV.llr").score
    assert float(record["cllr"]) == pytest.approx(cllr(llr, trials.is_target), abs=1e-4)


def test_models_and_lists_without_labels(scene):
    """Stages 7 to 11 with models of several utterances, and with trials whose labels nobody knows."""
    data, exp = scene / "data", scene / "exp"
    utt2spk = read_list(data / "eval/utt2spk")
    rng = np.random.default_rng(4)
    own = {speaker: [key for key in utt2spk if utt2spk[key] == speaker] for speaker in sorted(set(utt2spk.values()))}
    models = {f"m-{s}": sorted(rng.choice(own[s][:3], rng.integers(1, 4), replace=False)) for s in own}
    write_list(data / "eval/enroll", {name: " ".join(members) for name, members in models.items()})
    pairs = [(name, key) for name in models for s in own for key in own[s][3:]]
    speaker_of = utt2spk | {name: name[2:] for name in models}
    labels = np.array([speaker_of[a] == speaker_of[b] for a, b in pairs])
    rows = [
        f"{a} {b} {'target' if is_target else 'nontarget'}\n" for (a, b), is_target in zip(pairs, labels, strict=True)
    ]
    (data / "eval/trials/models").write_text("".join(rows))
    (data / "eval/trials/blind").write_text("".join(f"{a} {b}\n" for a, b in pairs))
    step("score_cosine", exp / "ssa", data / "dev", data / "eval")
    step("score_norm", "--top-n", 10, exp / "ssa", data / "train", data / "dev", data / "eval")
    step("score_ensemble", exp, "ssa", data / "dev")
    step("calibrate", "--quality", "duration faces norm cohort", exp, "ssa", data / "dev", data / "eval")
    step("analyse", exp, "ssa", data / "eval")
    report = "report", "--resamples", 50, "--seed", 3, exp, "ssa", data / "eval"
    said = step(*report)
    assert f"{data}/eval/trials/blind: no labels: scored in {exp}/SYSTEM/scores/blind" in said

    def unit(vector):
        return vector / np.linalg.norm(vector)

    def vector(modality, side):
        stored = sides[modality]
        return unit(np.mean([unit(stored[key]) for key in models.get(side, [side])], axis=0))

    train, train_speakers = {}, read_list(data / "train/utt2spk")
    sides = {m: vectors_of(scene, "ssa", f"eval.{m}") for m in ("AV", "V")}
    for m in sides:
        found = vectors_of(scene, "ssa", f"train.{m}")
        names = sorted(set(train_speakers.values()))
        train[m] = [unit(np.mean([unit(found[k]) for k in found if train_speakers[k] == s], axis=0)) for s in names]
    for name in ("models", "blind"):
        raw, norm = (read_scores(exp / f"ssa/scores/{name}/AVxV.{stage}") for stage in ("cos", "asnorm"))
        assert list(zip(raw.enroll, raw.test, strict=True)) == pairs
        for n in range(0, len(pairs), 13):
            cosines, normalized = [], []
            for order in (("AV", "V"), ("V", "AV")):
                one, other = (vector(m, side) for m, side in zip(order, pairs[n], strict=True))
                cosines.append(one @ other)
                tops = [np.sort([x @ y for y in train[m]])[-10:] for m, x in zip(order, (one, other), strict=True)]
                normalized.append(np.mean([(cosines[-1] - top.mean()) / top.std() for top in tops]))
            assert raw.score[n] == pytest.approx(np.mean(cosines), abs=1e-6)
            assert norm.score[n] == pytest.approx(np.mean(normalized), abs=1e-5)
    table = {(row["trials"], row["system"], row["mode"], row["stage"]): row for row in results_of(scene)}
    assert {key[0] for key in table} == {"eval", "models"}
    row, scores = table["models", "ssa", "AxA", "cos"], read_scores(exp / "ssa/scores/models/AxA.cos").score
    assert float(row["eer"]) == pytest.approx(100 * eer(scores, labels), abs=1e-4)
    speakers = [[speaker_of[side] for side in column] for column in zip(*pairs, strict=True)]
    low, high = speaker_bootstrap(scores, labels, *speakers, resamples=50, seed=3)
    assert [float(row["eer_low"]), float(row["eer_high"])] == pytest.approx([100 * low, 100 * high], abs=1e-4)
    assert "m-eval0" in (exp / "results/report.html").read_text()

    # Measures of a model are the means of its utterances.
    with (exp / "ssa/scores/calibration.csv").open() as file:
        fit = next(row for row in csv.DictReader(file) if row["mode"] == "VxV")
    norm, llr = (read_scores(exp / f"ssa/scores/blind/VxV.{stage}").score for stage in ("asnorm", "llr"))
    lists = {"duration": read_list(data / "eval/utt2dur"), "faces": read_list(data / "eval/utt2num_faces")}
    for n in range(0, len(pairs), 29):
        found = float(fit["scale"]) * norm[n] + float(fit["offset"])
        measures = {"norm": [], "cohort": [], "duration": [], "faces": []}
        for side in pairs[n]:
            members = models.get(side, [side])
            for name, values in lists.items():
                measures[name].append(np.log(np.mean([float(values[key]) for key in members])))
            measures["norm"].append(np.mean([np.linalg.norm(sides["V"][key]) for key in members]))
            measures["cohort"].append(np.sort([vector("V", side) @ y for y in train["V"]])[-10:].mean())
        for name, (one, other) in measures.items():
            found += float(fit[f"{name}_min"]) * min(one, other) + float(fit[f"{name}_max"]) * max(one, other)
        assert llr[n] == pytest.approx(found, rel=1e-4, abs=1e-4)

    for name in ("eval", "models"):
        (data / "eval/trials" / name).unlink()
    said = step(*report)
    assert "no list of trials has labels: no results and no report" in said


def test_mean_subtraction(scene):
    data, system = scene / "data", scene / "exp/ssa"
    cohort, dirs = data / "train", (data / "dev", data / "eval")
    step("score_cosine", "--subtract-mean", cohort, system, *dirs)
    step("score_norm", "--subtract-mean", cohort, "--variant", "s-norm", system, cohort, *dirs)
    utt2spk = read_list(cohort / "utt2spk")
    sides, means = {}, {}
    for modality in ("AV", "A"):
        train = vectors_of(scene, "ssa", f"train.{modality}")
        mean = np.mean(list(train.values()), axis=0)
        sides[modality] = {k: v - mean for k, v in vectors_of(scene, "ssa", f"eval.{modality}").items()}
        unit = {k: (v - mean) / np.linalg.norm(v - mean) for k, v in train.items()}
        speakers = sorted(set(utt2spk.values()))
        means[modality] = [np.mean([unit[k] for k in unit if utt2spk[k] == s], axis=0) for s in speakers]
    raw, norm = (read_scores(system / f"scores/eval/AVxA.{stage}") for stage in ("cos", "asnorm"))
    for n in range(0, len(raw.score), 61):
        pair = raw.enroll[n], raw.test[n]
        cosines, normalized = [], []
        for modalities in (("AV", "A"), ("A", "AV")):
            one, other = (sides[m][key] for m, key in zip(modalities, pair, strict=True))
            cosines.append(cosine(one, other))
            of_cohort = [[cosine(x, y) for y in means[m]] for x, m in zip((one, other), modalities, strict=True)]
            normalized.append(np.mean([(cosines[-1] - np.mean(c)) / np.std(c) for c in of_cohort]))
        assert raw.score[n] == pytest.approx(np.mean(cosines), abs=1e-5)
        assert norm.score[n] == pytest.approx(np.mean(normalized), abs=1e-4)
    assert "up to date" in step("score_cosine", "--subtract-mean", cohort, system, *dirs)
    assert "up to date" not in step("score_cosine", system, *dirs)
    said = step("score_cosine", "--subtract-mean", data / "none", system, *dirs, fails=True)
    assert f"no embeddings of {data}/none: run steps/extract_embeddings.sh first" in said


def test_back_ends_equal_the_library_on_the_same_embeddings(scene):
    data, system = scene / "data", scene / "exp/ssa"
    utt2spk = read_list(data / "train/utt2spk")
    sides = {m: vectors_of(scene, "ssa", f"eval.{m}") for m in ("A", "AV")}

    def unit(vectors, mean):
        return {key: (v - mean) / np.linalg.norm(v - mean) for key, v in vectors.items()}

    def check(mode, name, **options):
        """Every 61st score of a mode's file, from embeddings that are centered and scaled here."""
        modalities = mode.split("x")
        train = {m: vectors_of(scene, "ssa", f"train.{m}") for m in set(modalities)}
        mean = {m: np.mean(list(vectors.values()), axis=0) for m, vectors in train.items()}

        def source(modality):
            vectors = unit(train[modality], mean[modality])
            return list(vectors), [(np.arange(len(vectors)), np.array(list(vectors.values())))]

        backend, _ = fit_backend(name, sorted(set(modalities)), source, utt2spk, "train", **options)
        prepared = {m: {k: backend.prepare(v[None]) for k, v in unit(sides[m], mean[m]).items()} for m in train}
        scores = read_scores(system / f"scores/eval/{mode}.{name}")
        row = np.array([0])
        for n in range(0, len(scores.score), 61):
            orders = [modalities, modalities[::-1]]
            pairs = [(prepared[a][scores.enroll[n]], prepared[b][scores.test[n]]) for a, b in orders]
            expected = np.mean([backend.score(*pair, row, row)[0] for pair in pairs])
            assert scores.score[n] == pytest.approx(expected, abs=1e-4)

    dirs = data / "train", data / "dev", data / "eval"
    assert "scores by plda in 12 files" in step("score_backend", "--lda-dim", 10, system, *dirs)
    check("AVxA", "plda", lda_dim=10)
    assert "up to date" in step("score_backend", "--lda-dim", 10, system, *dirs)
    step("score_backend", "--backend", "lda", "--lda-dim", 12, "--modes", "AxA", system, *dirs)
    check("AxA", "lda", lda_dim=12)
    step("score_backend", "--backend", "wccn", "--modes", "AxA AVxA", system, *dirs)
    check("AVxA", "wccn")
    rates = {}
    for suffix in ("cos", "plda"):
        scores = read_scores(system / f"scores/eval/AVxAV.{suffix}")
        rates[suffix] = eer(scores.score, read_trials(data / "eval/trials/eval").is_target)
    assert rates["plda"] < 0.2
    before = (system / "scores/eval/AxA.plda").read_text()
    assert "up to date" not in step("score_backend", "--lda-dim", 10, "--adapt", data / "dev", system, *dirs)
    assert (system / "scores/eval/AxA.plda").read_text() != before


def test_back_ends_refuse_what_they_cannot_learn(scene):
    data, system = scene / "data", scene / "exp/ecapa"
    dirs = data / "train", data / "eval"
    said = step("score_backend", system, *dirs, fails=True)
    assert "PLDA of 24 dimensions needs more than 24 speakers, not 20" in said
    assert "at most 19" in said
    said = step("score_backend", "--backend", "lda", "--lda-dim", 20, system, *dirs, fails=True)
    assert "LDA to 20 dimensions: 20 speakers allow 1 to 19" in said
    said = step("score_backend", "--backend", "dplda", system, *dirs, fails=True)
    assert "--backend is lda, wccn or plda, not 'dplda'" in said
    said = step("score_backend", "--lda-dim", 9, "--adapt", data / "none", system, *dirs, fails=True)
    assert f"no embeddings of {data}/none: run steps/extract_embeddings.sh first" in said
    said = step("score_backend", "--lda-dim", 9, "--within-share", -1, system, *dirs, fails=True)
    assert "--within-share -1.0: must be a number from 0 up" in said
    assert not list(system.rglob("*.plda"))
    assert not list(system.rglob("*.lda"))


def test_run_sh_passes_its_options_on(tmp_path):
    make_world(tmp_path)
    data, system = tmp_path / "data", tmp_path / "exp/tiny/ecapa"
    shutil.copytree(tmp_path / "exp/ecapa", system)
    words = ["./run.sh", "--preset", "tiny", "--systems", "ecapa", "--data", data, "--exp", tmp_path / "exp"]
    words += ["--norm", "s-norm", "--subtract-mean", "true", "--quality", "duration cohort"]
    for stages in (("7", "9"), ("11", "11")):
        command = [*words, "--stage", stages[0], "--stop-stage", stages[1]]
        done = run(*command)
        assert done.returncode == 0, done.stderr
    lists = data / "dev", data / "eval"
    centered = "--max-lost", "0.05", "--subtract-mean", data / "train"
    assert "up to date" in step("score_cosine", *centered, system, *lists)
    assert "up to date" in step("score_norm", *centered, "--variant", "s-norm", system, data / "train", *lists)
    header = (system / "scores/calibration.csv").read_text().splitlines()[0]
    assert header.endswith(",duration_min,duration_max,cohort_min,cohort_max")
    page = (system.parent / "results/RESULTS.md").read_text()
    for said in ("--systems 'ecapa'", "--subtract-mean true", "--norm s-norm", "--quality 'duration cohort'"):
        assert said in page


def test_an_ensemble_with_fitted_weights(scene):
    data, exp = scene / "data", scene / "exp"
    systems, config = " ".join(SYSTEMS), scene / "ensembles.yaml"
    config.write_text("ens_all: [ecapa, iresnet18]\nens_fit: {members: [ecapa, iresnet18], weights: fitted}\n")
    said = step("score_ensemble", "--config", config, exp, systems, fails=True)
    assert "ens_fit: fitted weights need the development data directory" in said
    said = step("score_ensemble", "--config", config, exp, systems, data / "dev")
    assert "ens_fit: weighted sum of ecapa/AxA iresnet18/VxV" in said
    with (exp / "ens_fit/scores/weights.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["system"], row["mode"]) for row in rows] == [("ecapa", "AxA"), ("iresnet18", "VxV"), ("offset", "")]
    weights = [float(row["weight"]) for row in rows]
    voice, face = (
        read_scores(exp / path).score for path in ("ecapa/scores/eval/AxA.asnorm", "iresnet18/scores/eval/VxV.asnorm")
    )
    made = read_scores(exp / "ens_fit/scores/eval/AVxAV.asnorm").score
    np.testing.assert_allclose(made, weights[0] * voice + weights[1] * face + weights[2], atol=1e-3)
    assert not (exp / "ens_all/scores/weights.csv").exists()
    assert "up to date" in step("score_ensemble", "--config", config, exp, systems, data / "dev")
    config.write_text("ens_fit: [ecapa, iresnet18]\n")
    # A trial without a face is left out with a message; a file of another list is an error.
    path = exp / "iresnet18/scores/eval/VxV.asnorm"
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[1:]))
    step("score_ensemble", "--config", config, "--prior", "0.02", exp, systems, data / "dev")
    log = (exp / "log/score_ensemble.log").read_text()
    assert f"{len(made) - 1} trials, 1 omitted because a member has no score" in log
    assert len(read_scores(exp / "ens_fit/scores/eval/AVxAV.asnorm").score) == len(made) - 1
    path.write_text("x y 1\n" + whole.splitlines(keepends=True)[0])
    said = step("score_ensemble", "--config", config, "--prior", "0.03", exp, systems, data / "dev", fails=True)
    assert (
        f"{len(made)} trials, of which all members of the ensemble have scored only 1: they must score the same" in said
    )
    path.write_text(whole)
    assert "ens_fit: mean of" in step("score_ensemble", "--config", config, exp, systems, data / "dev")
    assert not (exp / "ens_fit/scores/weights.csv").exists()


def test_thresholds_from_development_trials_in_the_results(world):
    rows = {}
    for path in (world / "exp/ssa/scores/thresholds.csv", world / "exp/results/thresholds.csv"):
        with path.open() as file:
            records = [r for r in csv.DictReader(file) if r["mode"] == "AxA" and r.get("system", "ssa") == "ssa"]
        assert [float(record["wanted"]) for record in records] == [10, 1, 0.1]
        # 375 development trials are enough for 10 % only.
        assert [record["threshold"] == "" for record in records] == [False, True, True]
        rows[path.parent.name] = records[0]
    threshold = float(rows["scores"]["threshold"])
    for name, record in (("dev", rows["scores"]), ("eval", rows["results"])):
        is_target = read_trials(world / f"data/{name}/trials/{name}").is_target
        accepted = read_scores(world / f"exp/ssa/scores/{name}/AxA.llr").score > threshold
        assert float(record["false_accept"]) == pytest.approx(100 * accepted[~is_target].mean(), abs=1e-4)
        assert float(record["false_reject"]) == pytest.approx(100 * (~accepted)[is_target].mean(), abs=1e-4)
    assert 8 < float(rows["scores"]["false_accept"]) <= 10
    assert "too few trials" in (world / "exp/results/RESULTS.md").read_text()
    said = (world / "exp/log/calibrate.log").read_text()
    assert "AxA: false-accept rate 1 %: too few trials" in said


def test_modes_that_are_not_calibrated_are_said(world, tmp_path):
    """A system that learned nothing: its target trials score lower than the others."""
    exp = tmp_path / "exp"
    for system in ("good", "bad"):
        shutil.copytree(world / "exp/ecapa/scores", exp / system / "scores")
    (exp / "ensembles").touch()
    for path in (exp / "bad/scores").glob("*/*.asnorm"):
        rows = [line.split() for line in path.read_text().splitlines()]
        path.write_text("".join(f"{a} {b} {-float(score)}\n" for a, b, score in rows))
    said = step("calibrate", exp, "good bad", world / "data/dev").splitlines()
    assert said[0].endswith(f"calibrate.sh: {exp}: calibrated good on {world}/data/dev")
    assert said[1].endswith("warning: not calibrated, because target trials do not score higher than others:")
    assert said[2:] == ["  bad: AxA"]


def test_calibration_with_quality_measures(scene):
    data, exp = scene / "data", scene / "exp"
    systems, every = " ".join(SYSTEMS), "duration faces norm cohort"
    plain = {path: path.read_bytes() for path in exp.glob("*/scores/**/*") if path.suffix in (".llr", ".csv")}
    said = step("calibrate", "--quality", every, exp, systems, data / "dev", data / "eval")
    assert (
        f"{exp}/ens_all: no embeddings: calibrated without the measures norm and cohort"
        in (exp / "log/calibrate.log").read_text()
    )
    with (exp / "ssa/scores/calibration.csv").open() as file:
        records = {record["mode"]: record for record in csv.DictReader(file)}
    vectors = {m: vectors_of(scene, "ssa", f"eval.{m}") for m in SYSTEMS["ssa"]}
    seconds, crops = (
        {key: float(value) for key, value in read_list(data / "eval" / name).items()}
        for name in ("utt2dur", "utt2num_faces")
    )
    cohort_means = {m: read_list(exp / f"ssa/scores/eval.{m}.cohort") for m in SYSTEMS["ssa"]}
    for mode, record in ((mode, record) for mode, record in records.items() if mode in ALL_MODES):
        record = {name: float(value or "nan") for name, value in record.items() if name != "mode"}
        raw = read_scores(exp / f"ssa/scores/eval/{mode}.asnorm")
        llr = read_scores(exp / f"ssa/scores/eval/{mode}.llr").score
        sides = mode.split("x")
        for n in range(0, len(llr), 97):
            pair = raw.enroll[n], raw.test[n]
            expected = record["scale"] * raw.score[n] + record["offset"]
            low, high = sorted(np.log(seconds[key]) for key in pair)
            expected += record["duration_min"] * low + record["duration_max"] * high
            faces = sorted(np.log(crops[key]) for key in pair)
            if mode in ("AVxAV", "VxV", "AVxV"):
                expected += record["faces_min"] * faces[0] + record["faces_max"] * faces[1]
            elif "V" in mode:
                expected += record[f"faces_{next(side for side in sides if 'V' in side)}"] * sum(faces) / 2
            for name in ("norm", "cohort"):
                values = {
                    m: [np.linalg.norm(vectors[m][k]) if name == "norm" else float(cohort_means[m][k]) for k in pair]
                    for m in sides
                }
                if sides[0] == sides[1]:
                    low, high = sorted(values[sides[0]])
                    expected += record[f"{name}_min"] * low + record[f"{name}_max"] * high
                else:
                    expected += sum(record[f"{name}_{m}"] * np.mean(values[m]) for m in sides)
            assert llr[n] == pytest.approx(expected, abs=2e-3)
    again = step("calibrate", "--quality", every, exp, systems, data / "dev", data / "eval")
    assert "up to date" in again and "up to date" not in said
    write_list(data / "eval/utt2dur", dict.fromkeys(seconds, 3))
    said = step("calibrate", "--quality", every, exp, systems, data / "dev", data / "eval")
    assert "calibrated ecapa iresnet18 ssa ens_all on" in said
    step("calibrate", exp, systems, data / "dev")
    assert {path: path.read_bytes() for path in plain} == plain


def test_cohort_means_are_those_of_the_nearest_speakers(world):
    utt2spk = read_list(world / "data/train/utt2spk")
    train = vectors_of(world, "ssa", "train.V")
    means: dict[str, np.ndarray] = {}
    for key, vector in train.items():
        means[utt2spk[key]] = means.get(utt2spk[key], 0) + vector / np.linalg.norm(vector)
    sides = vectors_of(world, "ssa", "eval.V")
    found = read_list(world / "exp/ssa/scores/eval.V.cohort")
    assert found.keys() == sides.keys()
    for key, value in found.items():
        nearest = np.sort([cosine(sides[key], mean) for mean in means.values()])[-10:]
        assert float(value) == pytest.approx(nearest.mean(), abs=1e-6)


def test_bad_quality(scene):
    data, exp = scene / "data", scene / "exp"
    dirs = data / "dev", data / "eval"
    said = step("calibrate", "--quality", "duration lenght", exp, "ecapa", *dirs, fails=True)
    assert "--quality: 'lenght' is not one of duration faces norm cohort" in said
    said = step("calibrate", "--quality", "duration", exp, "ecapa", data / "dev", fails=True)
    assert "eval/AxA.asnorm: --quality needs the data directory with the list 'eval'" in said
    write_list(data / "eval/utt2dur", {"eval00-s0": 3})
    said = step("calibrate", "--quality", "duration", exp, "ecapa", *dirs, fails=True)
    assert "AxA.asnorm:1: 'eval00-s0' or 'eval00-s1' has no value of duration in" in said
    assert "Traceback" not in said
    assert "Usage: steps/calibrate.sh" in step("calibrate", exp, "ecapa", *dirs, fails=True)


def test_results_table(world):
    text = (world / "exp/results/results.csv").read_text()
    assert text.splitlines()[0] == (
        "corpus,preset,system,trials,mode,stage,n_target,n_nontarget,eer,eer_low,eer_high,eer_rocch,mindcf,cllr,seed,"
        "git,list_md5"
    )
    records = list(csv.DictReader(text.splitlines()))
    kinds = [(r["system"], r["mode"], r["stage"]) for r in records]
    stages = ("cos", "asnorm", "llr")
    expected = [
        (s, m, st)
        for s, ms in (("ecapa", ["AxA"]), ("iresnet18", ["VxV"]), ("ssa", ALL_MODES))
        for m in ms
        for st in stages
    ]
    assert kinds == [*expected, ("ens_all", "AVxAV", "asnorm"), ("ens_all", "AVxAV", "llr")]
    path = world / "data/eval/trials/eval"
    trials = read_trials(path)
    speakers = [np.array([key.split("-")[0] for key in side]) for side in (trials.enroll, trials.test)]
    for record in records:
        scores = read_scores(world / f"exp/{record['system']}/scores/eval/{record['mode']}.{record['stage']}").score
        low, high = speaker_bootstrap(scores, trials.is_target, *speakers, resamples=50, seed=3)
        figures = {"eer": 100 * eer(scores, trials.is_target), "eer_low": 100 * low, "eer_high": 100 * high}
        figures["eer_rocch"] = 100 * eer_rocch(scores, trials.is_target)
        figures["mindcf"] = min_dcf(scores, trials.is_target)
        for name, value in figures.items():
            assert record[name] == f"{value:.4f}"
        cost = f"{cllr(scores, trials.is_target):.4f}" if record["stage"] == "llr" else ""
        assert record["cllr"] == cost
        assert (record["n_target"], record["n_nontarget"]) == (
            str(trials.is_target.sum()),
            str((~trials.is_target).sum()),
        )
        assert record["list_md5"] == hashlib.md5(path.read_bytes()).hexdigest()
        assert (record["corpus"], record["preset"], record["seed"], record["trials"]) == ("made-up", "exp", "3", "eval")


def test_results_for_people(world):
    said = (world / "said").read_text()
    table = (world / "exp/results/table.txt").read_text()
    assert table in said
    rows = [line.split() for line in table.splitlines()]
    assert rows[0] == ["Trials", "'eval':", "80", "target,", "700", "non-target"]
    markdown = (world / "exp/results/RESULTS.md").read_text()
    assert "780 trials: 80 target, 700 non-target; md5 of the list" in markdown
    assert "./run.sh --preset exp --seed 3 --systems 'ecapa iresnet18 ssa'" in markdown
    table = markdown.split("## Trials `eval`")[1].split("\n\n")[2]
    lines = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    rates = {row[0].strip(): row[2].strip() for row in lines}
    assert set(rates) == {*SYSTEMS, "ens_all"}
    lowest = min(float(rate.strip("*")) for rate in rates.values())
    assert {rate.startswith("**") for rate in rates.values() if float(rate.strip("*")) == lowest} == {True}
    assert {rate.startswith("**") for rate in rates.values() if float(rate.strip("*")) > lowest} == {False}
    for name in (
        "analysis/identities.png",
        "results/det.png",
        "results/training.png",
        "ssa/analysis/angles.png",
        "ssa/analysis/projection.png",
    ):
        assert (world / "exp" / name).read_bytes().startswith(b"\x89PNG")
    report = (world / "exp/results/report.html").read_text()
    command = shlex.join(["steps/report.sh", "--seed", "3", f"{world}/exp", " ".join(SYSTEMS), f"{world}/data/eval"])
    assert html.escape(command).replace("&#x27;", "&#39;") in report
    assert report.count("<article>") == 16


def test_nothing_is_done_twice(world, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in world.rglob("*")}
    programs = PythonPrograms(tmp_path)
    said = run_all(world, env=programs.environment)
    assert {path: path.stat().st_mtime_ns for path in world.rglob("*")} == before
    assert said.count("up to date") == 11
    assert programs.started() == []
    assert "Trials 'eval'" in said


def test_changed_options_and_inputs_redo(scene):
    data, exp = scene / "data", scene / "exp"
    scores = exp / "ecapa/scores/eval/AxA.asnorm"
    before = scores.read_text()
    results = results_of(scene)
    step("score_norm", "--variant", "s-norm", exp / "ecapa", data / "train", data / "dev", data / "eval")
    assert scores.read_text() != before
    step("score_ensemble", exp, "ecapa iresnet18 ssa")
    said = step("calibrate", exp, "ecapa iresnet18 ssa", data / "dev")
    assert "calibrated ecapa ens_all on" in said
    said = run_all(scene)  # back to the first variant
    assert scores.read_text() == before
    # The scores of the other systems, the cosine scores of ecapa, the analyses, and the results, which were not remade.
    assert said.count("up to date") == 8
    assert results_of(scene) == results
    step("score_cosine", "--modes", "VxV AxV", exp / "ssa", data / "dev", data / "eval")
    assert {path.name for path in (exp / "ssa/scores/eval").glob("*.cos")} == {"VxV.cos", "AxV.cos"}
    (exp / "ecapa/scores/thresholds.csv").unlink()
    assert "calibrated ecapa on" in step("calibrate", exp, "ecapa iresnet18 ssa", data / "dev")


def test_hard_utterances_are_of_the_hardest_list(scene):
    """A list that is not the first by name, with the trials on which the voice system errs most."""
    data, exp = scene / "data", scene / "exp"
    scores = read_scores(exp / "ecapa/scores/eval/AxA.asnorm")
    trials = read_trials(data / "eval/trials/eval")
    middle = np.median(scores.score)
    easy = scores.score > middle
    keep = np.flatnonzero(np.where(trials.is_target, scores.score < np.median(scores.score[trials.is_target]), easy))
    kind = {True: "target", False: "nontarget"}
    lines = [f"{trials.enroll[n]} {trials.test[n]} {kind[bool(trials.is_target[n])]}\n" for n in keep]
    (data / "eval/trials/hardest").write_text("".join(lines))
    for system in SYSTEMS:
        step("score_cosine", exp / system, data / "dev", data / "eval")
        step("score_norm", "--top-n", 10, exp / system, data / "train", data / "dev", data / "eval")
    step("analyse", exp, " ".join(SYSTEMS), data / "eval")
    assert "trials hardest: 20 hard samples" in (exp / "log/hard_samples.log").read_text()
    (data / "eval/trials/hardest").unlink()
    step("analyse", exp, " ".join(SYSTEMS), data / "eval")
    assert "trials eval: 20 hard samples" in (exp / "log/hard_samples.log").read_text()


def test_labels_of_the_trials_redo_the_results(scene):
    """The lists of a data directory give the results by condition; another one makes them again."""
    data, exp = scene / "data/eval", scene / "exp"
    arguments = ["--resamples", 50, "--seed", 3, exp, " ".join(SYSTEMS), data]
    table = exp / "results/conditions.csv"
    results = results_of(scene)
    assert "utt2place" not in table.read_text()
    assert "utt2place" not in (exp / "results/report.html").read_text()
    write_list(data / "utt2place", {key: "in" if key[-1] in "012" else "out" for key in read_list(data / "utt2spk")})
    for said in ("conditions.csv", "up to date"):
        assert said in step("report", *arguments)
        with table.open() as file:
            rows = [row for row in csv.DictReader(file) if (row["system"], row["source"]) == ("ecapa", "utt2place")]
        shown = [[row[name] for name in ("condition", "n_target", "n_nontarget")] for row in rows]
        # Of the five clips of each of eight speakers three are in and two are out.
        assert shown == [["in", "24", "252"], ["out", "8", "112"], ["not the same", "48", "336"]]
        assert [row["missing"] for row in rows] == ["", "too few target trials", ""]
    assert "utt2place" in (exp / "results/report.html").read_text()
    assert results_of(scene) == results
    (data / "utt2place").write_text("eval00-s0\n")
    said = step("report", *arguments, fails=True)
    assert "utt2place:1: 1 field, expected 2" in said
    assert not (exp / "results/.done").exists()


def test_an_ensemble_that_lacks_a_member_is_left_out(scene):
    said = run_all(scene, "ecapa ssa")
    assert re.search(r": (\d+) other ensembles of \S+ are for systems that are not in this run", said)
    log = (scene / "exp/log/score_ensemble.log").read_text()
    assert "ens_all: left out, iresnet18 not in this run" in log
    assert log.count("left out") == int(re.search(r"(\d+) other ensembles", said)[1])
    assert (scene / "exp/ensembles").read_text() == ""
    assert {record["system"] for record in results_of(scene)} == {"ecapa", "ssa"}


def test_killed_steps_are_finished_by_the_next_run(scene):
    data, exp = scene / "data", scene / "exp"
    expected = results_of(scene)
    systems = " ".join(SYSTEMS)
    # The last step first: each still has what it needs.
    for name, lost, delay, arguments in (
        ("report", "results", 1.5, ["--resamples", 50, "--seed", 3, exp, systems, data / "eval"]),
        ("score_ensemble", "ens_all", 0.3, [exp, systems]),
        ("score_norm", "ssa/scores", 0.5, ["--top-n", 10, exp / "ssa", data / "train", data / "dev", data / "eval"]),
    ):
        gone = exp / lost
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        command = [f"steps/{name}.sh", *map(str, arguments)]
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        with contextlib.suppress(ProcessLookupError):  # it may have been faster
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    run_all(scene)
    assert results_of(scene) == expected
    assert not list(scene.rglob("*.tmp.*"))


def test_a_network_that_does_not_distinguish_speakers_is_reported(tmp_path):
    make_world(tmp_path)
    data, exp, rng = tmp_path / "data", tmp_path / "exp", np.random.default_rng(1)
    for name in SPEAKERS:
        keys, matrix = read_vectors(exp / f"ecapa/embeddings/{name}.A.scp")
        write_vectors(exp / f"ecapa/embeddings/{name}.A", keys, 1 + 1e-4 * rng.normal(size=matrix.shape))
    step("score_cosine", exp / "ecapa", data / "dev", data / "eval")
    said = step("score_norm", exp / "ecapa", data / "train", data / "dev", data / "eval")
    told = [line.split(": ", 1)[1] for line in said.splitlines() if "warning" in line]
    assert len(told) == 2  # for the trials of dev and of eval
    for line in told:
        assert line.startswith(f"warning: {exp}/ecapa: in ") and "has equal scores with all its cohort speakers" in line
    step("score_ensemble", exp, "ecapa")
    step("calibrate", exp, "ecapa", data / "dev")
    for _ in ("made", "up to date"):
        said = step("report", "--resamples", 50, exp, "ecapa", data / "eval")
        shown = [line.split(": ", 1)[1] for line in said.splitlines() if "warning" in line]
        assert shown == [line.replace(f"{exp}/ecapa", "ecapa") for line in told]


def test_trials_that_lack_a_modality(scene):
    data, exp = scene / "data", scene / "exp"
    keys, matrix = read_vectors(exp / "ssa/embeddings/eval.V.scp")
    write_vectors(exp / "ssa/embeddings/eval.V", keys[1:], matrix[1:])
    said = step("score_cosine", "--modes", "VxV", exp / "ssa", data / "eval", fails=True)
    assert f"trials/eval:1: '{keys[0]}' or '{keys[1]}' has no embedding for mode VxV: 39 of 780 trials" in said
    said = step("score_cosine", "--modes", "VxV", "--max-lost", 0.05, exp / "ssa", data / "eval")
    assert len(read_scores(exp / "ssa/scores/eval/VxV.cos").score) == 741
    assert "741 trials, 39 left out for lack of an embedding" in (exp / "ssa/log/score_cosine.log").read_text()


def damage_unknown_id(folder: Path) -> None:
    path = folder / "data/eval/trials/eval"
    lines = path.read_text().splitlines()
    lines[2] = "eval00-s0 nobody-s1 nontarget"
    path.write_text("\n".join(lines) + "\n")


def damage_fields(folder: Path) -> None:
    with (folder / "data/eval/trials/eval").open("a") as file:
        file.write("eval00-s0 eval00-s1\n")


def damage_empty(folder: Path) -> None:
    (folder / "data/eval/trials/eval").write_text("")


def damage_marker(folder: Path) -> None:
    (folder / "exp/ssa/embeddings/.eval.done").unlink()


def damage_index(folder: Path) -> None:
    for path in (folder / "exp/ssa/embeddings").glob("eval.*.scp"):
        path.unlink()


def damage_ark(folder: Path) -> None:
    path = folder / "exp/ssa/embeddings/eval.A.ark"
    path.write_bytes(path.read_bytes()[:-10])


def damage_values(folder: Path) -> None:
    path = folder / "exp/ssa/embeddings/eval.A.ark"
    path.write_bytes(path.read_bytes()[:-4] + np.float32(np.nan).tobytes())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            damage_unknown_id,
            "trials/eval:3: unknown utterance 'nobody-s1': 1 of 780 trials contain one of 1 ids that are not in",
        ),
        (damage_fields, "trials/eval:781: 2 fields, expected 3: ENROLL TEST target|nontarget"),
        (damage_empty, "trials/eval is empty"),
        (damage_marker, "run steps/extract_embeddings.sh first"),
        (damage_index, "no embeddings of eval: extract them first"),
        (damage_ark, "the ark is truncated"),
        (damage_values, "the embedding of 'eval07-s4' is not finite"),
    ],
)
def test_bad_input(scene, damage, message):
    damage(scene)
    scores = scene / "exp/ssa/scores"
    shutil.rmtree(scores)
    said = step("score_cosine", scene / "exp/ssa", scene / "data/eval", fails=True)
    assert message in said
    assert "Traceback" not in said
    assert not list(scores.rglob("*.cos"))


def test_bad_scores_and_missing_stages(scene):
    data, exp = scene / "data", scene / "exp"
    path = exp / "ssa/scores/eval/AxA.cos"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:9], lines[9].rsplit(" ", 1)[0] + " nan", *lines[10:]]) + "\n")
    (exp / "results/.done").unlink()
    said = step("report", exp, "ssa", data / "eval", fails=True)
    assert "AxA.cos:10: score 'nan' is not a finite number" in said
    (exp / "ssa/scores/.norm.done").unlink()
    for name, arguments in (("score_ensemble", []), ("calibrate", [data / "dev"]), ("report", [data / "eval"])):
        assert "run steps/score_" in step(name, exp, "ssa", *arguments, fails=True)


def test_only_one_class_of_trials(scene):
    data, exp = scene / "data", scene / "exp"
    path = data / "dev/trials/dev"
    path.write_text("".join(line for line in path.open() if not line.endswith("nontarget\n")))
    step("score_cosine", exp / "ecapa", data / "dev", data / "eval")
    step("score_norm", exp / "ecapa", data / "train", data / "dev", data / "eval")
    step("score_ensemble", exp, "ecapa")
    said = step("calibrate", exp, "ecapa", data / "dev", fails=True)
    assert "AxA on dev: there is no non-target trial among the 60 trials: both kinds are needed" in said


@pytest.mark.parametrize(
    "name", ["score_cosine", "score_norm", "score_backend", "score_ensemble", "calibrate", "analyse", "report"]
)
def test_usage(name):
    result = run(f"steps/{name}.sh")
    assert result.returncode == 2
    assert f"Usage: steps/{name}.sh [options]" in result.stderr
    result = run(f"steps/{name}.sh", "--bogus", "1")
    assert result.returncode == 2
    assert "unknown option --bogus" in result.stderr


def test_the_benchmark_of_scoring_runs():
    sizes = {"trials": 1000, "utterances": 200, "cohort": 10, "dim": 8, "resamples": 10, "part": 50, "num-threads": 1}
    words = [sys.executable, "benchmarks/scoring.py", *(f"--{name}={size}" for name, size in sizes.items())]
    result = run(*words)
    assert result.returncode == 0, result.stderr
    assert float(re.search(r"largest difference from ours: (\S+)", result.stdout)[1]) < 1e-5
