"""The training loop: it learns, and interruptions do not change the result."""

import csv
import math
import os
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import torch
import yaml
from ranks import FORK, join_ranks, start_ranks
from synthetic import FACES, FBANK, config, make_data_dir, make_noise, make_trials, trained_weights, write_config
from tensorboard.backend.event_processing import event_accumulator
from torch import nn
from torch.nn import functional

from avsv.data.clips import TrainingClips, WholeUtterances, whole_audio_list
from avsv.data.inputs import Inputs
from avsv.data.lists import read_utterances
from avsv.errors import DataError
from avsv.io.lists import read_trials
from avsv.model.build import load_exactly
from avsv.model.config import load_config
from avsv.model.embedder import Embedder
from avsv.model.inputs import inputs_of
from avsv.model.saved import TrainedSystem
from avsv.model.trainable import TrainableSystem
from avsv.scoring.metrics import eer
from avsv.train import loop
from avsv.train.books import MAX_SKIPPED
from avsv.train.development import Development
from avsv.train.distributed import Ranks
from avsv.train.held_out import held_out_rows
from avsv.train.loop import Trainer
from avsv.train.material import Sources
from avsv.train.provenance import identity
from avsv.train.run import train_system
from avsv.train.schedule import learning_rate, make_optimizer
from avsv.train.signals import Interrupted


