"""Configurations are read strictly, presets are merged over systems, and systems are built from configurations."""

import copy
import inspect
import math
import sys
from pathlib import Path
from typing import get_type_hints

import pytest
import torch
import yaml
from commands import run
from paths import ROOT
from torch.nn import functional

from avsv.audio.config import FbankConfig
from avsv.bin import configure
from avsv.config.strict import read_yaml
from avsv.data.batch import Batch
from avsv.errors import DataError
from avsv.model.build import load_exactly, part_of
from avsv.model.config import SystemConfig, load_config, parse_config
from avsv.model.embedder import Embedder
from avsv.model.inputs import inputs_of
from avsv.model.registry import REQUIRED, ROLES, find_class, options_of
from avsv.model.saved import TrainedSystem
from avsv.model.trainable import TrainableSystem
from avsv.train.start import start_classes, start_from
from avsv.video.config import FaceFormat

AUDIO = {"name": "ecapa_tdnn", "feature_dim": 8, "channels": 16, "aggregate_channels": 24, "embedding_dim": 12}
VISUAL = {"name": "iresnet", "image_height": 16, "image_width": 16, "channels": 4, "frame_dim": 10, "embedding_dim": 14}
TRAIN = {"epochs": 4, "batch_size": 4, "optimizer": {"name": "sgd"}, "schedule": {"name": "constant"}}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _mapping(kind: str) -> dict:
    mapping = {"loss": {"classifier": {"name": "aam_softmax", "margin": 0.2}}, "train": TRAIN}
    if kind != "visual":
        mapping["audio"] = AUDIO
    if kind != "audio":
        mapping["visual"] = VISUAL
    if kind == "both":
        mapping["fusion"] = {"name": "ssa", "dim": 20}
    return copy.deepcopy(mapping)


def _system(kind: str, num_classes: int = 5, **loss) -> TrainableSystem:
    mapping = _mapping(kind)
    mapping["loss"].update(loss)
    return TrainableSystem(parse_config(mapping, "test.yaml"), num_classes)


def _embedder(kind: str) -> Embedder:
    return Embedder(parse_config(_mapping(kind), "test.yaml")).eval()


def _embed(embedder: Embedder, batch: Batch, mode: str) -> torch.Tensor:
    return embedder.embed(batch, [mode])[mode]


def _batch(audio: list[int] | None = (30, 30, 22), video: list[int] | None = (4, 3, 4)) -> Batch:
    """Three utterances with the given numbers of valid frames of each modality."""
    fields = {}
    for name, lengths, shape in (("audio", audio, (8,)), ("video", video, (1, 16, 16))):
        if lengths is not None:
            mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
            fields |= {name: torch.randn(*mask.shape, *shape), f"{name}_mask": mask}
    return Batch(["a", "b", "c"], torch.tensor([0, 1, 4]), **fields)


# --- reading -----------------------------------------------------------------------------------------------------


def _set(mapping: dict, key: str, value) -> dict:
    *parents, last = key.split(".")
    place = mapping
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return mapping


