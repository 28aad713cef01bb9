"""Systems that keep published weights: stage 4 writes them, every later step and avsv take them like trained ones."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from finished_run import make_run, recording_of
from paths import ROOT
from synthetic import config, make_data_dir, make_trials, write_config

import avsv
from avsv.audio.wav import read_window
from avsv.bin import configure
from avsv.errors import DataError
from avsv.io.lists import read_list
from avsv.model.presets import Configurator
from avsv.model.saved import TrainedSystem
from avsv.nnet.audio.dvector import DVector
from avsv.train.material import Sources
from avsv.train.run import train_system

NETWORK = {"name": "dvector", "mel_bins": 20, "channels": 8, "layers": 1, "embedding_dim": 12}
UNTRAINED = {"audio": NETWORK, "loss": None, "train": None, "data": None}


def weights(path, seed: int = 0) -> DVector:
    """A file of weights as published, and its network."""
    torch.manual_seed(seed)
    network = DVector(**{name: value for name, value in NETWORK.items() if name != "name"}).eval()
    torch.save({"model_state": network.state_dict()}, path)
    return network


@pytest.fixture
def corpus(tmp_path):
    make_data_dir(tmp_path / "train", speakers=3, utterances=2)
    make_data_dir(tmp_path / "dev", speakers=3, utterances=2, seed=5)
    make_trials(tmp_path / "dev")
    return Sources(tmp_path / "train", tmp_path / "dev", tmp_path / "train" / "fbank.yaml")


def test_the_weights_stay_those_of_the_file(corpus, tmp_path, capfd):
    network = weights(tmp_path / "w.pt")
    path = write_config(tmp_path / "a.yaml", "A", **UNTRAINED, pretrained={"audio": str(tmp_path / "w.pt")})
    train_system(path, corpus, tmp_path / "exp")
    assert "nothing to train" in capfd.readouterr().err
    trained = TrainedSystem.load(tmp_path / "exp" / "final.pt")
    assert trained.classes == [] and trained.objective == {} and trained.class_weights() is None
    assert all(torch.equal(trained.embedder[f"audio.{name}"], w) for name, w in network.state_dict().items())
    before = (tmp_path / "exp" / "final.pt").read_bytes()
    train_system(path, corpus, tmp_path / "exp")
    assert (tmp_path / "exp" / "final.pt").read_bytes() == before
    # A finished system is never overwritten.
    weights(tmp_path / "w.pt", seed=1)
    with pytest.raises(DataError, match="a finished system with other settings, data or weights: use another --exp"):
        train_system(path, corpus, tmp_path / "exp")
    assert (tmp_path / "exp" / "final.pt").read_bytes() == before


def test_weights_must_be_complete(corpus, tmp_path):
    weights(tmp_path / "w.pt")
    whole = {**UNTRAINED, "audio": {**NETWORK, "pooling": "asp"}}
    path = write_config(tmp_path / "a.yaml", "A", **whole, pretrained={"audio": str(tmp_path / "w.pt")})
    with pytest.raises(DataError, match=r"a\.yaml: audio: \S+w\.pt has no pool: give loss and train, which learn it"):
        train_system(path, corpus, tmp_path / "exp")
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("modalities", "sections", "message"),
    [
        ("A", {"loss": None}, "loss: missing: a system that is trained needs it"),
        ("A", {"train": None}, "train: missing: a system that is trained needs it"),
        ("A", {"loss": None, "train": None}, "train: missing: give loss and train, or published weights in pretrained"),
        ("AV", {"loss": None, "train": None}, "train: missing: a fusion has no published weights"),
    ],
)
def test_what_is_missing_is_named(modalities, sections, message):
    with pytest.raises(DataError, match=message):
        config(modalities, **sections)


@pytest.mark.parametrize("preset", ["tiny", "small", "published"])
def test_presets_train_no_system_that_is_not_trained(preset):
    systems = Configurator(ROOT / "conf", preset).configs(["published_ssa"])
    assert [name for name, system in systems.items() if not system.trained] == ["published_voice", "published_face"]
    assert systems["published_voice"].pretrained.audio == "dvector"
    assert systems["published_face"].pretrained.visual == "sface"
    assert systems["published_ssa"].audio == systems["published_voice"].audio
    with pytest.raises(DataError, match=r"published_voice\.yaml with .*: missing"):
        Configurator(ROOT / "conf", preset, ["published_voice:train.epochs=3"]).configs(["published_voice"])


def test_the_packages_of_a_graph_are_named_before_any_work(tmp_path, monkeypatch):
    for name in ("dvector.pt", "sface.onnx"):
        (tmp_path / name).touch()
    arguments = ["--conf", str(ROOT / "conf"), "--preset", "published", "--out", str(tmp_path / "out")]
    arguments += ["--weights-dir", str(tmp_path), "published_ssa"]
    monkeypatch.setattr(configure, "find_spec", lambda package: None)
    with pytest.raises(DataError, match=r"of published_face: \S+sface\.onnx needs packages: run 'pip install onnx"):
        configure.main(arguments)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(configure, "find_spec", lambda package: SimpleNamespace(origin=__file__))
    configure.main(arguments)


def test_a_fusion_is_trained_over_published_networks(corpus, tmp_path):
    network = weights(tmp_path / "w.pt")
    voice = write_config(tmp_path / "a.yaml", "A", **UNTRAINED, pretrained={"audio": str(tmp_path / "w.pt")})
    train_system(voice, corpus, tmp_path / "voice")
    train_system(write_config(tmp_path / "v.yaml", "V"), corpus, tmp_path / "face")
    changes = {"init_from": {"audio": "voice", "visual": "face"}, "audio": NETWORK, "train": {"freeze": ["audio"]}}
    init = {"audio": tmp_path / "voice", "visual": tmp_path / "face"}
    train_system(write_config(tmp_path / "av.yaml", "AV", **changes), corpus, tmp_path / "both", init=init)
    trained = TrainedSystem.load(tmp_path / "both" / "final.pt")
    assert all(torch.equal(trained.embedder[f"audio.{name}"], w) for name, w in network.state_dict().items())
    assert len(trained.classes) == 3


def test_avsv_takes_a_run_of_published_weights(tmp_path):
    """Scores, normalization, calibration, and the model that they make."""
    network = weights(tmp_path / "w.pt")
    made = make_run(tmp_path, "A", **UNTRAINED, pretrained={"audio": str(tmp_path / "w.pt")})
    model = avsv.load(made.system)
    keys = list(read_list(made.data["eval"] / "utt2spk"))[:2]
    answer = model.verify(*(recording_of(made.data["eval"], key) for key in keys))
    assert np.isfinite(answer.llr)
    samples = [read_window(read_list(made.data["eval"] / "audio.scp")[key], 0, None, 16000) for key in keys]
    # The samples of whole feature frames.
    samples = [one[: (len(one) - 400) // 160 * 160 + 400] for one in samples]
    first, second = (network(torch.from_numpy(one)[None])[0].detach() for one in samples)
    assert abs(float(first @ second) - answer.cosine) < 1e-4
