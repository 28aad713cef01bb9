"""The systems of the papers: the terms of their losses, and that each kind trains, resumes and embeds."""

import ast
import contextlib
import csv
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
import yaml
from paths import ROOT
from ports import free_ports
from synthetic import AUDIO, FACES, FBANK, VISUAL, config, make_data_dir, make_noise, make_trials, write_config

import avsv.train.run as run_module
from avsv.bin import configure
from avsv.data.batch import Batch
from avsv.data.clips import WholeUtterances
from avsv.data.lists import read_utterances
from avsv.embed.extract import embed_batches
from avsv.errors import DataError
from avsv.losses.margin import AAMSoftmax
from avsv.model.config import load_config, parse_config
from avsv.model.inputs import inputs_of
from avsv.model.presets import Configurator
from avsv.model.registry import find_class
from avsv.model.saved import TrainedSystem
from avsv.model.trainable import TrainableSystem
from avsv.nnet.generative.supervision import MIN_FRAMES
from avsv.nnet.visual.iresnet import IResNet
from avsv.train.distributed import Ranks
from avsv.train.log_mel import fit_log_mel
from avsv.train.loop import Trainer
from avsv.train.material import Sources
from avsv.train.run import train_system
from avsv.train.signals import Interrupted

WE_AUDIO, WE_VISUAL = AUDIO | {"pooling": "we_asp"}, VISUAL | {"pooling": "we_asp"}
JAP = {"audio": WE_AUDIO, "visual": WE_VISUAL, "loss": {"orthogonality": 0.5}, "data": {"video_frames": 8}}
SUPERVISIONS = {
    "cycle": {"name": "cycle"},
    "patch_nce": {"name": "patch_nce"},
    "diffusion": {"name": "diffusion", "start_epoch": 1},
}
RAW = {"name": "rawnet3", "channels": 16, "aggregate_channels": 32, "embedding_dim": 16, "sinc_stride": 40}
LOG_MEL = {
    "name": "mobilenetv2", "feature_dim": 64, "stem_channels": 8, "block_channels": [8, 8, 8, 8, 16, 16],
    "embedding_dim": 16,
}  # fmt: skip
COLOR = {"name": "visual_resnet", "depth": 18, "channels": 8, "image_height": 32, "image_width": 32}
KINDS = {
    "jap_cycle": ("AV", JAP | {"supervision": SUPERVISIONS["cycle"]}),
    "jap_nce": ("AV", JAP | {"supervision": SUPERVISIONS["patch_nce"]}),
    "jap_diffusion": ("AV", JAP | {"supervision": SUPERVISIONS["diffusion"]}),
    "mean": ("AV", {"audio": LOG_MEL, "visual": COLOR, "fusion": {"name": "mean", "dim": 16}}),
    "mlp": ("AV", {"fusion": {"name": "mlp", "dim": 16, "hidden_dim": 16}}),
    "multi_view": ("AV", {"fusion": {"name": "multi_view", "dim": 16}}),
    "gated": ("AV", {"fusion": {"name": "gated", "dim": 16}}),
    "bilinear": ("AV", {"fusion": {"name": "compact_bilinear", "dim": 16, "sketch_dim": 64}}),
    "reptar": (
        "AV",
        {
            "audio": RAW,
            "loss": {"classifier": {"name": "ge2e", "variant": "contrast"}, "age": 0.1},
            "data": {"av_mixup": True, "utterances_per_speaker": 2},
        },
    ),
    "speed": ("A", {"data": {"speed_perturb": True}}),
    "waveform": ("A", {"audio": RAW}),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """train, dev with trials, ages of some speakers."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("corpus")
    make_data_dir(folder / "train", speakers=6, utterances=4)
    make_data_dir(folder / "dev", speakers=4, utterances=3, seed=5)
    make_trials(folder / "dev")
    make_noise(folder)
    (folder / "train" / "spk2age").write_text("".join(f"s{n} {'?' if n == 2 else 18 + 9 * n}\n" for n in range(6)))
    return folder


def sections(changes: dict) -> dict:
    """Sections for :func:`synthetic.mapping`, in which a whole network replaces the existing one."""
    return {name: dict(value) for name, value in changes.items()}


def run(corpus: Path, exp: Path, modalities: str, changes: dict, init=None, weights_dir="none") -> TrainedSystem:
    networks = {name: changes[name] for name in ("audio", "visual", "fusion") if name in changes}
    path = write_config(exp.with_suffix(".yaml"), modalities, **sections(changes))
    if networks:
        mapping = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(mapping | networks))
    train_system(
        path,
        Sources(corpus / "train", corpus / "dev", corpus / "train" / "fbank.yaml"),
        exp,
        init=init,
        weights_dir=weights_dir,
    )
    return TrainedSystem.load(exp / "final.pt")


def all_weights(trained: TrainedSystem) -> dict[str, torch.Tensor]:
    return trained.embedder | trained.objective


def history(exp: Path) -> list[dict[str, str]]:
    with (exp / "train.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_system_trains_and_embeds(corpus, tmp_path, kind):
    modalities, changes = KINDS[kind]
    trained = run(corpus, tmp_path / kind, modalities, changes)
    rows = history(tmp_path / kind)
    assert len(rows) == 2 and all(np.isfinite(float(row["loss"])) and float(row["skipped"]) == 0 for row in rows)
    embedder = trained.build()
    # Parts that only training needs are not in the embedder.
    assert {name.split(".")[0] for name in trained.embedder} <= {"audio", "visual", "fusion"}
    assert {name.split(".")[0] for name in trained.objective} <= {"classifiers", "supervision", "auxiliary"}
    inputs = inputs_of(trained.config, trained.audio, trained.video)
    table = read_utterances(corpus / "dev", inputs.audio_list, inputs.video is not None)
    clips = WholeUtterances(table, np.full(len(table), -1), trained.config.embed, inputs)
    embedded = list(embed_batches(embedder, (clips[n] for n in range(len(clips))), trained.config.modalities, "cpu"))
    for mode in trained.config.modalities:
        assert sum(len(batch[mode][0]) for batch in embedded) == len(table)


@pytest.mark.parametrize("kind", ["jap_nce", "jap_diffusion", "reptar"])
def test_interrupted_it_ends_with_the_same_weights(corpus, tmp_path, kind, monkeypatch):
    """With a second optimizer, moving averages, N x M batches and AV-Mixup."""
    modalities, changes = KINDS[kind]
    whole = all_weights(run(corpus, tmp_path / "whole", modalities, changes))
    make_step, steps = Trainer._make_step, []

    def stop_at_the_fourth(self, batch):
        steps.append(1)
        if len(steps) == 4:
            signal.raise_signal(signal.SIGTERM)
        return make_step(self, batch)

    monkeypatch.setattr(Trainer, "_make_step", stop_at_the_fourth)
    with pytest.raises(Interrupted):
        run(corpus, tmp_path / "parts", modalities, changes)
    parts = all_weights(run(corpus, tmp_path / "parts", modalities, changes))
    assert parts.keys() == whole.keys() and all(torch.equal(parts[name], whole[name]) for name in whole)


def test_a_loss_scale_takes_batches_without_supervised_clips(corpus, tmp_path, monkeypatch):
    """No utterance fills the window, so the discriminators have no gradient."""
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda _device, enabled: scaler("cpu", init_scale=256.0))
    modalities, changes = KINDS["jap_nce"]
    changes = changes | {"data": {"video_frames": 8, "window": 5.0}, "train": {"epochs": 1}}
    run(corpus, tmp_path / "AV", modalities, changes)
    row = history(tmp_path / "AV")[0]
    assert float(row["skipped"]) == 0 and np.isfinite(float(row["loss"])) and "auxiliary_grad_norm" not in row


def test_a_bad_gradient_of_auxiliary_networks_is_skipped(corpus, tmp_path, monkeypatch, capfd):
    def spoil(self, batch):
        if self.step == 1:
            handle = next(iter(self.optimization.auxiliary)).register_hook(lambda grad: grad * float("nan"))
            try:
                return make_step(self, batch)
            finally:
                handle.remove()
        return make_step(self, batch)

    make_step = Trainer._make_step
    monkeypatch.setattr(Trainer, "_make_step", spoil)
    modalities, changes = KINDS["jap_nce"]
    trained = run(corpus, tmp_path / "AV", modalities, changes | {"train": {"epochs": 1}})
    assert float(history(tmp_path / "AV")[0]["skipped"]) == 1
    assert "gradient norm of the supervision nan at lr" in capfd.readouterr().err
    assert all(torch.isfinite(value).all() for value in all_weights(trained).values())


# --- losses ----------------------------------------------------------------------------------------------------------


def system_and_batch(frames: int = 8, **changes) -> tuple[TrainableSystem, Batch]:
    torch.manual_seed(0)
    mapping = config("AV").to_mapping() | {"audio": WE_AUDIO, "visual": WE_VISUAL}
    for name, value in changes.items():
        replaced = name in ("audio", "visual", "fusion", "supervision")
        mapping[name] = value if replaced else mapping[name] | value
    system = TrainableSystem(parse_config(mapping, "test"), 3, clip_frames=frames)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    audio, video = torch.randn(6, 60, 20), torch.rand(6, frames, 1, 16, 16) - 0.5
    masks = torch.ones(6, 60, dtype=torch.bool), torch.ones(6, frames, dtype=torch.bool)
    return system, Batch(list("abcdef"), labels, audio, masks[0], video, masks[1], torch.tensor([20.0] * 6))


def embed(system: TrainableSystem, batch: Batch) -> torch.Tensor:
    return system.embedder.embed(batch, ["AV"])["AV"]


def test_the_loss_is_the_sum_of_its_parts():
    system, batch = system_and_batch(loss={"orthogonality": 0.5, "age": 0.25}, supervision=SUPERVISIONS["cycle"])
    system.eval()
    total, figures = system(batch)
    embedder, objective = system.embedder, system.objective
    embedding = embed(system, batch)
    series = [
        network.forward_with_weights(values, mask)[1]
        for network, values, mask in (
            (embedder.audio, batch.audio, batch.audio_mask),
            (embedder.visual, batch.video, batch.video_mask),
        )
    ]
    # 60 audio frames on 8 bins: adaptive average pooling.
    audio = torch.nn.functional.adaptive_avg_pool1d(series[0].unsqueeze(1), 8).squeeze(1)
    expected = (
        objective.main(embedding, batch.label)[0]
        + 0.5 * objective.auxiliary["orthogonality"](embedding, batch.label)[0]
        + 0.25 * objective.auxiliary["age"](embedding, batch.age)[0]
        + objective.supervision(audio, series[1])[0]
    )
    torch.testing.assert_close(total, expected)
    assert {"accuracy", "orthogonality", "age_loss", "mapping", "cycle", "centered_cosine"} <= figures.keys()
    assert all(not value.requires_grad for value in figures.values())


def share_of_gradient(rank: int, port: int, queue) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    with Ranks(use_gpu=False):
        queue.put(gradient_of_rows(slice(2 * rank, 2 * rank + 2)).tolist())


def gradient_of_rows(rows: slice) -> torch.Tensor:
    """The gradient of losses that compare embeddings of a batch, without batch statistics."""
    loss = {"classifier": {"name": "ge2e"}, "orthogonality": 0.5}
    system, batch = system_and_batch(loss=loss, data={"utterances_per_speaker": 2})
    whole = {
        name: getattr(batch, name)[rows] for name in ("keys", "label", "audio", "audio_mask", "video", "video_mask")
    }
    system.eval()(Batch(**whole))[0].backward()
    return torch.cat([p.grad.flatten() for p in system.parameters() if p.grad is not None])


def test_processes_compare_the_whole_batch():
    """One speaker in each process; the mean of their gradients is that of one process with both."""
    fork = multiprocessing.get_context("fork")
    (port,) = free_ports(1)
    queue = fork.SimpleQueue()
    processes = [fork.Process(target=share_of_gradient, args=(rank, port, queue)) for rank in range(2)]
    for process in processes:
        process.start()
    shares = [torch.tensor(queue.get()) for _ in processes]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    expected = gradient_of_rows(slice(0, 4))
    assert not torch.allclose(shares[0], shares[1], rtol=1e-3)
    torch.testing.assert_close(sum(shares) / 2, expected, rtol=1e-4, atol=1e-6)


def test_embeddings_do_not_know_the_supervision():
    """SPEC E.3."""
    with_block, batch = system_and_batch(supervision=SUPERVISIONS["cycle"])
    without, _ = system_and_batch()
    without.embedder.load_state_dict(with_block.embedder.state_dict())
    assert torch.equal(embed(with_block.eval(), batch), embed(without.eval(), batch))


@pytest.mark.parametrize("name", SUPERVISIONS)
def test_the_supervision_reaches_both_poolings(name):
    system, batch = system_and_batch(supervision=SUPERVISIONS[name])
    system.at_epoch(3.0)
    weights = [system.embedder.audio.pool.score.weight, system.embedder.visual.pool.score.weight]
    gradients = {}
    for supervised in (True, False):
        system.zero_grad()
        system(batch)[0].backward()
        gradients[supervised] = [weight.grad.clone() for weight in weights]
        system.objective.supervision = None
    assert all(not torch.allclose(a, b) for a, b in zip(gradients[True], gradients[False], strict=True))


def test_only_whole_windows_of_both_modalities_are_supervised():
    system, batch = system_and_batch(supervision=SUPERVISIONS["cycle"])
    seen = []
    system.supervision.register_forward_pre_hook(lambda _module, series: seen.append([len(x) for x in series]))
    batch.audio_mask[0, 40:] = False
    batch.video_mask[1] = False
    system(batch)
    assert seen == [[4, 4]]
    batch.audio_mask[:, 59] = False
    loss, figures = system(batch)
    assert len(seen) == 1 and "mapping" not in figures and torch.isfinite(loss)


def test_each_view_is_classified_with_half_the_weight():
    system, batch = system_and_batch(fusion={"name": "multi_view", "dim": 16, "dropout": 0.0})
    system.eval()
    embedder, classifier = system.embedder, system.objective.main
    views = embedder.fusion.views(
        embedder.audio(batch.audio, batch.audio_mask), embedder.visual(batch.video, batch.video_mask)
    )
    losses = [classifier(view, batch.label)[0] for view in views]
    torch.testing.assert_close(system(batch)[0], 0.5 * losses[0] + 0.5 * losses[1])
    batch.video_mask[2:] = False
    losses[1] = classifier(views[1][:2], batch.label[:2])[0]
    torch.testing.assert_close(system(batch)[0], 0.5 * losses[0] + 0.5 * losses[1])


def test_without_lists_of_ages_training_says_so(corpus, tmp_path, capfd):
    (corpus / "train" / "spk2age").rename(tmp_path / "spk2age")
    try:
        run(corpus, tmp_path / "A", "A", {"loss": {"age": 0.1}, "train": {"epochs": 1}})
    finally:
        (tmp_path / "spk2age").rename(corpus / "train" / "spk2age")
    assert "no ages are known (utt2age, spk2age): training without the age loss" in capfd.readouterr().err
    assert "age_loss" not in history(tmp_path / "A")[0]


def test_without_a_known_age_there_is_no_age_loss():
    system, batch = system_and_batch(loss={"age": 1.0})
    system.eval()
    batch.age = torch.full((6,), torch.nan)
    total, figures = system(batch)
    assert "age_loss" not in figures
    torch.testing.assert_close(total, system.objective.main(embed(system, batch), batch.label)[0])


# --- initial weights ---------------------------------------------------------------------------------------------


def still(epochs: int = 1) -> dict:
    """With a learning rate that is too small to change a weight, the loaded weights remain."""
    return {"optimizer": {"name": "sgd", "lr": 1e-30, "weight_decay": 0.0}, "epochs": epochs}


def test_a_system_is_trained_on(corpus, tmp_path):
    source = run(corpus, tmp_path / "source", "A", {})
    changes = {"init_from": {"system": "source"}, "train": still(), "loss": {"audio_weight": 0.0}}
    again = run(corpus, tmp_path / "again", "A", changes, init={"system": tmp_path / "source"})
    weights = all_weights(again)
    for name, value in all_weights(source).items():
        if "running" not in name and value.is_floating_point():
            assert torch.equal(value, weights[name]), name


def test_a_system_of_other_classes_keeps_its_networks(corpus, tmp_path):
    """With speed perturbation, the source has three classes per speaker."""
    source = run(corpus, tmp_path / "source", "A", {"data": {"speed_perturb": True}})
    changes = {"init_from": {"system": "x"}, "train": still()}
    tuned = run(corpus, tmp_path / "tuned", "A", changes, init={"system": tmp_path / "source"})
    assert len(source.class_weights()) == 18 and len(tuned.class_weights()) == 6
    for name, value in source.embedder.items():
        if "running" not in name and value.is_floating_point():
            assert torch.equal(value, tuned.embedder[name]), name


def test_published_weights_are_loaded_and_random_ones_are_reported(corpus, tmp_path, capfd):
    options = {name: value for name, value in VISUAL.items() if name != "name"}
    torch.manual_seed(5)
    state = published_iresnet(IResNet(**options))
    torch.save(state, tmp_path / "backbone.pth")
    changes = {"pretrained": {"visual": str(tmp_path / "backbone.pth")}, "train": still()}
    trained = run(corpus, tmp_path / "V", "V", changes)
    assert torch.equal(trained.embedder["visual.trunk.0.weight"], state["conv1.weight"])
    assert "published weights" in capfd.readouterr().err
    with pytest.raises(DataError, match=r"utils/download_weights.sh hubert_base none"):
        run(corpus, tmp_path / "A", "A", {"pretrained": {"audio": "hubert_base"}})


def test_the_step_refuses_other_published_weights_in_the_folder_of_a_finished_system(corpus, tmp_path):
    def train(*options):
        files = [tmp_path / "V.yaml", corpus / "train", corpus / "dev", tmp_path / "V"]
        fixed = ["--num-workers", "0", "--fbank-config", corpus / "train" / "fbank.yaml"]
        return commands.run("steps/train.sh", *fixed, *options, *files)

    options = {name: value for name, value in VISUAL.items() if name != "name"}
    weights = tmp_path / "my weights.pth"
    write_config(tmp_path / "V.yaml", "V", pretrained={"visual": str(weights)}, train=still())
    for seed in (5, 6):
        torch.manual_seed(seed)
        torch.save(state := published_iresnet(IResNet(**options)), weights)
        if seed == 6:
            before = (tmp_path / "V" / "final.pt").read_bytes()
            refused = train()
            assert refused.returncode == 1
            assert f"V: a finished system with other settings or data ({weights} has changed)" in refused.stderr
            assert (tmp_path / "V" / "final.pt").read_bytes() == before
            shutil.rmtree(tmp_path / "V")
        trained = train()
        assert trained.returncode == 0 and "V: trained, 1 epochs" in trained.stderr, trained.stderr
        assert torch.equal(
            TrainedSystem.load(tmp_path / "V" / "final.pt").embedder["visual.trunk.0.weight"], state["conv1.weight"]
        )
        assert train().stderr.endswith("V: the training is up to date\n")
    write_config(tmp_path / "V.yaml", "V", pretrained={"visual": "resnet50_imagenet"})
    missing = train("--weights-dir", tmp_path)
    assert missing.returncode == 1
    assert missing.stderr.endswith(
        f"not downloaded yet: run 'utils/download_weights.sh resnet50_imagenet {tmp_path}' once\n"
    )


def published_iresnet(network: IResNet) -> dict[str, torch.Tensor]:
    """Its weights under the names of insightface, assigned by their order, which is the same."""
    names = []
    for layer in range(1, 5):
        for block in range(2):
            at = f"layer{layer}.{block}"
            norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
            names += [f"{at}.bn1.{n}" for n in norm] + [f"{at}.conv1.weight"] + [f"{at}.bn2.{n}" for n in norm]
            names += [f"{at}.prelu.weight", f"{at}.conv2.weight"] + [f"{at}.bn3.{n}" for n in norm]
            if block == 0:
                names += [f"{at}.downsample.0.weight"] + [f"{at}.downsample.1.{n}" for n in norm]
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    names = ["conv1.weight", *(f"bn1.{n}" for n in norm), "prelu.weight", *names, *(f"bn2.{n}" for n in norm)]
    names += ["fc.weight", "fc.bias", *(f"features.{n}" for n in norm)]
    values = [v for k, v in network.state_dict().items() if k.startswith(("trunk.", "head."))]
    assert len(names) == len(values)
    return dict(zip(names, values, strict=True))


def test_log_mel_statistics_are_those_of_the_training_set(corpus, tmp_path):
    """SPEC A.3: mean 0 and variance 1 of every bin over all training frames."""
    trained = run(corpus, tmp_path / "A", "A", {"audio": LOG_MEL, "train": still()})
    inputs = inputs_of(trained.config, trained.audio, None)
    table = read_utterances(corpus / "train", inputs.audio_list, video=False)
    clips = WholeUtterances(table, np.zeros(len(table)), trained.config.embed, inputs)
    frames = torch.cat([b.audio[b.audio_mask] for b in (clips[n] for n in range(len(clips)))])
    normed = (frames - trained.embedder["audio.mel_mean"]) / trained.embedder["audio.mel_std"]
    assert normed.mean(dim=0).abs().max() < 1e-4
    assert (normed.var(dim=0, unbiased=False) - 1).abs().max() < 1e-3


def test_log_mel_statistics_are_taken_once(corpus, tmp_path, monkeypatch):
    """A resumed training has them in its checkpoint; a training from the start computes them again."""
    takes = []
    monkeypatch.setattr(run_module, "fit_log_mel", lambda *given: (takes.append(1), fit_log_mel(*given)))
    sections = {"audio": LOG_MEL, "train": {"epochs": 1}}
    first = run(corpus, tmp_path / "A", "A", sections)
    (tmp_path / "A" / "final.pt").unlink()
    again = run(corpus, tmp_path / "A", "A", sections)
    assert len(takes) == 1 and torch.equal(first.embedder["audio.mel_std"], again.embedder["audio.mel_std"])
    other = run(corpus, tmp_path / "B", "A", sections | {"train": {"epochs": 1, "batch_size": 6}})
    assert len(takes) == 2 and torch.equal(first.embedder["audio.mel_std"], other.embedder["audio.mel_std"])


def test_color_networks_with_gray_crops_are_reported(corpus, tmp_path, capfd):
    run(corpus, tmp_path / "V", "V", {"visual": COLOR, "train": {"epochs": 1}})
    assert "gray crops of 16 x 16; the network receives color crops of 32 x 32" in capfd.readouterr().err


# --- optimizers ------------------------------------------------------------------------------------------------------


def test_backbones_learn_at_their_own_rate(corpus, tmp_path):
    changes = {"train": {"optimizer": {"name": "sgd", "lr": 0.1, "weight_decay": 0.0, "backbone_factor": 1e-30}}}
    trained = run(corpus, tmp_path / "slow", "AV", changes)
    torch.manual_seed(0)
    start = run(corpus, tmp_path / "still", "AV", {"train": still(2)})
    weights = all_weights(trained)
    for name, value in all_weights(start).items():
        if value.is_floating_point() and "running" not in name:
            moved = not torch.allclose(value, weights[name], rtol=0, atol=1e-20)
            assert moved == name.startswith(("fusion.", "classifiers.")), name


def test_the_plateau_schedule_goes_by_the_development_eer(corpus, tmp_path, monkeypatch):
    from avsv.train.development import Development

    rates = iter([0.3, 0.2, 0.2, 0.25, 0.1])
    monkeypatch.setattr(Development, "eer", lambda *_: next(rates))
    schedule = {"name": "plateau", "factor": 0.5}
    train = {"epochs": 5, "schedule": schedule, "optimizer": {"name": "sgd", "lr": 0.1}}
    run(corpus, tmp_path / "A", "A", {"train": train})
    # Epochs 3 and 4 are not better than all earlier ones.
    assert [float(row["lr"]) for row in history(tmp_path / "A")] == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.025])


# --- configurations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", sorted(path.stem for path in (ROOT / "conf/presets").glob("*.yaml")))
def test_every_system_of_the_recipe_can_be_configured(tmp_path, capsys, preset):
    names = sorted(path.stem for path in (ROOT / "conf/systems").glob("*.yaml"))
    configure.main(["--conf", str(ROOT / "conf"), "--preset", preset, "--out", str(tmp_path), *names])
    assert len(capsys.readouterr().out.splitlines()) == len(names)


@pytest.mark.parametrize("preset", ["tiny", "mini", "small"])
def test_presets_change_no_system_in_kind(preset):
    names = sorted(path.stem for path in (ROOT / "conf/systems").glob("*.yaml"))
    systems = Configurator(ROOT / "conf", preset).configs(names)
    systems = {name: system for name, system in systems.items() if system.trained}
    for name, system in systems.items():
        train, warmup = system.train, system.train.margin_warmup
        assert warmup is None or warmup.end < train.epochs, name
        assert system.audio is None or not system.audio.options.get("freeze"), name
        if system.init_from.system is not None:
            source = systems[system.init_from.system]
            assert train.epochs <= source.train.epochs / 2 and warmup is None, name
            assert train.optimizer.lr <= source.train.optimizer.lr / 10, name
        elif system.fusion is not None and system.init_from.audio is None:
            # Trained from the start, like its networks alone.
            assert train.optimizer.lr == systems["mobilenetv2"].train.optimizer.lr, name
            assert train.epochs >= systems["mobilenetv2"].train.epochs, name
    large, source = systems["ecapa1024_lm"], systems["ecapa1024"]
    assert large.data.window > source.data.window
    assert large.loss.classifier.options["margin"] > source.loss.classifier.options["margin"]
    assert systems["ecapa512"].audio.options["channels"] < source.audio.options["channels"]


def test_presets_of_papers_differ_from_the_preset_paper_in_what_they_say():
    def configs(preset: str) -> dict:
        names = ["ecapa_we", "iresnet18", "jap_cycle", "mean_fusion"]
        return Configurator(ROOT / "conf", preset).configs(names)

    first, later, study = (configs(preset) for preset in ("sun2022", "sun2023", "claborne2023"))
    assert {system.audio.options["pooling"] for system in (first["jap_cycle"], later["jap_cycle"])} == {
        "we_asp_literal"
    }
    for name in ("ecapa_we", "iresnet18", "jap_cycle"):
        # SPEC.md, section J: the rate has fallen to 1e-5 after 20 and after 50 epochs.
        for system, every, epochs in ((first[name], 2, 20), (later[name], 5, 50)):
            assert (system.train.schedule.every, system.train.epochs) == (every, epochs)
            rate = system.train.optimizer.lr * system.train.schedule.factor ** (epochs / every)
            assert rate == pytest.approx(9.77e-6, rel=1e-3)
    weights = [system["jap_cycle"].supervision.options for system in (first, later)]
    assert [(of["mapping_weight"], of["cycle_weight"]) for of in weights] == [(1.0, 0.5), (0.5, 0.5)]
    assert first["jap_cycle"].embed.num_faces(250, 25.0) == 60 and later["jap_cycle"].embed.num_faces(250, 25.0) == 250
    assert study["mean_fusion"].embed.num_faces(250, 25.0) == 20


def test_networks_that_see_color_are_not_given_gray_in_silence(tmp_path, capsys):
    def warnings(preset: str) -> list[str]:
        names = ["iresnet18", "reptar", "avcleanse_visual"]
        configure.main(["--conf", str(ROOT / "conf"), "--preset", preset, "--out", str(tmp_path / preset), *names])
        return capsys.readouterr().err.splitlines()

    assert warnings("paper") == [
        "warning: inception_resnet_v1, avcleanse_visual, reptar: made for color, and the preset paper stores gray"
        " crops (faces.channels: 1)"
    ]
    assert warnings("paper_color") == warnings("paper_aligned") == []
    assert Configurator(ROOT / "conf", "paper_aligned").faces.align


def test_every_system_can_be_built(tmp_path, capsys):
    names = sorted(path.stem for path in (ROOT / "conf/systems").glob("*.yaml"))
    configure.main(["--conf", str(ROOT / "conf"), "--preset", "paper", "--out", str(tmp_path), *names])
    capsys.readouterr()
    for name in names:
        settings = load_config(tmp_path / f"systems/{name}.yaml")
        if not settings.trained or any(settings.train.freeze):
            continue
        if settings.supervision is not None:
            # It computes constants when it is built; for all others only sizes matter.
            find_class("supervision", settings.supervision.name)(50, **settings.supervision.options)
            settings = replace(settings, supervision=None)
        with torch.device("meta"):
            system = TrainableSystem(settings, 10)
        assert sum(parameter.numel() for parameter in system.parameters()) > 500_000, name


def test_missing_weights_are_all_named_before_any_work(tmp_path):
    names = ["hubert_large_ft", "hubert_large", "reptar", "ecapa"]
    arguments = ["--conf", str(ROOT / "conf"), "--out", str(tmp_path / "out"), "--weights-dir", str(tmp_path), *names]
    with pytest.raises(DataError) as error:
        configure.main(["--preset", "paper", *arguments])
    assert str(error.value).split("; ") == [
        f"pretrained weights of hubert_large: {tmp_path}/hubert_large.pth: not downloaded yet: run"
        f" 'utils/download_weights.sh hubert_large {tmp_path}' once",
        f"pretrained weights of inception_resnet_v1: {tmp_path}/inception_resnet_v1_vggface2.pt: not downloaded yet:"
        f" run 'utils/download_weights.sh inception_resnet_v1_vggface2 {tmp_path}' once",
    ]
    assert not (tmp_path / "out").exists()
    configure.main(["--preset", "tiny", *arguments])


def test_all_systems_are_those_that_need_no_published_weights(tmp_path, capsys):
    arguments = ["--conf", str(ROOT / "conf"), "--preset", "tiny", "--out", str(tmp_path / "out")]
    configure.main([*arguments, "--weights-dir", str(tmp_path), "all"])
    found = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    files = {path.stem for path in (ROOT / "conf/systems").glob("*.yaml")}
    assert files - found == {"published_voice", "published_face", "published_ssa"} and found < files


def test_a_setting_does_not_change_where_networks_come_from(tmp_path):
    arguments = ["--conf", str(ROOT / "conf"), "--preset", "tiny", "--out", str(tmp_path), "ssa"]
    with pytest.raises(DataError, match=r"ssa.yaml with .*: init_from: a file names the systems that its networks"):
        configure.main([*arguments, "--set", "ssa:init_from.audio=simam_resnet34"])


def test_a_supervision_of_too_few_frames_is_refused_before_any_work(tmp_path):
    arguments = ["--conf", str(ROOT / "conf"), "--preset", "small", "--out", str(tmp_path), "jap_cycle"]
    with pytest.raises(DataError, match=r"jap_cycle.yaml with .*data.video_frames: a training clip shows 3, and the"):
        configure.main([*arguments, "--set", "systems.jap_cycle.data.video_frames=3"])
    changes = ["--set", "systems.jap_cycle.data={video_frames: null, window: 0.6}"]
    with pytest.raises(DataError, match="a training clip shows 3"):
        configure.main([*arguments, *changes])
    for frames in (MIN_FRAMES, MIN_FRAMES - 1):
        enough = frames == MIN_FRAMES
        with contextlib.nullcontext() if enough else pytest.raises(ValueError, match="at least 4"):
            find_class("supervision", "cycle")(frames)


def test_a_system_that_is_trained_on_keeps_its_networks(tmp_path, capsys):
    conf = ROOT / "conf"
    configure.main(["--conf", str(conf), "--preset", "tiny", "--out", str(tmp_path), "ecapa1024_lm"])
    assert capsys.readouterr().out.splitlines() == ["ecapa1024 single", "ecapa1024_lm single system=ecapa1024"]
    first, second = (load_config(tmp_path / f"systems/{name}.yaml") for name in ("ecapa1024", "ecapa1024_lm"))
    assert first.audio == second.audio and first.loss.classifier.options["margin"] == 0.1


def test_ge2e_excludes_speeds():
    changes = {"data": {"utterances_per_speaker": 2, "speed_perturb": True}, "loss": {"classifier": {"name": "ge2e"}}}
    with pytest.raises(DataError, match=r"data.speed_perturb: splits the utterances of an identity"):
        config("A", **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"supervision": {"name": "cycle"}}, "supervision: audio.pooling has no temporal weights: set it to we_asp"),
        (
            JAP | {"supervision": {"name": "cycle"}, "data": {"av_mixup": True}},
            "supervision: needs synchronous voice and face: set data.av_mixup to false",
        ),
        ({"data": {"speed_perturb": True}}, "data.speed_perturb: at another speed, voice and face are not in sync"),
        (
            {"pretrained": {"audio": "x"}, "init_from": {"audio": "y"}},
            "pretrained.audio: the network starts from another system: remove one of the two",
        ),
        ({"init_from": {"audio": "y", "system": "z"}}, "init_from.system: the whole system is loaded"),
        ({"loss": {"classifier": {"name": "ge2e"}}}, "data.utterances_per_speaker: ge2e compares utterances of"),
        (
            {"loss": {"classifier": {"name": "ge2e"}}, "data": {"utterances_per_speaker": 1}},
            "data.utterances_per_speaker: ge2e compares utterances of an identity: set it to 2 or more",
        ),
        (
            {"loss": {"classifier": {"name": "ge2e"}}, "data": {"utterances_per_speaker": 50}},
            "ge2e compares two or more identities with 50 utterances each (data.utterances_per_speaker): increase it",
        ),
    ],
)
def test_contradictions_are_named(changes, message):
    with pytest.raises(DataError) as error:
        config("AV", **sections(changes))
    assert message in str(error.value)


def test_the_margin_of_a_loss_without_one_is_0():
    system, _ = system_and_batch(loss={"classifier": {"name": "ge2e"}}, data={"utterances_per_speaker": 2})
    assert system.at_epoch(1.0) == 0.0
    assert isinstance(system_and_batch()[0].objective.main, AAMSoftmax)


def test_what_the_data_are_is_told(corpus, tmp_path):
    with pytest.raises(DataError, match="need 12 speakers, but there are 6"):
        run(corpus, tmp_path / "A", "A", {"data": {"utterances_per_speaker": 2}, "train": {"batch_size": 24}})
    assert FBANK.num_mel_bins == 20 and FACES.channels == 1


def test_every_public_network_and_loss_says_what_it_is():
    """Each class has its shapes and an example; the examples run as doctests."""
    lacking = []
    for path in sorted((ROOT / "avsv/nnet").rglob("*.py")) + sorted((ROOT / "avsv/losses").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not node.name.endswith("Backbone"):
                text = ast.get_docstring(node) or ""
                abstract = any(ast.unparse(base) == "ABC" for base in node.bases)
                if not abstract and (">>>" not in text or "hape" not in text + ast.unparse(node)):
                    lacking.append(f"{path.name}: {node.name}")
    assert lacking == []