@pytest.mark.parametrize(
    ("kind", "key", "value", "message"),
    [
        ("audio", "train.epoks", 3, "train.epoks: unknown key: did you mean 'epochs'?"),
        ("audio", "trian", {}, "trian: unknown key: did you mean 'train'?"),
        ("audio", "audio.chanels", 3, "audio.chanels: unknown key: did you mean 'channels'?"),
        ("audio", "audio.name", "ecapa",
         "audio.name: ecapa: no such audio network or loss: did you mean 'ecapa_tdnn'?"),
        ("audio", "audio.pooling", "tspt", "audio.pooling: tspt: did you mean 'tstp'?"),
        ("visual", "visual.depth", 20, "visual.depth: 20: choose one of the numbers 18, 34, 50"),
        ("visual", "visual.depth", "18", "visual.depth: 18: choose one of the numbers 18, 34, 50"),
        ("audio", "audio.channels", "many", "audio.channels: expected a whole number, not the text many"),
        ("audio", "audio.channels", True, "audio.channels: expected a whole number, not the truth value True"),
        ("audio", "audio.context", 1, "audio.context: expected true or false, not the number 1"),
        ("audio", "audio.res2_scale", 8, "audio.res2_scale: expected a list like [8, 8, 8], not the number 8"),
        ("audio", "audio.res2_scale", [8, "x", 8], "audio.res2_scale[1]: expected a whole number, not the text x"),
        ("audio", "train.optimizer.lr", "fast", "train.optimizer.lr: expected a number, not the text fast"),
        ("audio", "train.optimizer.lr", 0, "train.optimizer.lr: 0.0: must be larger than 0"),
        ("audio", "train.optimizer.name", "adam", "train.optimizer.name: adam: did you mean 'adamw'?"),
        ("audio", "train.optimizer", "sgd",
         "train.optimizer: expected 'name: ...' with one of adamw, sgd and its options"),
        ("audio", "train.schedule.every", 3, "train.schedule.every: unknown key: choose one of name"),
        ("audio", "train.epochs", None, "train.epochs: expected a whole number, not the empty value None"),
        ("audio", "train.epochs", 0, "train.epochs: 0: must be larger than 0"),
        ("audio", "train.average_last", 9, "train.average_last: 9: more than the 4 epochs"),
        ("audio", "train", {"epochs": 4, "batch_size": 8, "optimizer": {"name": "sgd", "lr": 0.1},
                            "schedule": {"name": "plateau"}, "evaluate_every": 2},
         "train.evaluate_every: schedule plateau needs the development EER of every epoch"),
        ("audio", "train.margin_warmup", {"start": 3, "end": 1},
         "train.margin_warmup.end: 1.0: must not come before start 3.0"),
        ("audio", "data.spec_augment", 5, "data.spec_augment: expected 'key: value' lines, not the number 5"),
        ("audio", "data.spec_augment", {"time": -1}, "data.spec_augment.time: -1: must not be negative"),
        ("audio", "loss.classifier", "aam", "loss.classifier: expected 'name: ...' and its options"),
        ("audio", "loss.classifier.scale", None, "loss.classifier.scale: expected a number, not the empty value None"),
        ("audio", "fusion", {"name": "ssa"}, "fusion: the system has only an audio network: remove this key"),
        ("visual", "loss.audio_weight", 0.5,
         "loss.audio_weight: the system has only a visual network: remove this key"),
        ("visual", "embed", {"speeds": True}, "embed.speeds: the system has only a visual network: remove this key"),
        ("visual", "init_from", {"audio": "ecapa"},
         "init_from.audio: the system has only a visual network: name its system in init_from.system"),
        ("both", "fusion", None, "fusion: missing: the system has an audio and a visual network"),
        ("both", "init_from.video", "x", "init_from.video: unknown key: choose one of audio, system, visual"),
        ("audio", "audio", None, "audio: a system needs an audio or a visual network, or both"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_named(kind, key, value, message):
    with pytest.raises(DataError) as error:
        parse_config(_set(_mapping(kind), key, value), "x.yaml")
    assert str(error.value) == f"x.yaml: {message}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"loss": {"audio_weight": 0.5}},
            "loss.audio_weight: ge2e compares whole identities of a batch: remove this key",
        ),
        (
            {"loss": {"visual_weight": 1}},
            "loss.visual_weight: ge2e compares whole identities of a batch: remove this key",
        ),
        ({"loss": {"single_weight": 1}}, "loss.single_weight: ge2e compares the fused embeddings of a batch: remove"),
        (
            {"fusion": {"name": "multi_view", "dim": 8}},
            "loss.classifier: ge2e compares whole identities of a batch, but",
        ),
    ],
)
def test_losses_that_compare_a_batch_need_whole_identities(changes, message):
    mapping = _set(_mapping("both"), "data", {"utterances_per_speaker": 2})
    loss = {"classifier": {"name": "ge2e"}} | changes.get("loss", {})
    with pytest.raises(DataError, match=rf"^x.yaml: {message}"):
        parse_config(mapping | changes | {"loss": loss}, "x.yaml")


@pytest.mark.parametrize("key", ["epochs", "batch_size", "optimizer", "schedule"])
def test_what_has_no_default_must_be_given(key):
    mapping = _mapping("audio")
    del mapping["train"][key]
    with pytest.raises(DataError, match=rf"^x.yaml: train.{key}: missing: it has no default$"):
        parse_config(mapping, "x.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {epochs: 1}}\n", ":1: not valid YAML: "),
        ("train:\n  epochs: 1\n  epochs: 2\n", ":3: epochs: the key occurs twice: remove one"),
        ("- train\n", ": contains a list: expected 'key: value' lines"),
        ("", ": audio: a system needs an audio or a visual network, or both"),
    ],
)
def test_a_broken_file_is_named(tmp_path, text, message):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}{message}")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none.yaml: no such file$"):
        load_config(tmp_path / "none.yaml")


def test_defaults_and_scientific_notation(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(_mapping("audio")).replace("name: sgd", "{name: sgd, weight_decay: 1e-4, lr: 1}"))
    config = load_config(path)
    assert config.train.optimizer.weight_decay == 1e-4 and config.train.optimizer.lr == 1.0
    assert config.audio.options["embedding_dim"] == 12 and config.audio.options["se_channels"] == 128
    assert config.data.spec_augment.frequency == 10 and config.embed.video_frames is None


@pytest.mark.parametrize("kind", ["audio", "visual", "both"])
def test_yaml_of_a_configuration_gives_it_again(tmp_path, kind):
    config = parse_config(_mapping(kind), "x.yaml")
    path = tmp_path / "x.yaml"
    path.write_text(config.to_yaml())
    assert load_config(path) == config