class Corpus:
    """Data directories for training and development, with noise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.train = make_data_dir(folder / "train", speakers=6, utterances=4)
        self.dev = make_data_dir(folder / "dev", speakers=4, utterances=3, seed=5)
        make_trials(self.dev)
        self.noise, self.rirs = make_noise(folder)

    def run(self, exp: Path, modalities: str = "A", seed: int = 0, init=None, progress=None, **sections) -> dict:
        """Train with :func:`synthetic.config` and return the final weights."""
        exp.parent.mkdir(exist_ok=True)
        workers = sections.pop("num_workers", 0)
        path = write_config(exp.with_suffix(".yaml"), modalities, **sections)
        noisy = sections.get("data", {}).get("noise_reverb", False)
        train_system(
            path,
            self.sources(noisy),
            exp,
            seed=seed,
            num_workers=workers,
            init=init,
            progress=progress,
        )
        return trained_weights(exp)

    def sources(self, noisy: bool = False) -> Sources:
        noise = (self.noise, self.rirs) if noisy else ()
        return Sources(self.train, self.dev, self.train / "fbank.yaml", *noise)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    torch.set_num_threads(1)
    return Corpus(tmp_path_factory.mktemp("corpus"))


# Everything that is random: noise, dither, masks, pictures.
AUGMENTED = {"noise_reverb": True, "spec_augment": {"time": 5, "frequency": 3}, "video_augment": True}


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory) -> Path:
    """The folder of an undisturbed audio-visual training."""
    exp = tmp_path_factory.mktemp("undisturbed") / "AV"
    corpus.run(exp, "AV", data=AUGMENTED)
    return exp


def checkpoints(exp: Path) -> set[str]:
    return {path.name for path in exp.glob("checkpoints/epoch-*.pt")}


def rows(exp: Path) -> list[dict[str, str]]:
    with (exp / "train.csv").open() as file:
        return list(csv.DictReader(file))


# --- learning rates --------------------------------------------------------------------------------------------------


def schedule(schedule: dict, lr: float = 0.01, **train: float):
    sections = {"optimizer": {"name": "sgd", "lr": lr}, "schedule": schedule, **train}
    return config("A", train=sections).train


@pytest.mark.parametrize(
    ("every", "expected"),
    [(2, (0.01, 0.005, 0.0025, 0.0003125, 9.765625e-6)), (5, (0.01, 0.01, 0.01, 0.0025, 0.000625))],
)
def test_learning_rate_of_the_papers(every, expected):
    # SPEC J: at epochs 0, 2, 4, 10, 20; the last step of the previous epoch still has the rate of that epoch.
    train = schedule({"name": "step", "every": every}, epochs=30)
    assert [learning_rate(train, 7 * epoch, 7) for epoch in (0, 2, 4, 10, 20)] == pytest.approx(expected, rel=1e-9)
    assert learning_rate(train, 7 * every - 1, 7) == 0.01


def test_learning_rates_over_the_training():
    exponential = schedule({"name": "exponential", "final_lr": 1e-4}, epochs=10)
    assert learning_rate(exponential, 50, 10) == pytest.approx(1e-3)
    ratios = [learning_rate(exponential, n + 1, 10) / learning_rate(exponential, n, 10) for n in range(99)]
    assert ratios == pytest.approx([0.01**0.01] * 99)
    cosine = schedule({"name": "cosine", "final_lr": 0.002}, epochs=10)
    assert [learning_rate(cosine, n, 10) for n in (0, 25, 50, 100)] == pytest.approx(
        [0.01, 0.002 + 0.004 * (1 + math.sqrt(0.5)), 0.006, 0.002]
    )
    warm = schedule({"name": "constant"}, epochs=10, warmup_epochs=0.5)
    assert [learning_rate(warm, n, 10) for n in (0, 1, 4, 5, 60)] == pytest.approx([0.002, 0.004, 0.01, 0.01, 0.01])


def test_optimizers_have_the_configured_settings():
    frozen, free = nn.Parameter(torch.ones(1), requires_grad=False), nn.Parameter(torch.ones(1))
    sgd = make_optimizer(schedule({"name": "constant"}), [frozen, free])
    assert sgd.param_groups[0]["params"] == [free]
    assert {key: sgd.param_groups[0][key] for key in ("momentum", "weight_decay", "nesterov")} == {
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "nesterov": False,
    }
    adamw = make_optimizer(config("A", train={"optimizer": {"name": "adamw"}}).train, [free])
    assert isinstance(adamw, torch.optim.AdamW)
    group = adamw.param_groups[0]
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (1e-3, (0.9, 0.999), 1e-8, 0.01)


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modalities", ["A", "V"])
def test_it_learns(corpus, tmp_path, modalities):
    corpus.run(tmp_path / "exp", modalities, train={"epochs": 6, "batch_size": 6})
    history = rows(tmp_path / "exp")
    assert [row["epoch"] for row in history] == ["1", "2", "3", "4", "5", "6"]
    losses = [float(row["loss"]) for row in history]
    assert losses[-1] < 0.6 * losses[0]
    # Chance is 1 in 6.
    assert float(history[-1]["accuracy"]) > 0.5
    assert float(history[-1]["dev_eer"]) < 0.4
    files = {path.name for path in (tmp_path / "exp").iterdir()}
    assert files == {"config.yaml", "run.yaml", "train.csv", "tensorboard", "checkpoints", "final.pt"}
    assert len(list((tmp_path / "exp" / "checkpoints").iterdir())) == 2


def test_loader_workers_change_no_bit(corpus, undisturbed, tmp_path):
    corpus.run(tmp_path / "AV", "AV", data=AUGMENTED, num_workers=2)
    assert (tmp_path / "AV" / "final.pt").read_bytes() == (undisturbed / "final.pt").read_bytes()


def test_another_seed_gives_another_system(corpus, undisturbed, tmp_path):
    weights = corpus.run(tmp_path / "AV", "AV", data=AUGMENTED, seed=1)
    before = trained_weights(undisturbed)
    assert not torch.equal(weights["fusion.audio.weight"], before["fusion.audio.weight"])


def test_killed_at_random_moments_it_ends_with_the_same_bytes(corpus, undisturbed, tmp_path):
    # Checkpoints after every step, so that a kill in the middle of one is likely.
    job = {"train": {"checkpoint_minutes": 1e-9}, "data": AUGMENTED}
    draw = random.Random(0)
    exp = tmp_path / "AV"
    for _ in range(4):
        process = FORK.Process(target=corpus.run, args=(exp, "AV"), kwargs=job)
        process.start()
        seen = checkpoints(exp)
        until = time.monotonic() + 20
        # Let it progress beyond the previous kill, or the test would never reach the later steps.
        while process.is_alive() and time.monotonic() < until:
            if checkpoints(exp) - seen:
                break
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.3))
        process.kill()
        process.join()
    assert checkpoints(exp)
    corpus.run(exp, "AV", **job)
    assert same_but_for_checkpoint_minutes(exp, undisturbed)
    # Measured figures are equal too, but times are not.
    for row, before in zip(rows(exp), rows(undisturbed), strict=True):
        for column in ("epoch", "loss", "accuracy", "grad_norm", "dev_eer"):
            assert row[column] == before[column]


def same_but_for_checkpoint_minutes(exp: Path, other: Path) -> bool:
    a, b = (trained_weights(folder) for folder in (exp, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_saves_and_resumes_when_terminated(corpus, undisturbed, tmp_path):
    def stop_soon(queue) -> None:
        make_step, count = Trainer._make_step, 0

        def counted(self, batch):
            nonlocal count
            count += 1
            if count == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return make_step(self, batch)

        Trainer._make_step = counted
        try:
            corpus.run(tmp_path / "AV", "AV", data=AUGMENTED)
        except Interrupted as stopped:
            queue.put((stopped.signal, str(stopped)))

    queue = FORK.SimpleQueue()
    process = FORK.Process(target=stop_soon, args=(queue,))
    process.start()
    process.join(60)
    assert queue.get() == (signal.SIGTERM, "stopped by SIGTERM; run again to resume")
    assert [path.name for path in (tmp_path / "AV" / "checkpoints").iterdir()] == ["epoch-0000-step-00000002.pt"]
    corpus.run(tmp_path / "AV", "AV", data=AUGMENTED)
    assert (tmp_path / "AV" / "final.pt").read_bytes() == (undisturbed / "final.pt").read_bytes()


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(corpus, tmp_path, capfd, damage):
    weights = corpus.run(tmp_path / "A")
    last = sorted((tmp_path / "A" / "checkpoints").iterdir())[-1]
    content = bytearray(last.read_bytes())
    if damage == "flip":
        third = len(content) // 3
        content[third : third + 2000] = bytes(255 - byte for byte in content[third : third + 2000])
    last.write_bytes({"cut": content[:-1000], "flip": content, "empty": b""}[damage])
    (tmp_path / "A" / "final.pt").unlink()
    again = corpus.run(tmp_path / "A")
    assert f"{last}: not readable" in capfd.readouterr().err
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def unfinished(corpus: Corpus, exp: Path, **sections) -> None:
    """Leave a training with checkpoints but without its end."""
    corpus.run(exp, **sections)
    (exp / "final.pt").unlink()


def test_it_does_not_resume_with_other_inputs(corpus, tmp_path):
    unfinished(corpus, tmp_path / "A")
    with pytest.raises(DataError) as error:
        corpus.run(tmp_path / "A", seed=3)
    assert str(error.value) == (
        f"{tmp_path}/A: an unfinished training with other settings or data (seed was 0, is now 3): use another --exp,"
        " or remove the folder to train again"
    )
    with pytest.raises(DataError, match=r"\(train.optimizer.lr was 0.005, is now 0.1\)"):
        corpus.run(tmp_path / "A", train={"optimizer": {"name": "adamw", "lr": 0.1}})
    feats = corpus.train / "utt2spk"
    before = feats.read_text()
    feats.write_text(before.replace("s0-u0 s0\n", ""))
    try:
        # The list has one utterance less, so its features belong to no utterance.
        with pytest.raises(DataError, match=r"feats.scp: s0-u0 is not in utt2spk"):
            corpus.run(tmp_path / "A")
        feats.write_text(before.replace("s0-u0 s0\n", "s0-u0 s1\n"))
        with pytest.raises(DataError, match=r"train/utt2spk has changed\)"):
            corpus.run(tmp_path / "A")
    finally:
        feats.write_text(before)
    corpus.run(tmp_path / "A")
    assert (tmp_path / "A" / "final.pt").is_file()


def test_a_training_from_before_a_new_setting_is_known_again(corpus, tmp_path):
    corpus.run(tmp_path / "A")
    config = tmp_path / "A" / "config.yaml"
    # As a version without loss.uncertainty left them.
    for path in (tmp_path / "A").glob("checkpoints/*.pt"):
        checkpoint = torch.load(path)
        assert checkpoint["identity"]["config"].pop("loss.uncertainty") == "False"
        torch.save(checkpoint, path)
    mapping = yaml.safe_load(config.read_text())
    assert mapping["loss"].pop("uncertainty") is False
    config.write_text(yaml.safe_dump(mapping))
    corpus.run(tmp_path / "A")
    with pytest.raises(DataError, match=r"finished system .*loss\.uncertainty was False, is now True"):
        corpus.run(tmp_path / "A", loss={"uncertainty": True})


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_system_is_never_overwritten(corpus, tmp_path):
    corpus.run(tmp_path / "A")
    before = contents(tmp_path / "A")
    with pytest.raises(DataError, match=r"A: a finished system with other settings or data \(seed was 0, is now 3\):"):
        corpus.run(tmp_path / "A", seed=3)
    other = Corpus(tmp_path / "other corpus")
    with pytest.raises(DataError) as error:
        other.run(tmp_path / "A")
    assert f"({corpus.dev}/feats.scp was read, {other.dev}/feats.scp is now)" in str(error.value)
    assert contents(tmp_path / "A") == before
    shutil.rmtree(tmp_path / "A" / "checkpoints")
    with pytest.raises(DataError, match=r"final.pt: a finished system without checkpoints"):
        corpus.run(tmp_path / "A", seed=3)
    assert (tmp_path / "A" / "final.pt").read_bytes() == before[tmp_path / "A" / "final.pt"]


@pytest.mark.parametrize(("modalities", "data"), [("A", {}), ("A", {"speed_perturb": True}), ("AV", {})])
def test_new_speakers_start_from_their_mean_embeddings(corpus, tmp_path, monkeypatch, modalities, data):
    """A trained system that meets other speakers keeps its networks; each class starts at its speaker's mean."""
    trained = corpus.run(tmp_path / "base", modalities, data=data)
    before = contents(tmp_path / "base")
    others = Corpus(tmp_path / "others")
    others.train = make_data_dir(tmp_path / "others" / "new", speakers=5, utterances=3, seed=9)
    rename(others.train, "s", "n")
    started = {}
    monkeypatch.setattr(Trainer, "_train", lambda self: started.update(self.system.state_dict()))
    sections = {"data": data, "init_from": {"system": "base"}}
    others.run(tmp_path / "tuned", modalities, init={"system": tmp_path / "base"}, **sections)
    assert contents(tmp_path / "base") == before
    for name in trained:
        if not name.startswith("classifiers."):
            assert torch.equal(started[f"embedder.{name}"], trained[name])

    mode = "AV" if modalities == "AV" else "A"
    trained_system = TrainedSystem.load(tmp_path / "base" / "final.pt")
    embed = replace(trained_system.config.embed, batch_size=1, speeds=bool(data))
    embedder = Embedder(replace(trained_system.config, embed=embed))
    embedder.load_state_dict(trained_system.embedder)
    inputs = inputs_of(trained_system.config, trained_system.audio, trained_system.video)
    table = read_utterances(others.train, whole_audio_list(embed, inputs), modalities == "AV")
    clips = WholeUtterances(table, np.zeros(len(table), np.int32), embed, inputs)
    vectors = {}
    for batch in (clips[number] for number in range(len(clips))):
        with torch.no_grad():
            vectors[batch.keys[0]] = embedder.eval().embed(batch.prepare("cpu"), [mode])[mode][0].reshape(-1, 16)
    weights = started["objective.classifiers.main.weight"]
    speeds = 3 if data else 1
    assert len(weights) == 5 * speeds
    for speaker in range(5):
        of_speaker = [v for key, v in vectors.items() if key.startswith(f"n{speaker}-")]
        assert len(of_speaker) == 3
        for speed in range(speeds):
            mean = sum(functional.normalize(v[speed], dim=0) for v in of_speaker)
            cosine = functional.cosine_similarity(weights[speaker + 5 * speed], mean, dim=0)
            assert cosine > 1 - 1e-5


