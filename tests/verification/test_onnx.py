"""Networks and fusions as ONNX graphs: free batch and length, and the numbers of PyTorch."""

import numpy as np
import pytest
import torch
from finished_run import make_run
from synthetic import config

import avsv
from avsv.errors import DataError
from avsv.model.build import build_network
from avsv.model.config import AudioConfig, FusionConfig, VisualConfig
from avsv.model.registry import ROLES, find_class
from avsv.verification.onnx import TOLERANCE, UNSUPPORTED, export_network, export_onnx

onnxruntime = pytest.importorskip("onnxruntime", reason="the optional packages onnx and onnxruntime")
pytest.importorskip("onnx", reason="the optional packages onnx and onnxruntime")

SMALL = {
    "ecapa_tdnn": {"channels": 32, "aggregate_channels": 64, "embedding_dim": 32, "attention_channels": 16},
    "simam_resnet": {"channels": 4, "embedding_dim": 32, "attention_channels": 16},
    "audio_resnet": {"channels": 4, "embedding_dim": 32},
    "rawnet3": {"channels": 32, "aggregate_channels": 64, "embedding_dim": 32, "sinc_stride": 40},
    "mobilenetv2": {"stem_channels": 8, "block_channels": [8, 8, 8, 8, 16, 16], "embedding_dim": 32},
    "self_supervised": {"freeze": False, "layers": 2, "width": 32, "channels": 32, "aggregate_channels": 64},
    "iresnet": {"image_height": 32, "image_width": 32, "channels": 8, "frame_dim": 64},
    "visual_resnet": {"image_height": 32, "image_width": 32, "channels": 8},
    "inception_resnet_v1": {"image_height": 80, "image_width": 80, "channels": 4, "frame_dim": 64},
}
NETWORKS = [(role, name) for role in ("audio", "visual", "fusion") for name in ROLES[role].known]


@pytest.mark.parametrize("role, name", [pair for pair in NETWORKS if pair[1] not in UNSUPPORTED])
def test_every_network_and_fusion(role, name, tmp_path):
    torch.manual_seed(0)
    kind = {"audio": AudioConfig, "visual": VisualConfig, "fusion": FusionConfig}[role]
    settings = kind.from_mapping({"name": name, **SMALL.get(name, {})}, "test")
    network = build_network(settings, *((24, 40) if role == "fusion" else ())).eval()
    for key, value in network.state_dict().items():
        if "running_var" in key:
            value.uniform_(0.5, 1.5)
    options = settings.options

    def draw(batch: int, more: int) -> dict[str, torch.Tensor]:
        if role == "fusion":
            present = torch.ones(batch, 2, dtype=torch.bool)
            present[1:, 0] = False
            return {"audio": torch.randn(batch, 24), "visual": torch.randn(batch, 40), "present": present}
        if role == "visual":
            shape = (options["image_channels"], options["image_height"], options["image_width"])
            return {"video": torch.rand(batch, 2 + more, *shape) - 0.5}
        if find_class("audio", name).takes == "waveform":
            return {"audio": 0.1 * torch.randn(batch, 16000 + 3000 * more)}
        return {"audio": torch.randn(batch, 120 + 37 * more, options["feature_dim"])}

    assert export_network(network, draw, tmp_path / "x.onnx") < TOLERANCE
    # Once more from outside, with sizes that the export did not try.
    inputs = draw(4, 3)
    session = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {item.name: inputs[item.name].numpy() for item in session.get_inputs()})
    with torch.inference_mode():
        wanted = network(*inputs.values()).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_the_graphs_of_a_system_give_its_embeddings(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    model = avsv.load(run.system)
    for name in ("README.md", "audio.onnx", "model.json"):
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / name).write_text("mine")
        with pytest.raises(DataError, match="holds other files: give a new folder"):
            export_onnx(model.package, tmp_path / "other")
        assert (tmp_path / "other" / name).read_text() == "mine"
        (tmp_path / "other" / name).unlink()
    (tmp_path / "onnx").mkdir()
    exported = export_onnx(model.package, tmp_path / "onnx")
    about = (tmp_path / "onnx/README.md").read_text()
    assert "| `audio.onnx` | `audio` | (batch, frames, 20) float32 | Audio: one channel at 16000 Hz, as 20 log" in about
    assert (
        "A pixel is x / 255 - 0.5 for a byte x." in about and "| `fusion.onnx` | `present` | (batch, 2) bool |" in about
    )
    assert [one.name for one in exported] == ["audio", "visual", "fusion"] and all(one.path for one in exported)
    from finished_run import recording_of

    recording = recording_of(run.data["eval"], "s2-u1")
    batch = model.read(recording).batch(model.package.inputs).prepare("cpu")
    values = {"audio": batch.audio, "video": batch.video}
    outputs = {}
    for name, wanted in (("audio", "audio"), ("visual", "video")):
        session = onnxruntime.InferenceSession(str(tmp_path / f"onnx/{name}.onnx"))
        (outputs[name],) = session.run(None, {wanted: values[wanted].numpy()})
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx/fusion.onnx"))
    (found,) = session.run(None, {**outputs, "present": np.ones((1, 2), bool)})
    np.testing.assert_allclose(found[0], model.embed(recording), rtol=1e-3, atol=1e-4)
    # Over an earlier export: a graph that is not written again does not remain.
    for name in model.package.settings.system.to_mapping()["audio"]["name"], "ssa":
        monkeypatch.setitem(UNSUPPORTED, name, "it is removed")
    export_onnx(model.package, tmp_path / "onnx")
    assert {path.name for path in (tmp_path / "onnx").iterdir()} == {"README.md", "visual.onnx"}


def test_what_cannot_be_exported_is_named_with_the_reason(tmp_path):
    from avsv.model.embedder import Embedder

    settings = config("AV", fusion={"name": "compact_bilinear", "dim": 16, "sketch_dim": 64})
    network = Embedder(settings).eval().fusion
    inputs = torch.randn(2, 16), torch.randn(2, 16), torch.ones(2, 2, dtype=torch.bool)
    with pytest.raises(Exception, match="fft_rfft"):
        torch.onnx.export(network, inputs, str(tmp_path / "x.onnx"), dynamo=False, opset_version=17)