@pytest.mark.parametrize(("role", "name"), [(role, name) for role in ROLES for name in ROLES[role].known])
def test_options_are_those_of_the_class(role, name):
    constructor = find_class(role, name).__init__
    hints, options = get_type_hints(constructor, include_extras=True), options_of(role, name)
    wanted = {p.name: p for p in inspect.signature(constructor).parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert list(options) == list(wanted)
    for key, option in options.items():
        default = wanted[key].default
        assert option.kind == hints[key]
        assert option.default == (REQUIRED if default is inspect.Parameter.empty else default)


# --- presets -----------------------------------------------------------------------------------------------------


def _configure(capsys, out: Path, *arguments: str, conf: Path = ROOT / "conf") -> list[str]:
    configure.main(["--conf", str(conf), "--out", str(out), *arguments])
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def conf(tmp_path) -> Path:
    """A separate configuration folder with systems a, v, av and a preset p that changes nothing."""
    folder = tmp_path / "conf"
    for name in ("systems", "presets"):
        (folder / name).mkdir(parents=True)
    (folder / "fbank.yaml").write_text("num_mel_bins: 8\n")
    (folder / "faces.yaml").write_text("{height: 16, width: 16}\n")
    (folder / "presets/p.yaml").write_text("")
    both = _mapping("both") | {"init_from": {"audio": "a", "visual": "v"}}
    del both["audio"], both["visual"]
    for name, mapping in (("a", _mapping("audio")), ("v", _mapping("visual")), ("av", both)):
        (folder / f"systems/{name}.yaml").write_text(yaml.safe_dump(mapping))
    return folder


def test_sources_are_added_and_come_first(capsys, conf, tmp_path):
    lines = _configure(capsys, tmp_path / "out", "--preset", "p", "av", "v", conf=conf)
    assert lines == ["a single", "v single", "av fused audio=a visual=v"]
    assert sorted(path.name for path in (tmp_path / "out/systems").iterdir()) == ["a.yaml", "av.yaml", "v.yaml"]
    configs = {name: load_config(tmp_path / f"out/systems/{name}.yaml") for name in ("a", "v", "av")}
    assert configs["av"].audio == configs["a"].audio and configs["av"].visual == configs["v"].visual
    assert read_yaml(tmp_path / "out/faces.yaml")["height"] == 16


def test_later_layers_win(capsys, conf, tmp_path):
    (conf / "presets/p.yaml").write_text(
        yaml.safe_dump(
            {
                "fbank": {"num_mel_bins": 12},
                "all": {"train": {"epochs": 10, "batch_size": 10, "optimizer": {"name": "adamw", "lr": 1e-3}}},
                "fusion_systems": {"train": {"epochs": 20}},
                "networks": {"ecapa_tdnn": {"channels": 24, "feature_dim": 12}, "aam_softmax": {"margin": 0.1}},
                "systems": {"a": {"train": {"epochs": 30}}, "av": {"loss": {"audio_weight": 0.5}}},
            }
        )
    )
    _configure(capsys, tmp_path / "out", "--preset", "p", "--set", "train.batch_size=7",
               "--set", "systems.v.train.epochs=40", "--set", "fbank.dither=0", "av", conf=conf)  # fmt: skip
    configs = {name: load_config(tmp_path / f"out/systems/{name}.yaml") for name in ("a", "v", "av")}
    assert {name: config.train.epochs for name, config in configs.items()} == {"a": 30, "v": 40, "av": 20}
    assert {config.train.batch_size for config in configs.values()} == {7}
    assert {config.loss.classifier.options["margin"] for config in configs.values()} == {0.1}
    assert configs["av"].audio.options["channels"] == configs["a"].audio.options["channels"] == 24
    assert configs["av"].loss.audio_weight == 0.5 and configs["a"].train.optimizer.weight_decay == 0.01
    assert read_yaml(tmp_path / "out/fbank.yaml")["dither"] == 0


def test_a_system_file_insists_on_what_it_keeps(capsys, conf, tmp_path):
    (conf / "presets/p.yaml").write_text("all: {train: {epochs: 10, batch_size: 10}}\n")
    path = conf / "systems/a.yaml"
    mapping = read_yaml(path)
    path.write_text(yaml.safe_dump(mapping | {"keep": ["train.epochs"]}))
    said = []
    for settings in ([], [], ["--set", "a:train.epochs=7"]):
        configure.main(["--conf", str(conf), "--out", str(tmp_path / "out"), "--preset", "p", *settings, "a"])
        said.append(capsys.readouterr().err)
        train = load_config(tmp_path / "out/systems/a.yaml").train
        assert (train.epochs, train.batch_size) == (7 if settings else mapping["train"]["epochs"], 10)
    listed = f"a train.batch_size: {mapping['train']['batch_size']} in the file, 10 by the preset\n"
    assert (tmp_path / "out/overridden.txt").read_text() == listed
    assert "preset p overrides 1 keys of system files" in said[0] and said[1:] == ["", ""]
    for keep, message in (
        ("train", "expected a list of dotted keys"),
        (["train.x"], "the file does not give this key"),
    ):
        path.write_text(yaml.safe_dump(mapping | {"keep": keep}))
        with pytest.raises(DataError, match=message):
            _configure(capsys, tmp_path / "none", "--preset", "p", "a", conf=conf)


def test_a_finished_system_of_another_run_is_named_by_its_folder(capsys, conf, tmp_path):
    base = tmp_path / "exp/p/a"
    base.mkdir(parents=True)
    (base / "config.yaml").write_text(parse_config(_mapping("audio"), "x").to_yaml())
    tuned = conf / "systems/tuned.yaml"
    tuned.write_text(f"init_from: {{system: {base}}}\ntrain: {{epochs: 3}}\n")
    with pytest.raises(DataError, match=r"final.pt: no such file: name the folder of a finished system"):
        _configure(capsys, tmp_path / "out", "--preset", "p", "tuned", conf=conf)
    (base / "final.pt").touch()
    assert _configure(capsys, tmp_path / "out", "--preset", "p", "tuned", conf=conf) == [f"tuned single system={base}"]
    config = load_config(tmp_path / "out/systems/tuned.yaml")
    assert config.audio == parse_config(_mapping("audio"), "x").audio and config.train.epochs == 3
    assert config.init_from.system == str(base)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "q", "a"], "preset q: no file {conf}/presets/q.yaml: choose one of p"),
        (["--preset", "p", "b"], "system b: no file {conf}/systems/b.yaml: choose one of a, av, v"),
        (["--preset", "p", "--set", "train.epoks=3", "a"],
         "{conf}/systems/a.yaml with --set: train.epoks: unknown key: did you mean 'epochs'?"),
        (["--preset", "p", "--set", "epochs", "a"],
         "--set epochs: expected KEY=VALUE with a dotted key, as in train.epochs=3"),
        (["--preset", "p", "--set", "train.epochs=[", "a"],
         "--set train.epochs:2: not valid YAML: did not find expected node content"),
        (["--preset", "p", "--set", "networks.ecapa.channels=3", "a"],
         "--set: networks.ecapa: unknown key: did you mean 'ecapa_tdnn'?"),
        (["--preset", "p", "--set", "systems.x.train.epochs=3", "a"],
         "--set: systems.x: unknown key: choose one of a, av, v"),
        (["--preset", "p", "--set", "visual.channels=3", "a"], "--set: all.visual: a has no visual: it would be added"),
        (["--preset", "p", "--set", "faces.hight=3", "a"],
         "{conf}/faces.yaml with --set: hight: unknown key: did you mean 'height'?"),
        (["--preset", "p", "--set", "systems.av.audio.channels=32", "av"],
         "{conf}/systems/av.yaml with --set: audio: differs from that of a, whose weights it starts from"),
        (["--preset", "p", "--set", "fbank.num_mel_bins=64", "a"],
         "{conf}/systems/a.yaml with --set: audio.feature_dim: 8, but fbank: num_mel_bins is 64: make them equal"),
    ],
)  # fmt: skip
def test_wrong_layers_are_named_and_nothing_is_written(capsys, conf, tmp_path, arguments, message):
    with pytest.raises(DataError) as error:
        _configure(capsys, tmp_path / "out", *arguments, conf=conf)
    assert str(error.value) == message.format(conf=conf)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("init_from", "message"),
    [
        (
            {"audio": "b", "visual": "v"},
            "system b (init_from of av): no file {conf}/systems/b.yaml: choose one of a, av, v",
        ),
        ({"audio": "v", "visual": "v"}, "{conf}/systems/av.yaml: init_from.audio: v has no audio network"),
        ({"audio": "av", "visual": "v"}, "system av: its init_from leads back to itself: av > av"),
    ],
)
def test_impossible_sources_are_named(capsys, conf, tmp_path, init_from, message):
    path = conf / "systems/av.yaml"
    path.write_text(yaml.safe_dump(read_yaml(path) | {"init_from": init_from}))
    with pytest.raises(DataError) as error:
        _configure(capsys, tmp_path / "out", "--preset", "p", "av", conf=conf)
    assert str(error.value) == message.format(conf=conf)