def test_frozen_parts_keep_their_weights(corpus, tmp_path):
    """Weights and the statistics of batch normalization stay as they were; all else is trained."""
    base = corpus.run(tmp_path / "base", "AV")
    train = {"freeze": ["audio", "fusion"], "optimizer": {"name": "sgd", "lr": 0.1, "backbone_factor": 0.5}}
    sections = {"train": train, "init_from": {"system": "base"}}
    tuned = corpus.run(tmp_path / "tuned", "AV", init={"system": tmp_path / "base"}, **sections)
    same = {name for name in base if torch.equal(base[name], tuned[name])}
    frozen = {name for name in base if name.startswith(("audio.", "fusion."))}
    assert frozen <= same
    learned = {name for name in base if name.startswith(("visual.", "classifiers.")) and base[name].is_floating_point()}
    assert len(learned & same) < len(learned) / 10
    with pytest.raises(DataError, match=r"train.freeze: the system has no visual: remove it"):
        corpus.run(tmp_path / "A", "A", train={"freeze": ["visual"]})


def rename(directory: Path, old: str, new: str) -> None:
    """Change the first letter of the speakers and utterances of a data directory."""
    for name in ("utt2spk", "feats.scp", "audio.scp", "faces.scp", "utt2num_frames", "utt2num_faces", "utt2dur"):
        path = directory / name
        lines = [
            line.replace(f" {old}", f" {new}") if name == "utt2spk" else line for line in path.read_text().splitlines()
        ]
        path.write_text("".join(f"{new}{line[len(old) :]}\n" for line in lines))


