"""Checkpoints of WeSpeaker compared with its own code, where it is installed; the names alone always."""

import pytest
import torch
from networks import settle

from avsv.nnet.audio.ecapa_tdnn import ECAPATDNN
from avsv.nnet.audio.resnet import ResNet
from avsv.nnet.audio.simam_resnet import SimAMResNet
from avsv.nnet.backbone import Backbone

SIZES = {"feature_dim": 24, "embedding_dim": 10}


def ours(name: str) -> Backbone:
    """A small network of this toolkit."""
    return {
        "ecapa": lambda: ECAPATDNN(channels=32, context=False, **SIZES),
        "ecapa_glob": lambda: ECAPATDNN(channels=32, **SIZES),
        "resnet34": lambda: ResNet(depth=34, channels=4, **SIZES),
        "resnet34_astp": lambda: ResNet(depth=34, channels=4, pooling="asp", context=False, **SIZES),
        "simam": lambda: SimAMResNet(depth=34, channels=4, **SIZES),
    }[name]()


def theirs(name: str) -> torch.nn.Module:
    """The same network of WeSpeaker."""
    ecapa = pytest.importorskip("wespeaker.models.ecapa_tdnn", exc_type=ImportError)
    resnet = pytest.importorskip("wespeaker.models.resnet", exc_type=ImportError)
    simam = pytest.importorskip("wespeaker.models.samresnet", exc_type=ImportError)
    sizes = {"feat_dim": 24, "embed_dim": 10}
    blocks = (resnet.BasicBlock, [3, 4, 6, 3])
    return {
        "ecapa": lambda: ecapa.ECAPA_TDNN(32, pooling_func="ASTP", **sizes),
        "ecapa_glob": lambda: ecapa.ECAPA_TDNN(32, pooling_func="ASTP", global_context_att=True, **sizes),
        "resnet34": lambda: resnet.ResNet(*blocks, m_channels=4, **sizes),
        "resnet34_astp": lambda: resnet.ResNet(*blocks, m_channels=4, pooling_func="ASTP", **sizes),
        "simam": lambda: simam.SimAM_ResNet34_ASP(in_planes=4, embed_dim=10, acoustic_dim=24),
    }[name]()


@pytest.mark.parametrize("name", ["ecapa", "ecapa_glob", "resnet34", "resnet34_astp", "simam"])
def test_checkpoints_give_the_embeddings_of_wespeaker(name):
    other, network = settle(theirs(name)), ours(name).eval()
    state = {**other.state_dict(), "projection.weight": torch.zeros(3, 10)}
    network.load_state_dict(network.convert_published(state))
    features = torch.randn(3, 120, 24)
    with torch.inference_mode():
        wanted = other(features)
        found = network(features)
    wanted = wanted[-1] if isinstance(wanted, tuple) else wanted
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


def published_names(network: ResNet) -> dict[str, torch.Tensor]:
    """The weights of a ResNet under the names of WeSpeaker, block by block."""
    found = {}
    starts = {0: "layer1.0", 3: "layer2.0", 7: "layer3.0", 13: "layer4.0"}
    layer = ""
    for key, value in network.state_dict().items():
        key = key.removeprefix("trunk.")
        if key.startswith("blocks."):
            _, number, rest = key.split(".", 2)
            first = max(start for start in starts if start <= int(number))
            layer = f"{starts[first][:-1]}{int(number) - first}."
            for old, new in (("norm1", "bn1"), ("norm2", "bn2"), ("shortcut_norm", "shortcut.1")):
                rest = rest.replace(f"{old}.", f"{new}.")
            key = layer + rest.replace("shortcut.weight", "shortcut.0.weight").replace("1.0.weight", "1.weight")
        for old, new in (("stem.", "conv1."), ("norm.", "bn1."), ("embed.", "seg_1.")):
            key = new + key.removeprefix(old) if key.startswith(old) else key
        found[key] = value
    return found


def test_names_and_shapes_are_checked():
    network = ours("resnet34")
    state = published_names(network)
    assert {"conv1.weight", "layer2.0.shortcut.0.weight", "layer4.2.bn2.running_var", "seg_1.bias"} <= state.keys()
    converted = network.convert_published(state)
    assert converted.keys() == network.state_dict().keys()
    assert all(converted[key] is value or torch.equal(converted[key], value) for key, value in converted.items())
    for changes, message in (
        ({"seg_1.bias": torch.zeros(3)}, r"seg_1\.bias has shape \(3,\), expected \(10,\)"),
        ({"layer4.3.conv1.weight": torch.zeros(3)}, r"layer4\.3\.conv1\.weight: not part of this network"),
        ({"seg_2.weight": torch.zeros(3)}, r"seg_2\.weight: not part of this network"),
    ):
        with pytest.raises(ValueError, match=f"published weights of ResNet: {message}"):
            network.convert_published({**state, **changes})
    del state["layer1.0.conv1.weight"]
    with pytest.raises(ValueError, match=r"trunk\.blocks\.0\.conv1\.weight: missing"):
        network.convert_published(state)