def test_a_network_and_its_source_are_not_both_given(capsys, conf, tmp_path):
    path = conf / "systems/av.yaml"
    path.write_text(yaml.safe_dump(read_yaml(path) | {"audio": AUDIO}))
    with pytest.raises(DataError, match=r"audio: given by init_from.audio \(a\): remove one of the two"):
        _configure(capsys, tmp_path / "out", "--preset", "p", "av", conf=conf)


def test_only_changed_files_are_written(capsys, conf, tmp_path):
    out = tmp_path / "out"
    _configure(capsys, out, "--preset", "p", "av", conf=conf)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.yaml")}
    _configure(capsys, out, "--preset", "p", "--set", "systems.a.train.epochs=9", "av", conf=conf)
    assert [path.name for path, time in before.items() if path.stat().st_mtime_ns != time] == ["a.yaml"]


def test_a_second_call_does_nothing_until_something_changes(capsys, conf, tmp_path, monkeypatch):
    words = ["--conf", str(conf), "--out", str(tmp_path / "out"), "--preset", "p", "av"]
    work, calls = configure.configure, []
    monkeypatch.setattr(configure, "configure", lambda options: calls.append(options) or work(options))

    def call(*changes: str) -> tuple[list[str], int]:
        before = len(calls)
        configure.main([*words, *changes])
        return capsys.readouterr().out.splitlines(), len(calls) - before

    lines = ["a single", "v single", "av fused audio=a visual=v"]
    assert call() == (lines, 1) and call() == (lines, 0)
    (tmp_path / "out/systems/a.yaml").write_text("")
    assert call() == (lines, 1) and (tmp_path / "out/systems/a.yaml").read_text() and call() == (lines, 0)
    assert call("--set", "train.epochs=9") == (lines, 1)
    (conf / "systems" / "another.yaml").write_text((conf / "systems" / "a.yaml").read_text())
    assert call() == (lines, 1) and call() == (lines, 0)
    (tmp_path / "out/.configured").write_text("{")
    assert call() == (lines, 1)
    code = f"import sys; from avsv.bin import configure; configure.main({words!r}); print('torch' in sys.modules)"
    assert run(sys.executable, "-c", code).stdout.splitlines() == [*lines, "False"]