def test_averaged_weights_are_the_mean_of_the_last_epochs(corpus, tmp_path):
    mean = corpus.run(tmp_path / "mean", train={"epochs": 3, "average_last": 2})
    ends = []
    for epochs in (2, 3):
        # With a constant learning rate, a shorter training equals the beginning of a longer one.
        ends.append(corpus.run(tmp_path / f"{epochs}", train={"epochs": epochs}))
    for name, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (ends[0][name] + ends[1][name]) / 2, rtol=1e-6, atol=1e-7)
        else:
            assert torch.equal(value, ends[1][name])


def test_the_best_epoch_is_kept(corpus, tmp_path, monkeypatch):
    rates = iter([0.3, 0.1, 0.2])
    monkeypatch.setattr(Development, "eer", lambda *_: next(rates))
    best = corpus.run(tmp_path / "best", train={"epochs": 3, "keep": "best"})
    rates = iter([0.3, 0.1])
    second = corpus.run(tmp_path / "second", train={"epochs": 2})
    assert all(torch.equal(best[name], second[name]) for name in best)


def test_the_epoch_with_the_best_accuracy_on_held_out_clips_is_kept(corpus, tmp_path):
    """One of the four utterances of each speaker; recognized by the cosines of its whole features, one at a time."""
    sections = {"data": {"held_out": 0.25, "window": 2.0}, "train": {"epochs": 3, "keep": "best"}}
    corpus.run(tmp_path / "best", **sections)
    found = [float(row["held_out_accuracy"]) for row in rows(tmp_path / "best")]
    trained, settings = TrainedSystem.load(tmp_path / "best" / "final.pt"), load_config(tmp_path / "best.yaml")
    embedder = Embedder(settings).eval()
    load_exactly(embedder, trained.embedder, "the networks")
    table = read_utterances(corpus.train, video=False)
    held_out = held_out_rows(table.speakers, 0.25, seed=0)
    assert sorted(table.speakers[row] for row in held_out) == [f"s{number}" for number in range(6)]
    features = kaldiio.load_scp(str(corpus.train / "feats.scp"))
    right = 0
    for row in held_out.tolist():
        frames = torch.tensor(features[table.keys[row]])
        with torch.inference_mode():
            embedding = embedder.audio((frames - frames.mean(dim=0))[None])
        cosines = functional.cosine_similarity(embedding, trained.objective["classifiers.main.weight"])
        right += table.speakers[row] == f"s{int(cosines.argmax())}"
    assert found[int(np.argmax(found))] == pytest.approx(right / 6, abs=1e-5)
    first = corpus.run(tmp_path / "first", data=sections["data"], train={"epochs": 1 + int(np.argmax(found))})
    assert all(torch.equal(value, first[name]) for name, value in trained_weights(tmp_path / "best").items())


def test_what_is_held_out_is_not_trained_on(corpus, tmp_path, capfd):
    """An epoch of what is left, and a message where nothing can be held out or recognized."""
    corpus.run(tmp_path / "half", data={"held_out": 0.5}, train={"epochs": 1, "batch_size": 4})
    assert "; 12 utterances of 6 speakers" in capfd.readouterr().err
    with pytest.raises(DataError, match=r"data.held_out: 0.1: .*/train has too few utterances per speaker"):
        corpus.run(tmp_path / "few", data={"held_out": 0.1})
    with pytest.raises(DataError, match=r"data.held_out: ge2e has no classes"):
        loss, batches = {"classifier": {"name": "ge2e"}}, {"held_out": 0.25, "utterances_per_speaker": 2}
        corpus.run(tmp_path / "ge2e", loss=loss, data=batches)


def test_another_face_has_no_true_worth(corpus, tmp_path):
    """Neither for a pooling by it nor for a supervision."""
    for name, sections in {
        "pooling": {"visual": {"pooling": "oracle"}},
        "supervision": {
            "audio": {"pooling": "we_asp"},
            "visual": {"pooling": "we_asp"},
            "supervision": {"name": "true_worth"},
        },
    }.items():
        with pytest.raises(
            DataError, match=rf"{name}.yaml: data.wrong_faces: the true worth of moments is known of the"
        ):
            corpus.run(tmp_path / name, "AV", data={"wrong_faces": 0.5}, **sections)


def test_the_development_eer_is_measured_as_often_as_asked_and_at_the_end(corpus, tmp_path):
    def rates(name: str, every: int) -> list[str]:
        corpus.run(tmp_path / name, train={"epochs": 5, "evaluate_every": every})
        with (tmp_path / name / "train.csv").open() as file:
            return [row["dev_eer"] for row in csv.DictReader(file)]

    always = rates("always", 1)
    assert all(always)
    assert rates("seldom", 2) == ["", always[1], "", always[3], always[4]]


def test_fusion_starts_from_trained_backbones(corpus, tmp_path):
    corpus.run(tmp_path / "voice", "A", train={"epochs": 1})
    corpus.run(tmp_path / "face", "V", train={"epochs": 1})
    names = {"audio": "voice", "visual": "face"}
    init = {role: tmp_path / name for role, name in names.items()}
    # With a learning rate that is too small to change a weight, the loaded weights remain.
    still = {"optimizer": {"name": "sgd", "lr": 1e-30}, "epochs": 1}
    fused = corpus.run(tmp_path / "fused", "AV", init=init, init_from=names, train=still)
    for role, name in names.items():
        source = trained_weights(tmp_path / name)
        trained = [key for key, value in source.items() if key.startswith(f"{role}.") and "running" not in key]
        assert len(trained) > 20
        assert all(torch.equal(source[key], fused[key]) for key in trained if source[key].is_floating_point())
    with pytest.raises(DataError, match=r"init_from.visual: the configuration names 'face' a system, --init disagrees"):
        corpus.run(tmp_path / "half", "AV", init={"audio": init["audio"]}, init_from=names)


# --- contradictions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modalities", "sections", "message"),
    [
        ("A", {"audio": {"feature_dim": 40}}, "audio.feature_dim: 40, but the data have 20: change it, or"),
        ("A", {"train": {"schedule": {"name": "step"}}, "init_from": {"system": "x"}}, "init_from.system: the config"),
        ("A", {"train": {"precision": "fp16"}}, "train.precision: fp16 needs a GPU"),
        ("A", {"train": {"batch_size": 1}}, "train.batch_size: batches of 1 for 1 processes"),
        ("A", {"data": {"window": 0.001}}, "data.window: 0.001 s is shorter than one feature frame"),
    ],
)
def test_what_does_not_fit_is_said(corpus, tmp_path, modalities, sections, message):
    with pytest.raises(DataError) as error:
        corpus.run(tmp_path / "exp", modalities, **sections)
    assert message in str(error.value)
    assert not (tmp_path / "exp" / "final.pt").exists()


def test_noise_needs_a_list(corpus, tmp_path):
    path = write_config(tmp_path / "A.yaml", "A", data={"noise_reverb": True})
    with pytest.raises(DataError, match=r"data.noise_reverb: give --noise-dir or --rir-dir, or set it to false"):
        train_system(path, corpus.sources(), tmp_path / "A")


def test_bf16_trains_on_the_cpu(corpus, tmp_path):
    corpus.run(tmp_path / "A", train={"precision": "bf16", "epochs": 3})
    history = rows(tmp_path / "A")
    assert float(history[-1]["loss"]) < float(history[0]["loss"])
    weights = trained_weights(tmp_path / "A")
    assert {value.dtype for value in weights.values()} == {torch.float32, torch.int64}


def test_utterances_without_a_modality_are_trained_on(tmp_path):
    lacking = tuple(f"s{speaker}-u0" for speaker in range(4))
    train = make_data_dir(tmp_path / "train", 4, 3, without_video=lacking, without_audio=("s0-u1", "s1-u1"))
    dev = make_data_dir(tmp_path / "dev", 2, 1)
    path = write_config(tmp_path / "AV.yaml", "AV", train={"epochs": 1, "batch_size": 4})
    train_system(path, Sources(train, dev, train / "fbank.yaml"), tmp_path / "exp")
    (row,) = rows(tmp_path / "exp")
    assert math.isfinite(float(row["loss"])) and row["skipped"] == "0" and row["dev_eer"] == ""


# --- development -----------------------------------------------------------------------------------------------------


def test_development_eer_is_that_of_the_embeddings(corpus):
    settings = config("AV")
    torch.manual_seed(0)
    embedder = Embedder(settings).eval()
    development = Development(corpus.dev, settings, Inputs(FBANK, FACES), pytest.fail)
    table = read_utterances(corpus.dev)
    vectors = {}
    with torch.no_grad():
        for index, key in enumerate(table.keys):
            # One utterance per batch: no padding, and nothing is shared.
            clips = WholeUtterances(table, np.zeros(len(table)), settings.embed, Inputs(FBANK, FACES))
            vectors[key] = embedder.embed(clips.batch_of([index]).prepare("cpu"), ["AV"])["AV"][0].double()
    trials = read_trials(corpus.dev / "trials" / "dev")
    scores = [
        torch.nn.functional.cosine_similarity(vectors[a], vectors[b], dim=0).item()
        for a, b in zip(trials.enroll.tolist(), trials.test.tolist(), strict=True)
    ]
    with Ranks(use_gpu=False) as ranks:
        assert development.eer(embedder, ranks) == pytest.approx(eer(scores, trials.is_target), abs=1e-9)


def test_development_trials_of_models(tmp_path):
    """The models of enroll are means of unit vectors; a list without labels has no part in the error rate."""
    dev = make_data_dir(tmp_path / "dev", 3, 3)
    (dev / "enroll").write_text("".join(f"m{n} s{n}-u0 s{n}-u1\n" for n in range(3)))
    (dev / "trials").mkdir()
    pairs = [(f"m{a}", f"s{b}-u2") for a in range(3) for b in range(3)]
    lines = [f"{a} {b} {'target' if a[1] == b[1] else 'nontarget'}\n" for a, b in pairs]
    (dev / "trials/dev").write_text("".join(lines))
    (dev / "trials/blind").write_text("m0 s1-u2\n")
    torch.manual_seed(1)
    embedder = Embedder(config("V")).eval()
    development = Development(dev, config("V"), Inputs(None, FACES), pytest.fail)
    table, vectors = read_utterances(dev), {}
    with torch.no_grad():
        for index, key in enumerate(table.keys):
            clips = WholeUtterances(table, np.zeros(len(table)), config("V").embed, Inputs(None, FACES))
            vector = embedder.embed(clips.batch_of([index]).prepare("cpu"), ["V"])["V"][0].double()
            vectors[key] = vector / vector.norm()
    scores = []
    for a, b in pairs:
        model = vectors[f"s{a[1]}-u0"] + vectors[f"s{a[1]}-u1"]
        scores.append(float(model @ vectors[b] / model.norm()))
    with Ranks(use_gpu=False) as ranks:
        expected = eer(scores, [a[1] == b[1] for a, b in pairs])
        assert development.eer(embedder, ranks) == pytest.approx(expected, abs=1e-9)