def test_configuring_imports_what_is_named_and_no_more(tmp_path):
    code = (
        "import sys; from avsv.bin import configure; "
        f"configure.main(['--conf', {str(ROOT / 'conf')!r}, '--preset', 'tiny', '--out', {str(tmp_path)!r}, 'ssa']); "
        "print(*sys.modules, file=sys.stderr)"
    )
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["ecapa single", "iresnet18 single", "ssa fused audio=ecapa visual=iresnet18"]
    modules = set(done.stderr.split())
    assert {"avsv.nnet.audio.ecapa_tdnn", "avsv.nnet.fusion.soft_attention"} <= modules
    assert not modules & {"avsv.nnet.audio.rawnet3", "avsv.nnet.fusion.gated", "torchvision", "scipy", "matplotlib"}


def test_the_command_prints_one_line_for_a_users_error(tmp_path):
    done = run(sys.executable, "-m", "avsv.bin.configure", "--preset", "nimi", "--out", tmp_path, "ssa")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.endswith("did you mean 'mini'?\n") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("preset", sorted(path.stem for path in (ROOT / "conf/presets").glob("*.yaml")))
def test_every_system_of_every_preset_can_be_built(capsys, tmp_path, preset):
    names = sorted(path.stem for path in (ROOT / "conf/systems").glob("*.yaml"))
    order = [line.split()[0] for line in _configure(capsys, tmp_path, "--preset", preset, *names)]
    counts = {}
    for name in order:
        with torch.device("meta"):
            system = Embedder(load_config(tmp_path / f"systems/{name}.yaml"))
        counts[name] = sum(p.numel() for p in system.parameters())
    if preset == "paper":
        assert counts["ecapa"] == 6_150_880 and counts["iresnet18"] == 27_956_608 + 789_632
        assert counts["ssa"] == counts["ecapa"] + counts["iresnet18"] + 362_882


def test_the_paper_preset_says_what_the_papers_say(capsys, tmp_path):
    _configure(capsys, tmp_path, "--preset", "paper", "ssa")
    for name in ("ecapa", "iresnet18", "ssa"):
        config = load_config(tmp_path / f"systems/{name}.yaml")
        assert (config.train.optimizer.name, config.train.optimizer.lr, config.train.batch_size) == ("sgd", 0.01, 320)
        assert (config.train.optimizer.momentum, config.train.optimizer.weight_decay) == (0.9, 5e-4)
        assert (config.train.schedule.every, config.train.schedule.factor, config.train.epochs) == (5, 0.5, 50)
        assert config.loss.classifier.options == {
            "margin": 0.5, "scale": 30.0, "easy_margin": False, "fallback": "arcface",
            "sub_centers": 1, "inter_topk": 0, "inter_topk_margin": 0.06,
        }  # fmt: skip


# --- systems -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "modes", "dim"), [("audio", ("A",), 12), ("visual", ("V",), 14), ("both", ("AV", "A", "V"), 20)]
)
def test_modes_and_sizes(kind, modes, dim):
    embedder = _embedder(kind)
    assert embedder.modes == modes and embedder.embedding_dim == dim
    assert embedder.letters == {"audio": "A", "visual": "V", "both": "AV"}[kind]
    for mode in modes:
        assert _embed(embedder, _batch(), mode).shape == (3, dim)
    wrong = {"audio": "V", "visual": "AV", "both": "VA"}[kind]
    with pytest.raises(ValueError, match=f"mode {wrong}: this system embeds in"):
        _embed(embedder, _batch(), wrong)


def test_a_fused_embedding_is_the_fusion_of_the_backbones():
    embedder, batch = _embedder("both"), _batch()
    audio = embedder.audio(batch.audio, batch.audio_mask)
    visual = embedder.visual(batch.video, batch.video_mask)
    torch.testing.assert_close(_embed(embedder, batch, "AV"), embedder.fusion(audio, visual))
    torch.testing.assert_close(_embed(embedder, batch, "A"), embedder.fusion.audio(functional.normalize(audio)))
    torch.testing.assert_close(_embed(embedder, batch, "V"), embedder.fusion.visual(functional.normalize(visual)))


def test_a_missing_modality_leaves_the_other_one():
    embedder = _embedder("both")
    whole = _batch()
    batch = copy.deepcopy(whole)
    batch.audio_mask[1], batch.video_mask[2] = False, False
    both, alone = _embed(embedder, batch, "AV"), embedder.embed(whole, ("AV", "A", "V"))
    for row, mode in enumerate(("AV", "V", "A")):
        torch.testing.assert_close(both[row], alone[mode][row])
    torch.testing.assert_close(_embed(embedder, _batch(video=None), "AV").shape, alone["A"].shape)
    # Training gives the same.
    torch.testing.assert_close(embedder(batch).embedding, both)