def test_development_trials_must_name_known_utterances(tmp_path):
    dev = make_data_dir(tmp_path / "dev", 2, 2, without_video=("s0-u0",))
    make_trials(dev)
    told = []
    development = Development(dev, config("AV"), Inputs(FBANK, FACES), told.append)
    assert len(development.lists[0].is_target) == 3
    assert told == [f"{dev}/trials/dev: 3 of 6 trials lack a modality and are not scored"]
    (dev / "trials" / "dev").write_text("s0-u0 s1-u0 nontarget\ns0-u0 nobody target\n")
    with pytest.raises(DataError, match=r"trials/dev:2: unknown utterance 'nobody': .*dev/utt2spk"):
        Development(dev, config("AV"), Inputs(FBANK, FACES), told.append)
    (dev / "trials" / "dev").write_text("s0-u0 s1-u0 nontarget\n")
    with pytest.raises(DataError, match=r"trials/dev: needs target and nontarget trials"):
        Development(dev, config("A"), Inputs(FBANK), told.append)


# --- steps of a toy system -------------------------------------------------------------------------------------------


class ToySystem(nn.Module):
    """A linear classifier of the deviations of features; the only batch statistics are those in ``seen``."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(20, classes)
        self.register_buffer("seen", torch.zeros(20))
        self.spoil = lambda _batch: 1.0
        self.supervision = None
        self.lacks_gradients = False

    def backbone_parameters(self) -> list:
        return []

    def parts(self) -> dict:
        return {"linear": list(self.linear.parameters())}

    def figures(self, _batch) -> dict[str, float]:
        return {}

    def forward(self, batch):
        inputs = batch.audio.std(dim=1) * self.spoil(batch)
        self.seen.mul_(0.9).add_(inputs.detach().mean(dim=0), alpha=0.1)
        logits = self.linear(inputs)
        loss = nn.functional.cross_entropy(logits, batch.label)
        accuracy = (logits.argmax(dim=1) == batch.label).float().mean()
        return loss, {"loss": loss.detach(), "accuracy": accuracy}

    def at_epoch(self, _epoch: float) -> float:
        return 0.0


def toy_training(corpus: Corpus, folder: Path, ranks: Ranks, spoil=None, **train) -> tuple[ToySystem, Trainer]:
    sections = {"optimizer": {"name": "sgd", "lr": 0.5}, **train}
    settings = config("A", train=sections)
    table = read_utterances(corpus.train, video=False)
    clips = TrainingClips(table, table.labels([f"s{n}" for n in range(6)]), settings.data, Inputs(FBANK), 0)
    system = ToySystem(6)
    if spoil is not None:
        system.spoil = spoil
    return system, Trainer(system, settings, clips, None, None, folder, ranks, 0, identity(settings, 0, []))


def test_a_spoilt_step_is_skipped_and_leaves_no_trace(corpus, tmp_path, capfd):
    def spoil(batch):
        return float("nan") if batch.keys == bad else 1.0

    with Ranks(use_gpu=False) as ranks:
        system, trainer = toy_training(corpus, tmp_path / "a", ranks, epochs=1)
        bad = trainer.clips[list(trainer.sampler)[1]].keys
        system.spoil = spoil
        trainer.run()
        assert trainer.history[0]["skipped"] == 1 and trainer.steps_per_epoch == 3
        assert "epoch 1, step 2: loss nan, gradient norm nan at lr 0.5: step skipped" in capfd.readouterr().err
        # By hand: the first and the third step of plain gradient descent with momentum.
        by_hand, other = toy_training(corpus, tmp_path / "b", ranks, epochs=1)
        for number in (0, 2):
            batch = other.clips[list(other.sampler)[number]]
            optimizer = other.optimization.optimizer
            optimizer.zero_grad()
            by_hand(batch)[0].backward()
            optimizer.step()
        for name, value in by_hand.state_dict().items():
            torch.testing.assert_close(system.state_dict()[name], value, rtol=1e-6, atol=1e-7)


def test_training_that_stays_spoilt_is_given_up(corpus, tmp_path):
    with Ranks(use_gpu=False) as ranks:
        system, trainer = toy_training(corpus, tmp_path, ranks, lambda _: float("inf"), epochs=30)
        before = {name: value.clone() for name, value in system.state_dict().items()}
        with pytest.raises(DataError) as error:
            trainer.run()
    text = str(error.value)
    assert f"{MAX_SKIPPED} consecutive steps without a finite gradient" in text and "at lr 0.5" in text
    assert all(torch.equal(value, system.state_dict()[name]) for name, value in before.items())


def test_gradients_are_clipped(corpus, tmp_path):
    with Ranks(use_gpu=False) as ranks:
        free, trainer = toy_training(corpus, tmp_path / "free", ranks, epochs=1, batch_size=24)
        start = {name: value.clone() for name, value in free.state_dict().items()}
        trainer.run()
        norm = trainer.history[0]["grad_norm"]
        assert norm > 0.2
        clipped, trainer = toy_training(corpus, tmp_path / "clip", ranks, epochs=1, batch_size=24, clip_norm=0.1)
        trainer.run()
    # The first step of SGD has no momentum yet: the change is lr times the gradient, apart from weight decay.
    decay = 5e-4
    way = [
        (start[name] * (1 - 0.5 * decay) - clipped.state_dict()[name]) / 0.5
        for name in ("linear.weight", "linear.bias")
    ]
    assert math.sqrt(sum(float(item.square().sum()) for item in way)) == pytest.approx(0.1, rel=1e-3)


def run_rank(corpus: Corpus, folder: Path, rank: int, queue, dies: bool = False) -> None:
    with Ranks(use_gpu=False) as ranks:
        _, trainer = toy_training(corpus, folder, ranks, epochs=2)
        if dies and rank == 1:
            trainer._make_step = lambda _batch: os._exit(3)
        weights = trainer.run()
        queue.put((rank, weights["linear.weight"].tolist(), trainer.history[-1]["loss"]))


def two_ranks(corpus: Corpus, folder: Path, dies: bool = False) -> tuple[list, list[int]]:
    queue = FORK.SimpleQueue()
    codes = join_ranks(start_ranks(2, lambda rank: run_rank(corpus, folder, rank, queue, dies)))
    results = []
    while not queue.empty():
        results.append(queue.get())
    return sorted(results), codes


def test_two_processes_train_as_one(corpus, tmp_path):
    with Ranks(use_gpu=False) as ranks:
        _, trainer = toy_training(corpus, tmp_path / "one", ranks, epochs=2)
        alone = trainer.run()["linear.weight"]
    results, codes = two_ranks(corpus, tmp_path / "two")
    assert codes == [0, 0]
    for _, weight, loss in results:
        torch.testing.assert_close(torch.tensor(weight), alone, rtol=1e-5, atol=1e-6)
        assert loss == pytest.approx(trainer.history[-1]["loss"], rel=1e-5)


def test_a_process_that_dies_does_not_leave_the_other_waiting(corpus, tmp_path):
    results, codes = two_ranks(corpus, tmp_path, dies=True)
    assert results == [] and codes[1] == 3
    # Neither None, which means still waiting, nor success.
    assert codes[0] not in (None, 0)


def test_killed_ranks_end_with_the_same_bytes(corpus, tmp_path):
    """Kill -9 of either rank: the other ends too, and both resume to the same bytes as an undisturbed run."""
    whole, exp = tmp_path / "whole" / "AV", tmp_path / "killed" / "AV"
    # So many epochs that a training whose first checkpoint is seen is far from its end.
    undisturbed = {"train": {"epochs": 8}, "data": AUGMENTED}
    assert join_ranks(start_ranks(2, lambda _rank: corpus.run(whole, "AV", **undisturbed))) == [0, 0]
    job = {"train": {"epochs": 8, "checkpoint_minutes": 1e-9}, "data": AUGMENTED}
    for victim in (0, 1):
        seen = checkpoints(exp)
        processes = start_ranks(2, lambda _rank: corpus.run(exp, "AV", **job))
        until = time.monotonic() + 60
        while not checkpoints(exp) - seen and time.monotonic() < until:
            time.sleep(0.005)
        processes[victim].kill()
        codes = join_ranks(processes, 60)
        assert codes[victim] == -signal.SIGKILL and codes[1 - victim] not in (None, 0)
    assert not (exp / "final.pt").exists()
    assert join_ranks(start_ranks(2, lambda _rank: corpus.run(exp, "AV", **job))) == [0, 0]
    assert same_but_for_checkpoint_minutes(exp, whole)


def test_ranks_end_with_the_process_that_started_them(corpus, tmp_path):
    """Kill -9 of torchrun: its processes save a checkpoint and end instead of continuing next to their successors."""
    queue = FORK.SimpleQueue()

    def start() -> None:
        long = {"epochs": 10_000, "checkpoint_minutes": 1e-9}
        queue.put([process.pid for process in start_ranks(2, lambda _rank: corpus.run(tmp_path / "A", train=long))])
        signal.pause()

    def living() -> list[Path]:
        stats = [Path(f"/proc/{pid}/stat") for pid in pids]
        return [stat for stat in stats if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"]

    starter = FORK.Process(target=start)
    starter.start()
    pids = queue.get()
    until = time.monotonic() + 60
    while not checkpoints(tmp_path / "A") and time.monotonic() < until:
        time.sleep(0.005)
    starter.kill()
    starter.join()
    until = time.monotonic() + 30
    while living() and time.monotonic() < until:
        time.sleep(0.01)
    left = living()
    for stat in left:
        os.kill(int(stat.parent.name), signal.SIGKILL)
    assert checkpoints(tmp_path / "A") and not left


def test_another_number_of_ranks_resumes(corpus, tmp_path):
    """Two processes train the first epoch and one the second: the same weights as with one, up to rounding."""

    def first_epoch(_rank: int) -> None:
        with Ranks(use_gpu=False) as ranks:
            _, trainer = toy_training(corpus, tmp_path / "both", ranks, epochs=2)
            end_epoch = trainer._end_epoch

            def stop(*figures):
                end_epoch(*figures)
                ranks.gather(None)
                os._exit(0)

            trainer._end_epoch = stop
            trainer.run()

    assert join_ranks(start_ranks(2, first_epoch)) == [0, 0]
    with Ranks(use_gpu=False) as ranks:
        _, alone = toy_training(corpus, tmp_path / "alone", ranks, epochs=2)
        expected = alone.run()["linear.weight"]
        _, other = toy_training(corpus, tmp_path / "both", ranks, epochs=2)
        weight = other.run()["linear.weight"]
    assert other.history[0]["samples_per_second"] != alone.history[0]["samples_per_second"]
    torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-6)


def test_ranks_draw_and_see_different_things(corpus, tmp_path):
    """The ranks have different clips of a batch, and dropout draws differently in each."""
    queue = FORK.SimpleQueue()

    def look(rank: int) -> None:
        with Ranks(use_gpu=False) as ranks:
            _, trainer = toy_training(corpus, tmp_path, ranks, epochs=1)
            make_step = trainer._make_step

            def look_first(batch):
                result = make_step(batch)
                queue.put((rank, batch.keys, torch.rand(1).item()))
                return result

            trainer._make_step = look_first
            trainer.run()

    assert join_ranks(start_ranks(2, look)) == [0, 0]
    seen = [queue.get() for _ in range(6)]
    keys = [key for _, keys, _ in seen for key in keys]
    assert len(keys) == len(set(keys)) == 24
    assert len({draw for _, _, draw in seen}) == 6


def test_the_loop_reseeds_every_step(corpus, tmp_path, monkeypatch):
    seeds = []
    with Ranks(use_gpu=False) as ranks:
        _, trainer = toy_training(corpus, tmp_path, ranks, epochs=2)
        monkeypatch.setattr(loop.torch, "manual_seed", seeds.append)
        trainer.run()
    assert len(seeds) == len(set(seeds)) == 6


# --- mechanisms ------------------------------------------------------------------------------------------------------

# A system that has all parts.
MECHANISMS = {
    "audio": {"pooling": "we_asp"},
    "visual": {"pooling": "we_asp"},
    "supervision": {"name": "cycle"},
    "data": {**AUGMENTED, "video_frames": 5},
}


def test_what_is_measured_changes_no_bit_of_the_training(corpus, tmp_path, monkeypatch):
    corpus.run(tmp_path / "seen", "AV", **MECHANISMS)
    with monkeypatch.context() as patch:
        patch.setattr(TrainableSystem, "figures", lambda _system, _batch: {})
        patch.setattr(TrainableSystem, "parts", lambda _system: {})
        corpus.run(tmp_path / "unseen", "AV", **MECHANISMS)
    assert (tmp_path / "seen" / "final.pt").read_bytes() == (tmp_path / "unseen" / "final.pt").read_bytes()
    more = rows(tmp_path / "seen")[0].keys() - rows(tmp_path / "unseen")[0].keys()
    pooling = {"attention_entropy", "attention_mean", "attention_std", "enhancement_moved", "series_correlation"}
    assert more == {
        *(f"{network}_{name}" for network in ("audio", "visual") for name in pooling),
        *(f"grad_norm_{part}" for part in ("audio", "visual", "fusion", "classifiers", "supervision")),
        *("fusion_audio_weight", "fusion_audio_weight_std"),
    }
    parts = {"mapping_a_to_v", "mapping_v_to_a", "cycle_a", "cycle_v"}
    assert parts < rows(tmp_path / "unseen")[0].keys()
    for row in rows(tmp_path / "seen"):
        assert all(math.isfinite(float(row[name])) for name in more)
        assert float(row["mapping"]) == pytest.approx(
            float(row["mapping_a_to_v"]) + float(row["mapping_v_to_a"]), rel=1e-4
        )
    events = event_accumulator.EventAccumulator(str(tmp_path / "seen" / "tensorboard")).Reload()
    assert {f"epoch/{name}" for name in more | parts} <= set(events.Tags()["scalars"])


def test_an_epoch_s_figures_are_those_of_its_last_clips_and_weights(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "FIGURE_CLIPS", 5)
    path = write_config(tmp_path / "AV.yaml", "AV", **{**MECHANISMS, "train": {"epochs": 1}})
    settings, batches = load_config(path), []
    make_step = Trainer._make_step
    monkeypatch.setattr(Trainer, "_make_step", lambda self, batch: batches.append(batch) or make_step(self, batch))
    train_system(path, corpus.sources(noisy=True), tmp_path / "AV")
    system = TrainableSystem(settings, 6, 5).eval()
    load_exactly(system.embedder, TrainedSystem.load(tmp_path / "AV" / "final.pt").embedder, "the embedder")
    last, row = batches[-1], rows(tmp_path / "AV")[0]
    embedder = system.embedder
    with torch.no_grad():
        for name, network, inputs, mask in (
            ("audio", embedder.audio, last.audio[:5], last.audio_mask[:5]),
            ("visual", embedder.visual, last.video[:5], last.video_mask[:5]),
        ):
            for figure, value in network.pool.figures(*network.frames(inputs, mask)).items():
                assert float(row[f"{name}_{figure}"]) == pytest.approx(value.item(), rel=1e-4, abs=1e-6)
        pair = embedder.audio(last.audio[:5], last.audio_mask[:5]), embedder.visual(last.video[:5], last.video_mask[:5])
        weight = embedder.fusion.weights(*pair)[:, 0]
    assert float(row["fusion_audio_weight"]) == pytest.approx(weight.mean().item(), rel=1e-4)


def test_gradient_norms_of_the_parts_make_the_whole(corpus, tmp_path):
    corpus.run(tmp_path / "AV", "AV", train={"epochs": 1, "batch_size": 24}, **MECHANISMS)
    [row] = rows(tmp_path / "AV")
    parts = [float(value) for name, value in row.items() if name.startswith("grad_norm_")]
    assert len(parts) == 5
    assert float(row["grad_norm"]) == pytest.approx(math.hypot(*parts), rel=1e-4)