def test_one_pass_for_several_modes_gives_the_same():
    embedder, batch = _embedder("both"), _batch()
    batch.video_mask[2] = False
    found = embedder.embed(batch, ["AV", "A"])
    for mode, embedding in found.items():
        torch.testing.assert_close(embedding, _embed(embedder, batch, mode))


@pytest.mark.parametrize(
    ("kind", "mode", "lengths", "message"),
    [
        ("audio", "A", {"audio": [9, 0, 9]}, "b: the utterance has no audio"),
        ("visual", "V", {"video": None}, "a: the utterance has no video"),
        ("both", "V", {"video": [4, 4, 0]}, "c: the utterance has no video"),
        ("both", "AV", {"audio": [9, 0, 9], "video": [4, 0, 4]}, "b: the utterance has no audio and no video"),
    ],
)
def test_an_utterance_without_the_wanted_modality_is_named(kind, mode, lengths, message):
    with pytest.raises(DataError, match=f"^{message}: remove it from the list"):
        _embed(_embedder(kind), _batch(**lengths), mode)


def test_the_fused_loss_trains_every_part():
    system = _system("both")
    loss, figures = system(_batch())
    loss.backward()
    assert set(figures) == {"loss", "accuracy"} and not any(f.requires_grad for f in figures.values())
    for name, parameter in system.named_parameters():
        assert not parameter.requires_grad or parameter.grad is not None, name


def test_weighted_losses_of_one_modality_are_added():
    system, batch = _system("both", audio_weight=0.5, visual_weight=2.0).eval(), _batch()
    embedder = system.embedder
    audio, visual = embedder.audio(batch.audio, batch.audio_mask), embedder.visual(batch.video, batch.video_mask)
    parts = {"main": embedder.fusion(audio, visual), "audio": audio, "visual": visual}
    losses = {name: system.objective.classifiers[name](part, batch.label)[0] for name, part in parts.items()}
    loss, figures = system(batch)
    torch.testing.assert_close(loss, losses["main"] + 0.5 * losses["audio"] + 2.0 * losses["visual"])
    assert set(figures) == {"loss", "accuracy", "audio_accuracy", "visual_accuracy"}


def test_losses_of_one_modality_skip_the_utterances_without_it():
    system, batch = _system("both", visual_weight=1.0).eval(), _batch(video=[4, 0, 4])
    rows = torch.tensor([0, 2])
    visual = system.embedder.visual(batch.video[rows], batch.video_mask[rows])
    extra = system.objective.classifiers["visual"](visual, batch.label[rows])[0]
    main = system.objective.main(_embed(system.embedder, batch, "AV"), batch.label)[0]
    torch.testing.assert_close(system(batch)[0], main + extra)


def test_fused_embeddings_of_one_modality_are_held_to_the_same_classes():
    system, batch = _system("both", single_weight=0.5).eval(), _batch(audio=[9, 9, 0])
    fused = _embed(system.embedder, batch, "AV")
    heard = _embed(system.embedder, batch.head(2), "A")
    seen = _embed(system.embedder, batch, "V")
    losses = [
        system.objective.main(*pair)[0]
        for pair in ((fused, batch.label), (heard, batch.label[:2]), (seen, batch.label))
    ]
    loss, figures = system(batch)
    torch.testing.assert_close(loss, losses[0] + 0.5 * (losses[1] + losses[2]))
    assert set(figures) == {"loss", "accuracy", "audio_single_accuracy", "visual_single_accuracy"}
    assert list(system.objective.classifiers) == ["main"]


def test_uncertainties_weigh_the_losses():
    system = _system("both", orthogonality=2.0, uncertainty=True).eval()
    plain = _system("both", orthogonality=2.0).eval()
    plain.load_state_dict({key: value for key, value in system.state_dict().items() if "log_variances" not in key})
    batch = _batch()
    total, figures = plain(batch)
    main, term = total - 2.0 * figures["orthogonality"], figures["orthogonality"]
    log_variances = system.objective.log_variances
    torch.testing.assert_close(system(batch)[0], total)
    with torch.no_grad():
        log_variances["main"].fill_(0.7)
        log_variances["orthogonality"].fill_(-0.4)
    loss, figures = system(batch)
    torch.testing.assert_close(loss, main * math.exp(-0.7) + 0.35 + 2.0 * term * math.exp(0.4) - 0.2)
    assert figures["main_uncertainty_weight"].item() == pytest.approx(math.exp(-0.7))
    loss.backward()
    expected = 0.5 - 2.0 * term.item() * math.exp(0.4)
    assert log_variances["orthogonality"].grad.item() == pytest.approx(expected, rel=1e-5)
    assert any(parameter is log_variances["main"] for parameter in system.parts()["losses"])


@pytest.mark.parametrize("name", ["rawnet3", "self_supervised", "dvector", "audio_onnx"])
def test_networks_on_waveforms_refuse_another_sample_rate(name):
    config = parse_config(_set(_mapping("audio"), "audio", {"name": name}), "x.yaml")
    assert inputs_of(config, FbankConfig(), None).takes == "waveform"
    with pytest.raises(DataError, match=f"{name} takes recordings of 16000 Hz, but fbank.sample_rate is 8000: change"):
        inputs_of(config, FbankConfig(sample_rate=8000, high_freq=3800), None)
    inputs_of(parse_config(_mapping("audio"), "x.yaml"), FbankConfig(sample_rate=8000, high_freq=3800), None)


def test_the_margin_warms_up():
    mapping = _set(_mapping("audio"), "train.margin_warmup", {"start": 1, "end": 3})
    system = TrainableSystem(parse_config(mapping, "x.yaml"), 5)
    assert [system.at_epoch(epoch) for epoch in (0.0, 1.0, 3.0)] == [0.0, 0.0, 0.2]
    assert system.objective.main.margin == 0.2
    assert 0.19 < system.at_epoch(2.0) < 0.2
    assert _system("audio").at_epoch(0.0) == 0.2


def test_backbones_are_loaded_from_their_systems(tmp_path):
    mapping = _mapping("both") | {"init_from": {"audio": "a", "visual": "v"}}
    config = parse_config(mapping, "test.yaml")
    system, init = TrainableSystem(config, 5), {}
    start = system.objective.main.class_weights.clone()
    # With other speakers, so that class weights are not loaded.
    for name, classes in (("audio", "abc"), ("visual", "abcd")):
        source = _system(name, len(classes))
        init[name] = tmp_path / name
        init[name].mkdir()
        inputs = (FbankConfig(), None) if name == "audio" else (None, FaceFormat(channels=1, height=16, width=16))
        trained = TrainedSystem.of(source, parse_config(_mapping(name), "test.yaml"), list(classes), *inputs)
        trained.save(init[name] / "final.pt")
    start_from(system, config, init, list("abcde"))
    for name, folder in init.items():
        trained = TrainedSystem.load(folder / "final.pt").build()
        for key, value in getattr(trained, name).state_dict().items():
            assert torch.equal(getattr(system.embedder, name).state_dict()[key], value)
    assert torch.equal(system.objective.main.class_weights, start)
    with pytest.raises(DataError, match=r"init_from.visual: the configuration names 'v' a system, --init disagrees"):
        start_from(system, config, {"audio": init["audio"]}, list("abcde"))


@pytest.mark.parametrize("fuse", [False, True])
def test_fused_classes_start_from_those_of_the_networks_where_asked(tmp_path, fuse):
    mapping = _set(_mapping("both") | {"init_from": {"audio": "a", "visual": "v"}}, "train.fuse_classes", fuse)
    config = parse_config(mapping, "test.yaml")
    system, init, weights = TrainableSystem(config, 3), {}, {}
    start = system.objective.main.class_weights.clone()
    for name, inputs in (("audio", (FbankConfig(), None)), ("visual", (None, FaceFormat(1, 16, 16)))):
        source = _system(name, 3)
        weights[name] = source.objective.main.class_weights.detach()
        init[name] = tmp_path / name
        init[name].mkdir()
        TrainedSystem.of(source, parse_config(_mapping(name), "test.yaml"), list("abc"), *inputs).save(
            init[name] / "final.pt"
        )
    start_from(system, config, init, list("abc"))
    fused = system.embedder.fusion.eval()(weights["audio"], weights["visual"])
    assert torch.equal(system.objective.main.class_weights, fused if fuse else start)


def test_fused_classes_start_where_the_single_systems_have_theirs():
    """Where a fusion starts from averaging, the fused cosine to a class is the mean of the two cosines."""
    # Large enough for both embeddings, 12 + 14.
    mapping = _set(_set(_mapping("both"), "fusion.dim", 26), "fusion.start", "averaging")
    system = TrainableSystem(parse_config(mapping, "test.yaml"), 5)
    centers = {name: _system(name).objective.main.class_weights.detach() for name in ("audio", "visual")}
    start_classes(system, centers["audio"], centers["visual"])
    audio, visual = (torch.nn.functional.normalize(torch.randn(5, centers[n].shape[1])) for n in ("audio", "visual"))
    fused = torch.nn.functional.normalize(system.embedder.fusion(audio, visual))
    cosines = fused @ torch.nn.functional.normalize(system.objective.main.class_weights.detach()).T
    single = [x @ torch.nn.functional.normalize(centers[n]).T for x, n in ((audio, "audio"), (visual, "visual"))]
    torch.testing.assert_close(cosines, (single[0] + single[1]) / 2)
    with pytest.raises(ValueError, match="class centers"):
        start_classes(system, centers["audio"][:2], centers["visual"][:2])


def test_weights_that_do_not_fit_are_named():
    source, network = _embedder("audio").state_dict(), _embedder("both").audio
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = part_of(source, "audio")
    del state["stem.conv.bias"]
    state["more"] = torch.zeros(1)
    state["embed.1.bias"] = torch.zeros(3)
    with pytest.raises(DataError) as error:
        load_exactly(network, state, "audio")
    assert str(error.value) == (
        "weights of audio do not fit: the file lacks stem.conv.bias, has the unknown more, "
        "embed.1.bias has the shape (3,) instead of (12,): train again with the same network options"
    )
    lacking = {key: value for key, value in part_of(source, "audio").items() if "stem" not in key or "norm" not in key}
    with pytest.raises(DataError, match=r"lacks .* and 3 more"):
        load_exactly(network, lacking | {"x": torch.zeros(1)}, "audio")
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_saved_system_embeds_without_what_trained_it(tmp_path):
    system, batch = _system("both", audio_weight=1.0).eval(), _batch()
    config = parse_config(_mapping("both"), "test.yaml")
    TrainedSystem.of(system, config, list("abcde"), FbankConfig(num_mel_bins=8), FaceFormat(1, 16, 16, 25.0)).save(
        tmp_path / "final.pt"
    )
    trained = TrainedSystem.load(tmp_path / "final.pt")
    embedder = trained.build()
    assert isinstance(embedder, Embedder) and not embedder.training
    torch.testing.assert_close(_embed(embedder, batch, "AV"), _embed(system.embedder, batch, "AV"))
    assert {name.split(".")[0] for name in embedder.state_dict()} == {"audio", "visual", "fusion"}
    assert {name.split(".")[0] for name in trained.objective} == {"classifiers"}
    assert torch.equal(trained.class_weights(), system.objective.main.class_weights)


@pytest.mark.parametrize(
    ("classifier", "shape"),
    [
        ({"name": "softmax"}, (5, 12)),
        ({"name": "aam_softmax"}, (5, 12)),
        # Several centers per class, or none.
        ({"name": "aam_softmax", "sub_centers": 2}, None),
        ({"name": "ge2e"}, None),
    ],
)
def test_class_weights_are_one_vector_a_class(classifier, shape):
    mapping = _set(_mapping("audio"), "data", {"utterances_per_speaker": 2}) | {"loss": {"classifier": classifier}}
    config = parse_config(mapping, "test.yaml")
    system = TrainableSystem(config, 5)
    state = torch.get_rng_state()
    found = TrainedSystem.of(system, config, list("abcde"), FbankConfig(num_mel_bins=8), None).class_weights()
    assert torch.equal(torch.get_rng_state(), state), "looking at them draws nothing"
    assert shape == (None if found is None else tuple(found.shape))


def test_a_network_that_refuses_its_options_is_named():
    mapping = _set(_mapping("audio"), "audio.res2_scale", [7, 8, 8])
    with pytest.raises(DataError, match=r"^audio: ecapa_tdnn: res2_scale: 7: must be at least 2 and divide the 16"):
        TrainableSystem(parse_config(mapping, "x.yaml"), 5)


def test_autocast_gives_a_finite_loss_in_full_precision():
    system, batch = _system("both"), _batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = system(batch)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert all(p.grad.isfinite().all() for p in system.parameters() if p.requires_grad)


@pytest.mark.parametrize("kind", ["audio", "visual", "both"])
def test_a_system_learns_five_identities_by_heart(kind):
    """Each identity has its own spectrum and picture, with noise."""
    system = _system(kind)
    spectra, pictures = torch.randn(5, 1, 8), torch.randn(5, 1, 1, 16, 16)
    optimizer = torch.optim.AdamW(system.parameters(), lr=3e-3)
    accuracies = []
    for _ in range(25):
        label = torch.randint(5, (16,))
        audio, video = spectra[label] + torch.randn(16, 20, 8), pictures[label] + torch.randn(16, 2, 1, 16, 16)
        masks = torch.ones(16, 20, dtype=torch.bool), torch.ones(16, 2, dtype=torch.bool)
        loss, figures = system(Batch(list(map(str, range(16))), label, audio, masks[0], video, masks[1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        accuracies.append(figures["accuracy"].item())
    assert sum(accuracies[-5:]) / 5 > 0.8


def test_modes_follow_from_the_networks():
    modes = {kind: parse_config(_mapping(kind), "x.yaml").modalities for kind in ("audio", "visual", "both")}
    assert modes == {"audio": ("A",), "visual": ("V",), "both": ("AV", "A", "V")}
    assert isinstance(parse_config(_mapping("both"), "x.yaml"), SystemConfig)


@pytest.mark.parametrize("kind", ["audio", "visual", "both"])
def test_complete_batches_need_no_masks(kind):
    """A batch that is known to have no padding has the losses and gradients that it has with its masks."""
    system = _system(kind, **({"audio_weight": 0.5, "visual_weight": 0.5} if kind == "both" else {}))
    batch = _batch(None if kind == "visual" else [30] * 3, None if kind == "audio" else [4] * 3)
    known = batch.prepare("cpu")
    assert known.complete == {name for name in ("audio", "video") if getattr(batch, name) is not None}
    assert not batch.complete and not _batch().prepare("cpu").complete
    losses, gradients = [], []
    for one in (batch, known):
        system.zero_grad()
        loss, figures = system(one)
        loss.backward()
        losses.append([loss, *figures.values()])
        gradients.append([p.grad for p in system.parameters() if p.grad is not None])
    torch.testing.assert_close(*losses, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)
